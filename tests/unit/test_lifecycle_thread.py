"""Every cell of the thread table, and the core that keeps count of turns and agents."""

import itertools

import pytest

from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.thread import (
    AGENT_OUTCOMES,
    WORK_OUTCOMES,
    ThreadCore,
    ThreadMachine,
)
from bbhost.lifecycle.thread import ThreadEvent as E
from bbhost.lifecycle.thread import ThreadState as S

TABLE = {
    (S.IDLE, E.SUBMIT): S.STARTING,
    (S.FAILED, E.SUBMIT): S.STARTING,
    (S.STARTING, E.TURN_STARTED): S.ACTIVE,
    (S.IDLE, E.TURN_STARTED): S.ACTIVE,
    (S.STARTING, E.START_FAILED): S.FAILED,
    (S.STOPPING, E.START_FAILED): S.IDLE,
    (S.ACTIVE, E.TURN_ENDED): S.IDLE,
    (S.STOPPING, E.TURN_ENDED): S.IDLE,
    (S.STARTING, E.STOP): S.STOPPING,
    (S.ACTIVE, E.STOP): S.STOPPING,
    (S.STOPPING, E.STOP_EXPIRED): S.FAILED,
    (S.IDLE, E.AGENT_EXITED): S.FAILED,
    (S.STARTING, E.AGENT_EXITED): S.FAILED,
    (S.ACTIVE, E.AGENT_EXITED): S.FAILED,
    (S.STOPPING, E.AGENT_EXITED): S.IDLE,
}
"""Written by hand; the class must agree with it cell by cell."""


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_cell(state: S, event: E) -> None:
    """A legal cell leads where the table says; any other raises and changes nothing."""
    core = ThreadCore(state)
    target = TABLE.get((state, event))
    if target is None:
        with pytest.raises(IllegalEventError):
            core.accept(event, turn=0, agent=0)
        assert core.state is state
        assert core.turn == 0
        return
    assert core.accept(event, turn=0, agent=0)
    assert core.state is target
    assert core.turn == (1 if event is E.SUBMIT else 0)


@pytest.mark.parametrize("event", sorted(WORK_OUTCOMES | AGENT_OUTCOMES))
@pytest.mark.parametrize("state", list(S))
def test_what_is_stale_changes_nothing(state: S, event: E) -> None:
    """Outcomes of an earlier turn or of an earlier agent are dropped, in every state."""
    core = ThreadCore(state)
    core.next_agent()
    assert not core.accept(event, turn=7 if event in WORK_OUTCOMES else 0, agent=0)
    assert core.state is state


def test_the_class_has_exactly_the_rows_of_the_table() -> None:
    """No transition exists that the hand-written table does not know."""
    rows = {
        (S(transition.source.value), E(event.id)): S(transition.target.value)
        for state in ThreadMachine.states
        for transition in state.transitions
        for event in transition.events
    }
    assert rows == TABLE


def test_busy_is_what_keeps_an_environment_from_being_idle() -> None:
    """A turn that starts, runs or is being stopped counts; the others do not."""
    assert {state for state in S if ThreadCore(state).is_busy} == {
        S.STARTING,
        S.ACTIVE,
        S.STOPPING,
    }
