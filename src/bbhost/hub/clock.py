"""Wall time, for what is stored and shown. Durations use ``trio.current_time``."""

import time


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
