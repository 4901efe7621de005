"""A bounded line of messages for one socket, written by anyone and drained by the socket's writer.

Nobody who sends waits for a slow reader: at the bound the line is cut and the socket is closed, and
the reader is told (by the close code) to come back and read the state anew.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import trio
from attrs import frozen

T = TypeVar("T")

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
CLOSE_TOO_BIG = 1009
CLOSE_TRY_AGAIN = 1013


@frozen
class Closing:
    """The end of a line: how the socket is to be closed."""

    code: int
    reason: str


class Outbox(Generic[T]):
    """Messages on their way to one socket.

    Args:
        limit: most weight that may wait; one message heavier than that is let through alone.
        weigh: weight of a message; each counts 1 where omitted.
    """

    def __init__(self, limit: int, weigh: Callable[[T], int] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh or (lambda _message: 1)
        self._waiting: deque[T] = deque()
        self._weight = 0
        self._closing: Closing | None = None
        self._wake = trio.Event()
        self._drained = trio.Event()

    @property
    def is_open(self) -> bool:
        """Whether messages are still accepted."""
        return self._closing is None

    def has_room(self, message: T) -> bool:
        """Whether a message can be added without cutting the line."""
        return not self._waiting or self._weight + self._weigh(message) <= self._limit

    def put(self, message: T) -> bool:
        """Add a message. False where it was not accepted, because the line is or has just been cut."""
        return self.put_batch((message,))

    def put_batch(self, messages: Sequence[T]) -> bool:
        """Add messages that belong together; like one, they are let through alone whatever they weigh."""
        if self._closing is not None:
            return False
        weight = sum(self._weigh(message) for message in messages)
        if self._waiting and self._weight + weight > self._limit:
            self._waiting.clear()
            self.finish(CLOSE_TRY_AGAIN, "too-slow")
            return False
        self._waiting.extend(messages)
        self._weight += weight
        self._wake.set()
        return True

    def finish(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """End the line: what waits is still delivered, then the socket is closed. Idempotent."""
        if self._closing is None:
            self._closing = Closing(code, reason)
            self._wake.set()
            self._drained.set()

    async def wait_drained(self) -> None:
        """Wait until every message is taken, or the line is ended. Only one task may wait."""
        while self._waiting and self._closing is None:
            self._drained = trio.Event()
            await self._drained.wait()

    async def take(self) -> T | Closing:
        """Return the next message, or how to close once there will be none.

        Cancellation: safe; no message is lost. Only one task may take.
        """
        while True:
            if self._waiting:
                message = self._waiting.popleft()
                self._weight -= self._weigh(message)
                if not self._waiting:
                    self._drained.set()
                return message
            if self._closing is not None:
                return self._closing
            # A fresh event for each wait of the single taker: nobody else can hold the old one.
            self._wake = trio.Event()
            await self._wake.wait()
