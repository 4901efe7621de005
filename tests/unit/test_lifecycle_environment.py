"""Every cell of the environment table, guards included, and the core that decides from it."""

import itertools

import pytest

from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.environment import TeardownCause
from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.environment import WORK_OUTCOMES, EnvironmentCore, EnvironmentMachine
from bbhost.lifecycle.environment import EnvironmentEvent as E

TABLE = {
    (S.PROVISIONING, E.PROVISIONED): (S.READY, lambda idle, intact: True),
    (S.PROVISIONING, E.PROVISION_FAILED): (S.DESTROYING, lambda idle, intact: True),
    (S.PROVISIONING, E.DESTROY): (S.DESTROYING, lambda idle, intact: True),
    (S.READY, E.DESTROY): (S.DESTROYING, lambda idle, intact: True),
    (S.READY, E.RETIRE): (S.DESTROYING, lambda idle, intact: idle),
    (S.DESTROYING, E.TORN_DOWN): (S.TOMBSTONED, lambda idle, intact: True),
    (S.DESTROYING, E.TEARDOWN_FAILED): (S.READY, lambda idle, intact: intact),
}
"""Written from the design, by hand; the class must agree with it cell by cell."""

CELLS = list(itertools.product(S, E, [False, True], [False, True]))


@pytest.mark.parametrize(("state", "event", "idle", "intact"), CELLS)
def test_every_cell(state: S, event: E, idle: bool, intact: bool) -> None:
    """A legal cell leads where the design says; any other raises and changes nothing."""
    cause = TeardownCause.DESTROY if state in {S.DESTROYING, S.TOMBSTONED} else None
    core = EnvironmentCore(state, cause)
    row = TABLE.get((state, event))
    if row is None or not row[1](idle, intact):
        with pytest.raises(IllegalEventError):
            core.decide(event, stay=core.stay, idle=idle, workspace_intact=intact)
        assert core.state is state
        assert core.stay == 1
        return
    decision = core.decide(event, stay=core.stay, idle=idle, workspace_intact=intact)
    assert decision is not None
    assert core.state is state, "deciding changes nothing"
    core.commit(decision)
    assert core.state is row[0]
    assert core.stay == 2


@pytest.mark.parametrize("event", sorted(WORK_OUTCOMES))
def test_the_outcome_of_an_earlier_stay_is_dropped(event: E) -> None:
    """Work that finished in an earlier stay cannot move a later one."""
    core = EnvironmentCore(S.DESTROYING, TeardownCause.DESTROY)
    assert core.decide(event, stay=0) is None
    assert core.decide(event, stay=None) is None
    assert core.state is S.DESTROYING


def test_a_decision_is_good_for_one_stay_only() -> None:
    """A decision made before the core moved is refused afterwards."""
    core = EnvironmentCore(S.READY)
    destroy = core.decide(E.DESTROY)
    retire = core.decide(E.RETIRE, idle=True)
    assert destroy is not None
    assert retire is not None
    core.commit(destroy)
    with pytest.raises(IllegalEventError):
        core.commit(retire)
    assert core.cause is TeardownCause.DESTROY


def test_cause_follows_the_event_and_is_gone_when_ready_again() -> None:
    """The cause selects the teardown plan; a failed teardown leaves none behind."""
    core = EnvironmentCore()
    core.commit(core.decide(E.PROVISION_FAILED, stay=1))
    assert core.cause is TeardownCause.ROLLBACK
    core = EnvironmentCore(S.READY)
    core.commit(core.decide(E.RETIRE, idle=True))
    assert core.cause is TeardownCause.RETIRE
    core.commit(core.decide(E.TEARDOWN_FAILED, stay=2, workspace_intact=True))
    assert core.state is S.READY
    assert core.cause is None


def test_tombstoned_has_no_way_out() -> None:
    """The final state is final in the class itself."""
    assert EnvironmentMachine.tombstoned.final
    assert not list(EnvironmentMachine.tombstoned.transitions)


def test_the_class_has_exactly_the_rows_of_the_design() -> None:
    """No transition exists that the hand-written table does not know."""
    rows = {
        (S(transition.source.value), E(event.id))
        for state in EnvironmentMachine.states
        for transition in state.transitions
        for event in transition.events
    }
    assert rows == set(TABLE)
