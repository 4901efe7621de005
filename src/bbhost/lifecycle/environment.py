"""The life of an environment: the table, and the core that decides.

Everything that affects an environment's state is in this file; what is done about it is in
``bbhost.environment``. The core is a value with no effects: it says what an event would lead to
(:meth:`EnvironmentCore.decide`), and moves (:meth:`EnvironmentCore.commit`) once the owner has made
the decision durable. A *stay* numbers each visit to a state; an outcome of work that carries an
older stay is stale and is dropped.
"""

from enum import StrEnum

from attrs import frozen
from statemachine import State

from bbhost.domain.environment import EnvironmentState, TeardownCause
from bbhost.lifecycle.base import IllegalEventError, Machine


class EnvironmentMachine(Machine):
    """provisioning -> ready -> destroying -> tombstoned; tombstoned has no way out."""

    provisioning = State(value=EnvironmentState.PROVISIONING, initial=True)
    ready = State(value=EnvironmentState.READY)
    destroying = State(value=EnvironmentState.DESTROYING)
    tombstoned = State(value=EnvironmentState.TOMBSTONED, final=True)

    provisioned = provisioning.to(ready)
    provision_failed = provisioning.to(destroying)
    destroy = provisioning.to(destroying) | ready.to(destroying)
    retire = ready.to(destroying, cond="idle")
    torn_down = destroying.to(tombstoned)
    teardown_failed = destroying.to(ready, cond="workspace_intact")

    def idle(self, idle: bool = False) -> bool:
        """Guard: no active thread turn and no open terminal."""
        return idle

    def workspace_intact(self, workspace_intact: bool = False) -> bool:
        """Guard: teardown gave up before it changed the workspace."""
        return workspace_intact


class EnvironmentEvent(StrEnum):
    """The events of the table."""

    PROVISIONED = "provisioned"
    PROVISION_FAILED = "provision_failed"
    DESTROY = "destroy"
    RETIRE = "retire"
    TORN_DOWN = "torn_down"
    TEARDOWN_FAILED = "teardown_failed"


WORK_OUTCOMES = frozenset(
    {
        EnvironmentEvent.PROVISIONED,
        EnvironmentEvent.PROVISION_FAILED,
        EnvironmentEvent.TORN_DOWN,
        EnvironmentEvent.TEARDOWN_FAILED,
    }
)
"""Events that only a state's own work may send; they must carry the number of the stay."""

_CAUSES = {
    EnvironmentEvent.DESTROY: TeardownCause.DESTROY,
    EnvironmentEvent.RETIRE: TeardownCause.RETIRE,
    EnvironmentEvent.PROVISION_FAILED: TeardownCause.ROLLBACK,
}


@frozen
class Decision:
    """Where an accepted event leads. Make it durable, then :meth:`EnvironmentCore.commit` it."""

    event: EnvironmentEvent
    source: EnvironmentState
    target: EnvironmentState
    cause: TeardownCause | None
    """Cause of the teardown in or after which the environment will be; None when ready."""
    stay: int
    """Number that the target's stay will have."""


class EnvironmentCore:
    """State, stay and cause of one incarnation."""

    def __init__(
        self,
        state: EnvironmentState = EnvironmentState.PROVISIONING,
        cause: TeardownCause | None = None,
    ) -> None:
        self._machine = EnvironmentMachine(start_value=state)
        self._stay = 1
        self._cause = cause

    def __repr__(self) -> str:
        return f"<EnvironmentCore {self.state} stay={self._stay} cause={self._cause}>"

    @property
    def state(self) -> EnvironmentState:
        """The present state."""
        return EnvironmentState(self._machine.state_name)

    @property
    def stay(self) -> int:
        """Number of the present visit to a state."""
        return self._stay

    @property
    def cause(self) -> TeardownCause | None:
        """Why the environment is being torn down, or was."""
        return self._cause

    @property
    def is_terminated(self) -> bool:
        """True in the final state."""
        return self.state is EnvironmentState.TOMBSTONED

    def decide(
        self,
        event: EnvironmentEvent,
        *,
        stay: int | None = None,
        idle: bool = False,
        workspace_intact: bool = False,
    ) -> Decision | None:
        """Say where ``event`` leads, changing nothing.

        Args:
            event: what happened or is asked.
            stay: for outcomes of work, the stay in which the work ran.
            idle: no active turn and no open terminal (guard of ``retire``).
            workspace_intact: nothing of the workspace was changed (guard of ``teardown_failed``).

        Returns:
            The decision; None for the outcome of an earlier stay, which must be dropped.

        Raises:
            IllegalEventError: the table has no such row, or its guard says no.
        """
        if event in WORK_OUTCOMES and stay != self._stay:
            return None
        # A scratch machine takes the event, so that the table alone says what is legal.
        scratch = EnvironmentMachine(start_value=self.state)
        try:
            scratch.accept(event, idle=idle, workspace_intact=workspace_intact)
            target = EnvironmentState(scratch.state_name)
        finally:
            scratch.release()
        cause = None if target is EnvironmentState.READY else _CAUSES.get(event, self._cause)
        return Decision(event, self.state, target, cause, self._stay + 1)

    def commit(self, decision: Decision) -> None:
        """Move to where ``decision`` leads.

        Raises:
            IllegalEventError: the core has moved since the decision was made.
        """
        if decision.stay != self._stay + 1 or decision.source is not self.state:
            raise IllegalEventError(f"{decision} was decided for another stay than {self!r}")
        # The guards were asked when the decision was made; the facts they saw still hold for it.
        self._machine.accept(decision.event, idle=True, workspace_intact=True)
        self._stay = decision.stay
        self._cause = decision.cause
