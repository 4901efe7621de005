"""Running one schedule: a seed, or a list of steps, to its end or to the first broken law."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio
import trio.testing
from attrs import frozen

from tests.simulation.actions import draw_plan
from tests.simulation.chance import Chance, deterministic
from tests.simulation.laws import BrokenLawError, Laws
from tests.simulation.simulation import Counts, Simulation, _Defects

LONGEST_PLAN = 40
SHOWN = 150
"""Last entries of a history that are shown for a failure."""


@frozen
class Report:
    """What became of one schedule."""

    seed: int
    counts: Counts
    history: tuple[tuple[float, str, str], ...]
    broken: str | None

    def describe(self) -> str:
        """The failure and the end of its history, for people."""
        lines = [f"seed {self.seed}: {self.broken}"]
        if len(self.history) > SHOWN:
            lines.append(f"  ... {len(self.history) - SHOWN} entries before")
        lines += [f"  {at:10.3f}  {name:20} {what}" for at, name, what in self.history[-SHOWN:]]
        return "\n".join(lines)


def run_seed(seed: int) -> Report:
    """Run the schedule of ``seed``. The same seed gives the same history, entry by entry."""
    chance = Chance(f"{seed}:plan")
    plan = draw_plan(chance, 5 + chance.upto(LONGEST_PLAN - 5))

    async def drive(simulation: Simulation) -> None:
        if chance.happens(0.8):
            simulation.server.connect("honest")
        for step in plan:
            await simulation.apply(step)
        await simulation.finish()

    return run_simulation(seed, drive)


def run_simulation(seed: int, drive: Callable[[Simulation], Awaitable[None]]) -> Report:
    """Run ``drive`` over a new host; what it meets by chance depends on ``seed`` alone."""
    made: list[Simulation] = []
    broken: str | None = None

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            simulation = Simulation(Chance(f"{seed}:world"), nursery)
            made.append(simulation)
            with _watch_defects(simulation.laws):
                try:
                    await drive(simulation)
                finally:
                    nursery.cancel_scope.cancel()

    with deterministic(str(seed)):
        try:
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseExceptionGroup as group:
            broken = _reason(group)
        except BrokenLawError as error:
            broken = str(error)
    simulation = made[0]
    simulation.counts.seams = simulation.host.seams
    return Report(
        seed, simulation.counts, tuple(simulation.laws.history), simulation.laws.broken or broken
    )


def _reason(group: BaseExceptionGroup[BaseException]) -> str:
    """What the group is about; anything but a broken law is a defect of its own."""
    while isinstance(group.exceptions[0], BaseExceptionGroup):
        group = group.exceptions[0]
    error = group.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        raise error
    return str(error) if isinstance(error, BrokenLawError) else f"the daemon ended: {error!r}"


@contextmanager
def _watch_defects(laws: Laws) -> Iterator[None]:
    log = logging.getLogger("bbhost")
    handler = _Defects(laws)
    before = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
