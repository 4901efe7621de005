"""Answers ``workspace.status`` without git while nothing has changed.

The rule: first take in all that the kernel has queued, then answer from memory only if nothing has
touched this environment since the remembered answer *began* to be computed. The kernel queues an
event before the writer's system call returns, so such an answer is never stale with respect to
writes that had finished when the question arrived. Where the watch cannot promise that (it is still
scanning, it lost events, it polls), compute.

Not covered by the kernel's promise, and therefore bounded by ``MAX_AGE_SECONDS``: writes through a
memory mapping kept after its file was closed, and the user's global git configuration.
"""

from collections.abc import Awaitable, Callable

import trio
from attrs import define

from bbhost.environment.ports import OwnedWatch, StatusReading
from bbhost.toolkit.single_flight import SingleFlight

MAX_AGE_SECONDS = 60.0
MAX_ENTRIES = 8
"""Different merge base branches remembered per environment; the oldest is forgotten."""

Compute = Callable[[str | None], Awaitable[StatusReading]]


@define(eq=False)
class _Entry:
    reading: StatusReading
    marks: tuple[int, int]
    computed_at: float


@define(eq=False)
class StatusCacheStatistics:
    """How often the cache answered."""

    hits: int = 0
    misses: int = 0


class StatusCache:
    """Remembered status readings of one ready environment, by merge base branch."""

    def __init__(self, compute: Compute, statistics: StatusCacheStatistics) -> None:
        self._compute = compute
        self._watch: OwnedWatch | None = None
        self._entries: dict[str | None, _Entry] = {}
        self._flights: SingleFlight[StatusReading] = SingleFlight()
        self._statistics = statistics

    def attach(self, watch: OwnedWatch | None) -> None:
        """Use ``watch`` from now on; without one every answer is computed."""
        self._watch = watch
        self._entries.clear()

    async def read(self, merge_base_branch: str | None = None) -> StatusReading:
        """Return a status that is not older than this call. Cancellation: reaches the git child."""
        marks = self._marks(merge_base_branch)
        entry = self._entries.get(merge_base_branch)
        if (
            marks is not None
            and entry is not None
            and entry.marks == marks
            and trio.current_time() - entry.computed_at < MAX_AGE_SECONDS
        ):
            self._statistics.hits += 1
            await trio.lowlevel.checkpoint()
            return entry.reading
        self._statistics.misses += 1
        if marks is None:
            return await self._compute(merge_base_branch)

        async def compute() -> StatusReading:
            started_at = trio.current_time()
            reading = await self._compute(merge_base_branch)
            self._entries.pop(merge_base_branch, None)
            if len(self._entries) >= MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._entries[merge_base_branch] = _Entry(reading, marks, started_at)
            return reading

        # Keyed by the marks: a flight that began before the last change is not joined.
        return await self._flights.run((merge_base_branch, marks), compute)

    def _marks(self, merge_base_branch: str | None) -> tuple[int, int] | None:
        """What a fresh answer is valid for; None when the watch cannot promise anything."""
        watch = self._watch
        if watch is None:
            return None
        watch.drain_nowait()
        if not watch.is_certain:
            return None
        return (watch.work_marks, watch.refs_marks)
