"""Every cell of the terminal machine."""

from collections.abc import Callable

import pytest

from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.terminal import TerminalCore, TerminalMachine, TerminalState

S = TerminalState
CELLS = {
    (S.OPENING, "opened"): S.OPEN,
    (S.OPENING, "open_failed"): S.EXITED,
    (S.OPENING, "close"): S.CLOSING,
    (S.OPEN, "close"): S.CLOSING,
    (S.OPEN, "ended"): S.EXITED,
    (S.OPEN, "hand_over"): S.HANDED_OVER,
    (S.CLOSING, "ended"): S.EXITED,
}


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("event", ["opened", "open_failed", "close", "ended", "hand_over"])
def test_each_cell(state: TerminalState, event: str) -> None:
    """What is not in the table raises and changes nothing."""
    machine = TerminalMachine(start_value=state)
    target = CELLS.get((state, event))
    if target is None:
        with pytest.raises(IllegalEventError):
            machine.accept(event)
    else:
        machine.accept(event)
    assert machine.state_name == (target or state)


def test_the_first_reason_counts() -> None:
    core = TerminalCore()
    assert core.opened()
    assert core.close("user")
    assert not core.close("thread-deleted")
    assert core.close_reason == "user"
    core.ended()
    assert not core.close("user")
    assert core.state is S.EXITED


def test_a_terminal_closed_while_opening_never_opens() -> None:
    core = TerminalCore()
    core.close("open-timeout")
    assert not core.opened()
    assert core.state is S.CLOSING
    core.ended()
    assert core.close_reason == "open-timeout"


@pytest.mark.parametrize("state", list(S))
def test_only_an_open_terminal_is_handed_over(state: TerminalState) -> None:
    core = TerminalCore(state)
    assert core.hand_over() == (state is S.OPEN)
    assert core.state is (S.HANDED_OVER if state is S.OPEN else state)


@pytest.mark.parametrize("event", [TerminalCore.opened, TerminalCore.ended])
def test_nothing_follows_the_end(event: Callable[[TerminalCore], object]) -> None:
    core = TerminalCore()
    core.ended()
    with pytest.raises(IllegalEventError):
        event(core)
