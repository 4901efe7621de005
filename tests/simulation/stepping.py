"""A simulation that somebody else drives, step by step, from outside of Trio.

The loop runs in a thread of its own and stands still while it waits for the next step, so that the
virtual world cannot tell how long the driver thinks.
"""

import queue
import threading

from tests.simulation.actions import Step
from tests.simulation.schedule import Report, run_simulation
from tests.simulation.simulation import Simulation

ANSWER_SECONDS = 60.0
"""Real time that one step may take."""


class Stepper:
    """Applies steps one by one; ``end`` brings the world to rest and checks it."""

    def __init__(self, seed: int) -> None:
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(seed,), daemon=True)
        self._thread.start()

    def _run(self, seed: int) -> None:
        self._answers.put(run_simulation(seed, self._drive))

    async def _drive(self, simulation: Simulation) -> None:
        while True:
            # On purpose a blocking wait: nothing may happen between two steps.
            step = self._steps.get()
            if step is None:
                await simulation.finish()
                return
            await simulation.apply(step)
            self._answers.put(None)

    def step(self, step: Step) -> None:
        """Apply ``step``; raise AssertionError with the history if a law is broken."""
        self._steps.put(step)
        self._take_answer()

    def end(self) -> None:
        """Bring the world to rest; raise AssertionError if that does not end well."""
        if self._thread.is_alive():
            self._steps.put(None)
            self._take_answer()
        self._thread.join()

    def _take_answer(self) -> None:
        report = self._answers.get(timeout=ANSWER_SECONDS)
        if report is not None and report.broken is not None:
            raise AssertionError(report.describe())
