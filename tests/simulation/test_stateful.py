"""The simulation, driven by Hypothesis, which finds short counterexamples."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.simulation.actions import SLOTS, Kind, Step
from tests.simulation.stepping import Stepper

slots = st.integers(0, len(SLOTS) - 1)
choices = st.integers(0, 999).map(lambda number: number / 1000)
ticks = st.integers(0, 25)
CALM_KINDS = [
    kind for kind in Kind if kind not in {Kind.CRASH, Kind.POWER_FAILURE, Kind.FAULTS, Kind.CALM}
]


class HostMachine(RuleBasedStateMachine):
    """Steps of the simulation as rules."""

    stepper: Stepper | None = None
    faulty = False

    @initialize(seed=st.integers(0, 2**16), connected=st.booleans())
    def begin(self, seed: int, connected: bool) -> None:
        """A new host; the server can be reached in most examples."""
        self.stepper = Stepper(seed)
        if connected:
            self._step(Step(Kind.CONNECT, ticks=20))

    def _step(self, step: Step) -> None:
        assert self.stepper is not None
        self.stepper.step(step)

    @rule(kind=st.sampled_from(CALM_KINDS), slot=slots, choice=choices, ticks=ticks)
    def do(self, kind: Kind, slot: int, choice: float, ticks: int) -> None:
        """Anything that servers, users and guests do."""
        self._step(Step(kind, slot, choice, ticks))

    @rule(slot=slots, ticks=ticks)
    def provision(self, slot: int, ticks: int) -> None:
        """Orders are the most of it."""
        self._step(Step(Kind.PROVISION, slot, 0.0, ticks))

    @rule(slot=slots, ticks=ticks)
    def destroy(self, slot: int, ticks: int) -> None:
        """The same."""
        self._step(Step(Kind.DESTROY, slot, 0.0, ticks))

    @rule(kind=st.sampled_from([Kind.CRASH, Kind.POWER_FAILURE]), choice=choices, ticks=ticks)
    def crash(self, kind: Kind, choice: float, ticks: int) -> None:
        """The daemon is killed, now or some seams later."""
        self._step(Step(kind, 0, choice, ticks))

    @rule(choice=choices)
    def break_things(self, choice: float) -> None:
        """Steps of the world begin to fail."""
        self.faulty = True
        self._step(Step(Kind.FAULTS, 0, choice))

    @precondition(lambda self: self.faulty)
    @rule()
    def mend_things(self) -> None:
        """They work again."""
        self.faulty = False
        self._step(Step(Kind.CALM))

    @rule(choice=choices)
    def let_time_pass(self, choice: float) -> None:
        """Up to two minutes."""
        self._step(Step(Kind.WAIT, seconds=choice * 130))

    def teardown(self) -> None:
        """All is well again: everything must come to its end."""
        if self.stepper is not None:
            self.stepper.end()


@pytest.mark.slow
class TestHost(HostMachine.TestCase):
    """A short budget; ``python -m tests.simulation`` has the long one."""

    settings = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
