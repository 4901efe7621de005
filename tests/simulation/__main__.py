"""Long runs: ``python -m tests.simulation --seconds 60 [--seed S] [--workers 2] [--only SEED]``.

Prints how many schedules were run and what they went through. At the first broken law it prints the
seed and the history, and ends with status 1; ``--only SEED`` shows that history again.
"""

import argparse
import multiprocessing
import sys
import time
from multiprocessing.queues import Queue

from attrs import define

from tests.simulation.schedule import Report, run_seed


@define
class Totals:
    """What all schedules went through."""

    schedules: int = 0
    steps: int = 0
    commands: int = 0
    seams: int = 0
    crashes: int = 0
    power_failures: int = 0

    def add(self, report: Report) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.steps += report.counts.steps
        self.commands += report.counts.commands
        self.seams += report.counts.seams
        self.crashes += report.counts.crashes
        self.power_failures += report.counts.power_failures

    def merge(self, other: "Totals") -> None:
        """Count what another worker has done."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.commands += other.commands
        self.seams += other.seams
        self.crashes += other.crashes
        self.power_failures += other.power_failures


def explore(first: int, stride: int, seconds: float) -> tuple[Totals, str]:
    """Run the seeds ``first``, ``first + stride``, ... for ``seconds``, or to the first fault."""
    totals, seed, end = Totals(), first, time.monotonic() + seconds
    while time.monotonic() < end:
        report = run_seed(seed)
        totals.add(report)
        if report.broken is not None:
            return totals, report.describe()
        seed += stride
    return totals, ""


def _work(first: int, stride: int, seconds: float, out: "Queue[tuple[Totals, str]]") -> None:
    out.put(explore(first, stride, seconds))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", type=int, help="run one seed and print its history")
    arguments = parser.parse_args()
    if arguments.only is not None:
        report = run_seed(arguments.only)
        print(report.describe())
        return report.broken is not None
    started = time.monotonic()
    out: Queue[tuple[Totals, str]] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=_work, args=(arguments.seed + n, arguments.workers, arguments.seconds, out)
        )
        for n in range(arguments.workers)
    ]
    for worker in workers:
        worker.start()
    totals, failures = Totals(), []
    for _ in workers:
        part, failure = out.get()
        totals.merge(part)
        failures += [failure] if failure else []
    for worker in workers:
        worker.join()
    elapsed = time.monotonic() - started
    print(
        f"{totals.schedules} schedules in {elapsed:.1f} s ({totals.schedules / elapsed:.1f}/s), "
        f"{totals.steps} steps, {totals.commands} commands, {totals.seams} seams, "
        f"{totals.crashes} crashes survived ({totals.power_failures} power failures), "
        f"{len(failures)} failed"
    )
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
