"""A short budget of schedules for every run of the tests."""

import time

import pytest

from tests.simulation.actions import Kind, Step, draw_plan
from tests.simulation.chance import Chance
from tests.simulation.schedule import run_seed, run_simulation
from tests.simulation.simulation import Simulation

BUDGET_SECONDS = 4.0
FIXED = range(12)
"""Schedules that are run every time."""


@pytest.mark.slow
def test_new_schedules_break_no_law() -> None:
    """Seeds that differ from day to day; a failure prints the seed that repeats it."""
    seed = int(time.time()) // 86_400 * 100_000
    end = time.monotonic() + BUDGET_SECONDS
    while time.monotonic() < end:
        report = run_seed(seed)
        assert report.broken is None, report.describe()
        seed += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", FIXED)
def test_fixed_schedules_break_no_law(seed: int) -> None:
    """The same for everybody, so that a failure is a change of the code."""
    report = run_seed(seed)
    assert report.broken is None, report.describe()


@pytest.mark.slow
def test_a_seed_repeats_its_history_exactly() -> None:
    """Every entry, its order and its time."""
    first, second = run_seed(12), run_seed(12)
    assert len(first.history) > 50
    assert first.history == second.history
    assert run_seed(13).history != first.history


def test_plans_have_every_kind_of_step() -> None:
    """Nothing that may happen is left out by a weight of zero."""
    plan = draw_plan(Chance("plan"), 3_000)
    assert {step.kind for step in plan} == set(Kind)


def test_a_broken_law_ends_the_schedule_and_shows_the_seed() -> None:
    """The report has what a reader needs."""

    async def drive(simulation: Simulation) -> None:
        simulation.laws.require(False, "planted")
        await simulation.apply(Step(Kind.WAIT))
        raise AssertionError("not reached")

    report = run_simulation(5, drive)
    assert report.broken == "planted"
    assert "seed 5: planted" in report.describe()
    assert "BROKEN" in report.describe()
