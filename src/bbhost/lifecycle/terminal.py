"""The life of a terminal: the table, and the core that keeps why it ends.

A terminal is *opening* until its shell runs. It may be asked to close at any time; the first reason
given is the one that is told. What is done about it is in ``bbhost.terminals``.
"""

from enum import StrEnum

from statemachine import State

from bbhost.lifecycle.base import Machine


class TerminalState(StrEnum):
    """The states of the terminal machine."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    EXITED = "exited"
    HANDED_OVER = "handed_over"


class TerminalMachine(Machine):
    """opening -> open -> exited, or through closing where somebody asked for the end.

    Or handed_over, where the next daemon goes on with it: an end for this daemon only.
    """

    opening = State(value=TerminalState.OPENING, initial=True)
    open = State(value=TerminalState.OPEN)
    closing = State(value=TerminalState.CLOSING)
    exited = State(value=TerminalState.EXITED, final=True)
    handed_over = State(value=TerminalState.HANDED_OVER, final=True)

    opened = opening.to(open)  # noqa: A003 - the state is called open
    open_failed = opening.to(exited)
    close = opening.to(closing) | open.to(closing)  # noqa: A003 - the state is called open
    ended = open.to(exited) | closing.to(exited)  # noqa: A003 - the state is called open
    hand_over = open.to(handed_over)  # noqa: A003 - the state is called open


class TerminalCore:
    """State of one terminal and the reason that it was asked to close with.

    Reasons are opaque texts here; what they may be is a matter of the wire contract.
    """

    def __init__(self, state: TerminalState = TerminalState.OPENING) -> None:
        self._machine = TerminalMachine(start_value=state)
        self._close_reason: str | None = None

    def __repr__(self) -> str:
        return f"<TerminalCore {self.state} close_reason={self._close_reason}>"

    @property
    def state(self) -> TerminalState:
        """The present state."""
        return TerminalState(self._machine.state_name)

    @property
    def close_reason(self) -> str | None:
        """Why it was asked to close; None where nobody asked."""
        return self._close_reason

    def opened(self) -> bool:
        """The shell runs. False where it was asked to close meanwhile, and must be ended.

        Raises:
            IllegalEventError: it had opened before, or has ended.
        """
        if self.state is TerminalState.CLOSING:
            return False
        self._machine.accept("opened")
        return True

    def close(self, reason: str) -> bool:
        """Somebody asks for the end. False where that changes nothing: it is ending already."""
        if self.state not in {TerminalState.OPENING, TerminalState.OPEN}:
            return False
        self._machine.accept("close")
        self._close_reason = reason
        return True

    def hand_over(self) -> bool:
        """The next daemon is to go on with it. False where it is not open: it ends with this one."""
        if self.state is not TerminalState.OPEN:
            return False
        self._machine.accept("hand_over")
        return True

    def ended(self) -> None:
        """The shell has gone, or never came to be.

        Raises:
            IllegalEventError: it had ended before.
        """
        opening = self.state is TerminalState.OPENING
        self._machine.accept("open_failed" if opening else "ended")
