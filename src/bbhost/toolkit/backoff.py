"""Growing delays between attempts, with jitter. Pure: the caller sleeps."""

import random
from collections.abc import Iterator


def backoff_delays(
    first_seconds: float,
    longest_seconds: float,
    *,
    jitter: float = 0.25,
    rng: random.Random | None = None,
) -> Iterator[float]:
    """Yield delays that double from ``first_seconds`` up to ``longest_seconds``, for ever.

    Args:
        jitter: each delay is varied by up to this fraction either way, so that many clients of one
            server do not come back together.
        rng: source of the jitter; a new one where omitted.
    """
    rng = rng or random.Random()  # noqa: S311 - spreading load, not secrets
    delay = first_seconds
    while True:
        yield delay * (1 + rng.uniform(-jitter, jitter))
        delay = min(delay * 2, longest_seconds)
