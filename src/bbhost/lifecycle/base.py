"""The one way in which bbhost uses python-statemachine.

Rule 1: machines are synchronous tables. Callbacks are plain guards that look at the event's own
arguments; nothing here awaits, reads a clock, or touches a disk. (The library's async engine is
asyncio only: under Trio an ``async def`` callback reports success after its first await.)

Rule 2: what is not in a table raises :class:`IllegalEventError` and changes nothing.
"""

from queue import Queue
from threading import Condition, Lock
from typing import Any

from statemachine import StateMachine
from statemachine.exceptions import TransitionNotAllowed

_RELEASED = "_released_in"


class IllegalEventError(Exception):
    """An event that the table has no row for in the present state, or whose guard said no."""


class Machine(StateMachine):
    """Base of all machines: strict, and errors in guards are errors."""

    allow_event_without_transition = False
    catch_errors_as_events = False

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of the library
        super().__init__(**options)
        _share_locks(self)

    def accept(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - the library's own options share the place
        """Take ``event``.

        Args:
            event: name of a row of the table.
            facts: what the guards may look at.

        Raises:
            IllegalEventError: there is no such row from the present state; nothing changed.
        """
        if _RELEASED in self.__dict__:
            raise IllegalEventError(f"{event} is not allowed in {self.state_name}")
        try:
            self.send(event, **facts)
        except TransitionNotAllowed as error:
            raise IllegalEventError(f"{event} is not allowed in {self.state_name}") from error
        if self.is_terminated:
            self.release()

    @property
    def state_name(self) -> str:
        """Value of the present state."""
        released: str | None = self.__dict__.get(_RELEASED)
        return str(self.current_state_value) if released is None else released

    def __repr__(self) -> str:
        """Also once it is released, when the library's own asks for what is gone."""
        return f"{type(self).__name__}({self.state_name!r})"

    def release(self) -> None:
        """Free its memory now; afterwards it takes no event and keeps its state. Done in the final state.

        A machine is some 80 objects in cycles, which only the collector would free. Where many
        environments stay, it comes so seldom that those that go make the daemon grow by megabytes,
        most of which never go back.
        """
        state = self.state_name
        own: dict[str, Any] = vars(self)
        for part in own.values():
            if type(part).__module__.startswith("statemachine."):
                getattr(part, "__dict__", {}).clear()
        own.clear()
        own[_RELEASED] = state


_lock = Lock()
_nobody_waits = Condition(_lock)


def _share_locks(machine: StateMachine) -> None:
    """Let all machines have the same locks.

    The library's event queues can be shared by threads: each brings three conditions, which with both
    queues are a third of the memory of a machine, of which there is one for each environment, terminal
    and thread. Here nobody ever waits for them. Where the library has become different, nothing is done.
    """
    engine = getattr(machine, "_engine", None)
    for name in ("external_queue", "internal_queue"):
        queue = getattr(getattr(engine, name, None), "queue", None)
        if isinstance(queue, Queue):
            queue.mutex = _lock
            queue.not_empty = queue.not_full = queue.all_tasks_done = _nobody_waits
