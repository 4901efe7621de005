"""The one way in which bbhost uses python-statemachine.

Rule 1: machines are synchronous tables. Callbacks are plain guards that look at the event's own
arguments; nothing here awaits, reads a clock, or touches a disk. (The library's async engine is
asyncio only: under Trio an ``async def`` callback reports success after its first await.)

Rule 2: what is not in a table raises :class:`IllegalEventError` and changes nothing.
"""

from typing import Any

from statemachine import StateMachine
from statemachine.exceptions import TransitionNotAllowed


class IllegalEventError(Exception):
    """An event that the table has no row for in the present state, or whose guard said no."""


class Machine(StateMachine):
    """Base of all machines: strict, and errors in guards are errors."""

    allow_event_without_transition = False
    catch_errors_as_events = False

    def accept(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - the library's own options share the place
        """Take ``event``.

        Args:
            event: name of a row of the table.
            facts: what the guards may look at.

        Raises:
            IllegalEventError: there is no such row from the present state; nothing changed.
        """
        try:
            self.send(event, **facts)
        except TransitionNotAllowed as error:
            raise IllegalEventError(f"{event} is not allowed in {self.state_name}") from error

    @property
    def state_name(self) -> str:
        """Value of the present state."""
        return str(self.current_state_value)
