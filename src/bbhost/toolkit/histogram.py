"""Counting how long things take, in buckets whose bounds are fixed."""

from bisect import bisect_left
from collections.abc import Sequence

from attrs import define, field


@define(eq=False)
class Histogram:
    """Observations by size. Memory does not grow with their number."""

    bounds: Sequence[float]
    """Upper bounds of the buckets, ascending; what is larger than the last is counted apart."""
    total: float = 0.0
    """Sum of all observations."""
    _counts: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counts = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count one observation; one on a bound belongs to the bucket below it."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[float, int]]:
        """Return for each bound how many observations do not exceed it."""
        seen = 0
        pairs = []
        for bound, count in zip(self.bounds, self._counts, strict=False):
            seen += count
            pairs.append((bound, seen))
        return pairs
