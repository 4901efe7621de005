"""The only source of chance in a schedule, and a Trio that draws from it.

Trio's scheduler shuffles every batch of runnable tasks. Seeded, it repeats its shuffles exactly; but
shuffling alone reaches only some of the interleavings, so that each seam of the world also waits for a
drawn number of checkpoints.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TypeVar

import trio

from bbhost.toolkit import backoff

T = TypeVar("T")


class Chance:
    """Draws of one schedule. The same seed gives the same draws."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)

    def upto(self, most: int) -> int:
        """A number from 0 to ``most``."""
        return int(self._rng.random() * (most + 1))

    def happens(self, rate: float) -> bool:
        """True with probability ``rate``."""
        return self._rng.random() < rate

    def pick(self, choices: Sequence[T]) -> T:
        """One of ``choices``."""
        return choices[int(self._rng.random() * len(choices))]

    def weighted(self, choices: dict[T, int]) -> T:
        """One of the keys, by weight."""
        return self._rng.choices(list(choices), list(choices.values()))[0]


@contextmanager
def deterministic(seed: str) -> Iterator[None]:
    """Make Trio's scheduler and the jitter of all delays a function of ``seed``."""
    run = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate(), backoff.random
    jitter = random.Random(f"{seed}:jitter")
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(f"{seed}:scheduler")
    backoff.random = SimpleNamespace(Random=lambda: random.Random(jitter.random()))
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before[0]
        run._r.setstate(before[1])
        backoff.random = before[2]
