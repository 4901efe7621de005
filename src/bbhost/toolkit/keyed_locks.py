"""Locks by key, first come first served, forgotten when nobody holds or awaits them."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio


class KeyedLocks:
    """One fair lock per key, made on demand."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    def locked(self, key: Hashable) -> bool:
        """Whether somebody holds the lock of ``key``."""
        return key in self._locks

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of ``key``. Cancellation: released, or never taken."""
        lock = self._locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            statistics = lock.statistics()
            is_unused = not statistics.locked and statistics.tasks_waiting == 0
            # By now the key may have another lock: who gives up waiting learns of it a moment later.
            if is_unused and self._locks.get(key) is lock:
                del self._locks[key]
