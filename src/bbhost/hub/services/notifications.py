"""Telling everyone who listens what has changed."""

from collections.abc import Iterator
from contextlib import contextmanager

from bbhost.contract.codec import encode_json
from bbhost.hub.api.notifications import Notification
from bbhost.hub.services.outbox import Outbox


class Broadcaster:
    """Hands each notification to every subscriber; never waits for any of them.

    Args:
        backlog: most notifications that may wait for one subscriber; beyond it that subscriber's
            line is cut, and whoever it belongs to must come back and read the state.
    """

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._subscribers: set[Outbox[str]] = set()

    def publish(self, notification: Notification) -> None:
        """Tell all subscribers. The text is made once for all of them."""
        if not self._subscribers:
            return
        text = encode_json(notification)
        for subscriber in self._subscribers:
            subscriber.put(text)

    @contextmanager
    def subscribe(self) -> Iterator[Outbox[str]]:
        """Receive notifications, as JSON text, while the context lasts."""
        outbox: Outbox[str] = Outbox(self._backlog)
        self._subscribers.add(outbox)
        try:
            yield outbox
        finally:
            self._subscribers.discard(outbox)

    def finish(self, code: int, reason: str) -> None:
        """End the lines of all subscribers."""
        for subscriber in self._subscribers:
            subscriber.finish(code, reason)
