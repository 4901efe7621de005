"""Answers ``workspace.status`` without git while nothing has changed.

The rule: first take in all that the kernel has queued, then answer from memory only if nothing that the
answer depends on has changed since the remembered answer *began* to be computed. The kernel queues an
event before the writer's system call returns (the argument is in ``watch/watch.py``), so such an answer
is never stale with respect to writes that had finished when the question arrived. Where the watch cannot
promise that (it is still scanning, it lost events, it polls), compute.

An answer depends on the work tree, the worktree's own git dir and the ignore rules (``work_marks``), and
of the refs that all worktrees share, on the default branch, on the tip of its own branch, and on the tip
of the merge base branch. A commit in a sibling worktree therefore costs the others nothing.

Not covered by the kernel's promise, and bounded by ``MAX_AGE_SECONDS``: writes through a memory mapping
kept after its file was closed, and through hard links that lie outside of the tree or in an ignored directory.
"""

import logging
import random
from collections.abc import Awaitable, Callable

import trio
from attrs import define, frozen

from bbhost.environment.ports import OwnedWatch
from bbhost.toolkit.single_flight import SingleFlight
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.status import StatusReading

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 60.0
MAX_ENTRIES = 8
"""Different merge base branches remembered per environment; the oldest is forgotten."""

Compute = Callable[[str | None], Awaitable[StatusReading]]


@frozen
class _Basis:
    """What an answer was computed from. Equal bases give equal answers."""

    work_marks: int
    default_branch: str | None
    own_tip: str | None
    base_tip: str | None


@frozen
class _Entry:
    reading: StatusReading
    basis: _Basis
    computed_at: float


@define(eq=False)
class StatusCacheStatistics:
    """How often the caches of all environments answered."""

    hits: int = 0
    misses: int = 0
    checked: int = 0
    """Cached answers that were compared with git (setting ``paranoid_sample``)."""
    differed: int = 0
    """Of these, how many git contradicted although nothing changed meanwhile: a defect."""
    paranoid_sample: int = 0
    """Check one in so many cached answers; 0: never."""


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

    async def read(
        self, merge_base_branch: str | None = None, *, at_any_age: bool = False
    ) -> StatusReading:
        """Return a status that is not older than this call. Cancellation: reaches the git child.

        Args:
            at_any_age: an answer that nothing was seen to contradict will do, however old it is. For
                comparing, where nobody asked: else one commit would make git run in all of its
                siblings that have been at rest for a minute.
        """
        watch = self._watch
        if watch is None:
            self._statistics.misses += 1
            return await self._compute(merge_base_branch)
        entry = self._entries.get(merge_base_branch)
        basis = await self._basis(watch, entry, merge_base_branch)
        if basis is None:
            self._statistics.misses += 1
            return await self._compute(merge_base_branch)
        if (
            entry is not None
            and entry.basis == basis
            and (at_any_age or trio.current_time() - entry.computed_at < MAX_AGE_SECONDS)
        ):
            self._statistics.hits += 1
            if self._statistics.paranoid_sample and not random.randrange(  # noqa: S311
                self._statistics.paranoid_sample
            ):
                return await self._check(watch, entry, merge_base_branch)
            return entry.reading
        self._statistics.misses += 1
        # Keyed by what it is computed from: a flight that began before the last change is not joined.
        return await self._flights.run(
            (merge_base_branch, basis),
            lambda: self._compute_entry(watch, basis, merge_base_branch),
        )

    async def _basis(
        self, watch: OwnedWatch, entry: _Entry | None, merge_base_branch: str | None
    ) -> _Basis | None:
        """What an answer given now depends on; None when the watch cannot promise anything."""
        watch.drain_nowait()
        if not watch.is_certain:
            return None
        work_marks = watch.work_marks
        refs = await watch.read_refs()
        if not watch.is_certain:
            return None
        branch = entry.reading.status.branch.current_branch if entry is not None else None
        return _Basis(
            work_marks,
            refs.default_branch,
            None if branch is None else refs.heads.get(branch),
            None if merge_base_branch is None else _tip(refs, merge_base_branch),
        )

    async def _compute_entry(
        self, watch: OwnedWatch, basis: _Basis, merge_base_branch: str | None
    ) -> StatusReading:
        started_at = trio.current_time()
        refs = await watch.read_refs()
        reading = await self._compute(merge_base_branch)
        if self._watch is not watch:
            return reading
        if merge_base_branch is not None and _tip(refs, merge_base_branch) is None:
            return reading  # named by something else than a branch: nobody tells when it moves
        branch = reading.status.branch.current_branch
        own_tip = None if branch is None else refs.heads.get(branch)
        self._entries.pop(merge_base_branch, None)
        if len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        basis = _Basis(basis.work_marks, refs.default_branch, own_tip, basis.base_tip)
        self._entries[merge_base_branch] = _Entry(reading, basis, started_at)
        return reading

    async def _check(
        self, watch: OwnedWatch, entry: _Entry, merge_base_branch: str | None
    ) -> StatusReading:
        """Compare a cached answer with git; a difference is a defect unless something changed.

        Returns what git says.
        """
        fresh = await self._compute(merge_base_branch)
        self._statistics.checked += 1
        unchanged = await self._basis(watch, entry, merge_base_branch) == entry.basis
        if unchanged and fresh.status != entry.reading.status:
            self._statistics.differed += 1
            self._entries.clear()
            log.error("a cached status differs from git although nothing was seen to change")
        return fresh


def _tip(refs: RefsSnapshot, branch: str) -> str | None:
    # The order in which the status itself resolves it (workspace/merge_base.py).
    return refs.heads.get(branch) or refs.remotes.get(branch)
