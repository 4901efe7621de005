"""What the owner of a thread is sent. Values only, apart from the answers."""

from typing import Generic, TypeVar

import trio
from attrs import define, field, frozen

from bbhost.agents.provider import AgentExit, ThreadSettings, TurnRequest
from bbhost.contract.events import ThreadEvent
from bbhost.contract.execution import TurnTarget
from bbhost.errors import BbhostError
from bbhost.lifecycle.thread import ThreadEvent as Transition

T = TypeVar("T")


@define(eq=False)
class Reply(Generic[T]):
    """An answer that somebody waits for. The first one counts."""

    _done: trio.Event = field(factory=trio.Event)
    _value: T | None = None
    _error: BbhostError | None = None

    def succeed(self, value: T) -> None:
        """Answer."""
        if not self._done.is_set():
            self._value = value
            self._done.set()

    def fail(self, error: BbhostError) -> None:
        """Answer that it cannot be done."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    @property
    def is_given(self) -> bool:
        """Whether there is an answer."""
        return self._done.is_set()

    async def wait(self) -> T:
        """Wait for the answer.

        Raises:
            BbhostError: it cannot be done.
        """
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # set together with the event


@frozen
class Submitted:
    """What became of a request."""

    provider_thread_id: str
    is_steer: bool


@define(eq=False)
class Submit:
    """A user's request."""

    request: TurnRequest
    target: TurnTarget
    settings: ThreadSettings
    reply: Reply[Submitted] = field(factory=Reply[Submitted])


@define(eq=False)
class Stop:
    """End the turn, and forget the thread."""

    reply: Reply[None] = field(factory=Reply[None])


@define(eq=False)
class Rename:
    """Tell the agent the title."""

    title: str
    reply: Reply[None] = field(factory=Reply[None])


@frozen
class Told:
    """An agent has begun or ended a turn."""

    transition: Transition
    agent: int


@frozen
class StartFailed:
    """A turn could not be begun."""

    turn: int
    submit: Submit
    error: BbhostError


@frozen
class StopExpired:
    """A turn did not end in time."""

    turn: int


@define(eq=False)
class Exited:
    """An agent has gone; answered with the events that are to be told of it."""

    agent: int
    exit: AgentExit | None
    """None where it was ended from here."""
    problem: str | None
    reply: Reply[list[ThreadEvent]] = field(factory=Reply[list[ThreadEvent]])


@frozen
class Finished:
    """Everything has been told; the owner may end."""


Asked = Submit | Stop | Rename
"""What somebody waits for."""
Mail = Submit | Stop | Rename | Told | StartFailed | StopExpired | Exited | Finished
