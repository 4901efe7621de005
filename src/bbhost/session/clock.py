"""Wall time, where a message has to carry it."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Wall time, milliseconds since the epoch."""


def wall_clock_ms() -> int:
    """The present wall time."""
    return time.time_ns() // 1_000_000
