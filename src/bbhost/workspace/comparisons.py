"""What is known about pairs of commits, kept because it never changes."""

from collections.abc import Awaitable, Callable, Hashable

import trio

from bbhost.domain.status import MergeBaseStatus
from bbhost.toolkit.single_flight import SingleFlight

COMPARISONS_KEPT = 2048
"""Pairs remembered; beyond it the oldest is forgotten and computed again when it is needed."""
ITEMS_KEPT = 20_000
"""Files and commits in all pairs together (about 300 bytes each), for the same reason. A single pair
with more is not kept at all."""


class ComparisonCache:
    """Comparisons of HEAD with a merge base, by repository and commit ids."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, MergeBaseStatus] = {}
        self._items = 0
        self._flights: SingleFlight[MergeBaseStatus] = SingleFlight()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(
        self, key: Hashable, compute: Callable[[], Awaitable[MergeBaseStatus]]
    ) -> MergeBaseStatus:
        """Return what is kept for ``key``, or compute it, once for all who ask meanwhile."""
        kept = self._kept.get(key)
        if kept is not None:
            await trio.lowlevel.checkpoint()
            return kept
        found = await self._flights.run(key, compute)
        self._keep(key, found)
        return found

    def _keep(self, key: Hashable, found: MergeBaseStatus) -> None:
        if key in self._kept:
            return
        self._kept[key] = found
        self._items += _items(found)
        while len(self._kept) > COMPARISONS_KEPT or self._items > ITEMS_KEPT:
            self._items -= _items(self._kept.pop(next(iter(self._kept))))


def _items(found: MergeBaseStatus) -> int:
    return len(found.commits) + len(found.files)
