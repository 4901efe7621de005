"""Tasks that wait for the outcome of a command, for commands to fetch, or for events.

Everything here is a wake-up: what is true is in the database. Waiting is by number (how many times
something has happened), so a change between looking and waiting is never missed.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import trio
from attrs import Factory, define

from bbhost.hub.errors import ApiError
from bbhost.hub.storage.commands import Outcome
from bbhost.toolkit.value import AsyncValue


@define(eq=False)
class Answer:
    """The place where the outcome of one command will appear."""

    arrived: trio.Event = Factory(trio.Event)
    outcome: Outcome | None = None


class _Counters:
    """Numbers that grow, by key, kept only while somebody watches them."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[AsyncValue[int], int]] = {}

    @contextmanager
    def watch(self, key: str) -> Iterator[AsyncValue[int]]:
        value, watchers = self._values.get(key) or (AsyncValue(0), 0)
        self._values[key] = (value, watchers + 1)
        try:
            yield value
        finally:
            value, watchers = self._values[key]
            if watchers == 1:
                del self._values[key]
            else:
                self._values[key] = (value, watchers - 1)

    def grow(self, key: str) -> None:
        found = self._values.get(key)
        if found is not None:
            found[0].value += 1


class Waiters:
    """Who waits for what.

    Args:
        limit: most commands that may be waited for at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answers: dict[str, Answer] = {}
        self._commands = _Counters()
        self._events = _Counters()

    @contextmanager
    def expect(self, command_id: str) -> Iterator[Answer]:
        """Wait for the outcome of a command; begin before it is queued.

        Raises:
            ApiError: 503 ``hub_busy``, as many requests wait as may.
        """
        if len(self._answers) >= self._limit:
            raise ApiError(503, "hub_busy", "Too many requests wait for daemons", retryable=True)
        answer = self._answers[command_id] = Answer()
        try:
            yield answer
        finally:
            del self._answers[command_id]

    def answer(self, command_id: str, outcome: Outcome) -> None:
        """Hand an outcome to whoever waits for it."""
        answer = self._answers.get(command_id)
        if answer is not None:
            answer.outcome = outcome
            answer.arrived.set()

    def watch_commands(self, host_id: str) -> AbstractContextManager[AsyncValue[int]]:
        """Watch how often commands were queued for a host, while the context lasts."""
        return self._commands.watch(host_id)

    def note_commands(self, host_id: str) -> None:
        """Wake the long polls of a host."""
        self._commands.grow(host_id)

    def watch_events(self, thread_id: str) -> AbstractContextManager[AsyncValue[int]]:
        """Watch how often events were appended to a thread, while the context lasts."""
        return self._events.watch(thread_id)

    def note_events(self, thread_id: str) -> None:
        """Wake those who follow a thread."""
        self._events.grow(thread_id)
