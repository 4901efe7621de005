"""File work in threads, under a limiter of its own.

A slow disk may hold these threads for long; git, the watcher and name look-ups have others.
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DISK_THREADS = 4
"""More would not make one disk faster; who comes fifth waits."""
_limiter = trio.CapacityLimiter(DISK_THREADS)


async def on_disk(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run a blocking function in a thread and return its result.

    Cancellation: delivered before the thread starts; one that runs is waited for, so callers keep
    each piece of work short.
    """
    return await trio.to_thread.run_sync(function, *args, limiter=_limiter)
