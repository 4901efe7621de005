"""A watch over the simulated files: what users do is queued first, and known after a drain."""

import trio
from attrs import define, field, frozen

from bbhost.workspace.refs import RefsSnapshot
from tests.simulation.life import Life

DEBOUNCE_SECONDS = 0.075


@frozen
class SimBatch:
    """One debounced batch."""

    workspace: bool = False
    refs: bool = False
    unknown: bool = False


def read_heads(life: Life) -> RefsSnapshot:
    """The branches as they stand: one of every worktree, and main."""
    places = life.host.disk.files.places
    heads = {branch_of(path): f"{place.tip:040}" for path, place in places.items()}
    return RefsSnapshot({"main": "0" * 40, **heads}, {}, None)


def branch_of(path: str) -> str:
    """The branch of the place at ``path``."""
    return "work" + path.replace("/", "-")


@define(eq=False, repr=False)
class SimWatch:
    """Implements ``OwnedWatch``."""

    life: Life
    path: str
    is_certain: bool = False
    work_marks: int = 0
    refs_marks: int = 0
    queued_work: int = 0
    """Events that the kernel holds and nobody has read."""
    queued_refs: int = 0
    overflowed: bool = False
    hasty: bool = False
    """Tells of itself once before it has settled."""
    failure: Exception | None = None
    _told: tuple[int, int] = (0, 0)
    _snapshot: RefsSnapshot | None = None
    _snapshot_marks: int = -1
    _wake: trio.Event = field(factory=trio.Event)

    # --- what users do -----------------------------------------------------------------------

    def queue(self, *, work: int = 0, refs: int = 0, overflow: bool = False) -> None:
        """The kernel queues an event, before the write that caused it returns."""
        self.queued_work += work
        self.queued_refs += refs
        self.overflowed = self.overflowed or overflow
        self._wake.set()

    def die(self, failure: Exception) -> None:
        """The watch fails."""
        self.failure = failure
        self._wake.set()

    # --- OwnedWatch --------------------------------------------------------------------------

    @property
    def is_settling(self) -> bool:
        return not self.is_certain

    def drain_nowait(self) -> None:
        self.work_marks += self.queued_work
        self.refs_marks += self.queued_refs
        self.queued_work = self.queued_refs = 0
        if self.overflowed:
            self.is_certain = False

    async def wait_changes(self) -> SimBatch:
        await self.life.beat("watch.wait", self.path)
        if self.hasty:
            self.hasty = False
            return SimBatch(unknown=True)
        if not self.is_certain:
            return await self._scan()
        while self.failure is None:
            self.drain_nowait()
            told, self._told = self._told, (self.work_marks, self.refs_marks)
            if not self.is_certain:
                return await self._scan()
            if told != self._told:
                return SimBatch(told[0] != self._told[0], told[1] != self._told[1])
            await self._wake.wait()
            self._wake = trio.Event()
            await trio.sleep(DEBOUNCE_SECONDS)
        raise self.failure

    async def _scan(self) -> SimBatch:
        await self.life.seam("watch.scan", self.path)
        self.overflowed = False
        self.queued_work += 1
        self.queued_refs += 1
        self.drain_nowait()
        self.is_certain = True
        self._told = (self.work_marks, self.refs_marks)
        return SimBatch(unknown=True)

    async def read_refs(self) -> RefsSnapshot:
        await self.life.beat("watch.refs", self.path)
        while self._snapshot is None or self._snapshot_marks != self.refs_marks:
            marks = self.refs_marks
            snapshot = read_heads(self.life)
            await self.life.beat("watch.refs.read", self.path)
            self._snapshot, self._snapshot_marks = snapshot, marks
        return self._snapshot

    async def read_news(self) -> int:
        return hash(frozenset((await self.read_refs()).heads.items()))

    def describe(self) -> str:
        return ""
