"""Who may run a git child: so many at a time in all, and one verb in one directory never more than its share.

Without the share, a file system that hangs under one checkout would hold every slot until the deadlines
of its children pass, and everybody else's git would wait with it. The verb counts too: the status of a
checkout that hangs must not keep worktrees from being made of it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

SHARE_DIVISOR = 2
"""One place gets at most this part of the slots, at least one; the rest waits in line."""

Place = tuple[str, str]
"""Directory and verb."""


@define(eq=False)
class GitSlots:
    """Slots for git children. One per :class:`Git`."""

    total: int
    _all: trio.CapacityLimiter = field(init=False)
    _places: dict[Place, trio.CapacityLimiter] = field(factory=dict, init=False)
    """A place has a limiter while somebody holds or awaits a slot there."""

    def __attrs_post_init__(self) -> None:
        self._all = trio.CapacityLimiter(self.total)

    @property
    def running(self) -> int:
        """Slots that are taken."""
        return int(self._all.borrowed_tokens)

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        lines = [self._all, *self._places.values()]
        return sum(line.statistics().tasks_waiting for line in lines)

    def resize(self, total: int) -> None:
        """Change the number of slots; what runs goes on."""
        self.total = total
        self._all.total_tokens = total
        for limiter in self._places.values():
            limiter.total_tokens = self._share

    @property
    def _share(self) -> int:
        return max(1, self.total // SHARE_DIVISOR)

    @asynccontextmanager
    async def hold(self, place: Place) -> AsyncIterator[None]:
        """Hold a slot for a child at ``place``. Cancellation: given back, or never taken."""
        limiter = self._places.get(place)
        if limiter is None:
            limiter = self._places[place] = trio.CapacityLimiter(self._share)
        try:
            # The share first: who waits for it must not keep a slot from others.
            async with limiter, self._all:
                yield
        finally:
            statistics = limiter.statistics()
            is_unused = not statistics.borrowed_tokens and not statistics.tasks_waiting
            if is_unused and self._places.get(place) is limiter:
                del self._places[place]
