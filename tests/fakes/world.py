"""A world in memory for owners of environments: git, files, watches, processes, a journal.

Everything it holds can be counted, every call can be made to pause or to fail, and its disk survives a
"crash" of the daemon while what was alive in it does not.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.status import (
    BranchStatus,
    Diff,
    DiffTarget,
    WorkingTreeState,
    WorkingTreeStatus,
    WorkspaceStatus,
)
from bbhost.domain.workspace import (
    Checkout,
    DiscoveredWorkspace,
    TranscriptEntry,
    WorkspaceKind,
    WorkspaceSpec,
    workspace_kind,
    workspace_path,
)
from bbhost.environment.ports import (
    EntrySink,
    EnvironmentServices,
    OwnedBoundary,
)
from bbhost.errors import BbhostError, JournalError, PathNotFoundError
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.status import StatusReading


@define(eq=False)
class FakeBatch:
    """One batch of changes."""

    workspace: bool = True
    refs: bool = False
    unknown: bool = False


@define(eq=False)
class FakeWatch:
    """A watch that tests poke."""

    path: str
    work_marks: int = 0
    world: "FakeWorld | None" = None
    is_certain: bool = True
    is_settling: bool = False
    drained: int = 0
    _send: trio.MemorySendChannel[FakeBatch] = field(init=False)
    _receive: trio.MemoryReceiveChannel[FakeBatch] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[FakeBatch](1000)
        self._send.send_nowait(FakeBatch(unknown=True))

    def drain_nowait(self) -> None:
        self.drained += 1

    async def wait_changes(self) -> FakeBatch:
        return await self._receive.receive()

    async def read_refs(self) -> RefsSnapshot:
        await trio.lowlevel.checkpoint()
        assert self.world is not None
        return RefsSnapshot({"main": f"{self.world.refs:040}", "b": "0" * 40}, {}, None)

    async def read_news(self) -> int:
        await trio.lowlevel.checkpoint()
        assert self.world is not None
        if self.world.fail.get("watch.refs"):
            raise self.world.fail["watch.refs"].pop(0)
        return self.world.refs

    def describe(self) -> str:
        return ""

    def poke(self, batch: FakeBatch) -> None:
        """Something changed."""
        if batch.workspace:
            self.work_marks += 1
        self._send.send_nowait(batch)


@define(eq=False)
class FakeBoundary:
    """Processes of one incarnation: a set of names."""

    key: tuple[EnvironmentId, Incarnation]
    world: "FakeWorld"

    async def end(self, grace_seconds: float = 0.0) -> object:
        await self.world.seam("boundary.end", self.key[0])
        self.world.processes.pop(self.key, None)
        return None


@define(eq=False)
class FakeWorld:
    """Disk, journal and everything alive. Implements ``Workspaces`` and ``EnvironmentJournal``."""

    disk: dict[str, str] = field(factory=dict)
    """Path -> content; survives a crash."""
    registered: set[str] = field(factory=set)
    """Worktrees that git knows."""
    journal: dict[EnvironmentId, EnvironmentRecord] = field(factory=dict)
    history: list[tuple[str, object]] = field(factory=list)
    watches: dict[str, list[FakeWatch]] = field(factory=lambda: defaultdict(list))
    processes: dict[tuple[EnvironmentId, Incarnation], set[str]] = field(factory=dict)
    posts: list[tuple[EnvironmentId, EnvironmentChange]] = field(factory=list)
    idle_notes: list[EnvironmentId] = field(factory=list)
    status_runs: int = 0
    contents: dict[str, int] = field(factory=dict)
    """Path -> number that the status fingerprint is made of."""
    refs: int = 0
    fail: dict[str, list[Exception]] = field(factory=dict)
    """Seam -> exceptions to raise, one per call."""
    pauses: dict[str, trio.Event] = field(factory=dict)
    """Seam -> event to wait for."""
    reached: dict[str, trio.Event] = field(factory=lambda: defaultdict(trio.Event))
    before_seam: Callable[[str, str], None] | None = None
    now: int = 1_000

    # --- seams ---------------------------------------------------------------------------

    async def seam(self, name: str, subject: str) -> None:
        """Every effect passes here: it is written down, and may pause or fail."""
        self.history.append((name, subject))
        if self.before_seam is not None:
            self.before_seam(name, subject)
        self.reached[name].set()
        await trio.lowlevel.checkpoint()
        if name in self.pauses:
            await self.pauses[name].wait()
        if self.fail.get(name):
            raise self.fail[name].pop(0)

    def names(self) -> list[str]:
        """Names of the effects, in order."""
        return [name for name, _ in self.history]

    # --- journal -------------------------------------------------------------------------

    async def save_environment(self, record: EnvironmentRecord) -> None:
        await self.seam("journal", f"{record.environment_id}:{record.state}")
        self.journal[record.environment_id] = record

    async def forget_environment(self, environment_id: EnvironmentId) -> None:
        await self.seam("forget", environment_id)
        del self.journal[environment_id]

    # --- workspaces ----------------------------------------------------------------------

    async def exists(self, path: str) -> bool:
        await trio.lowlevel.checkpoint()
        return path in self.disk

    async def is_intact(self, record: EnvironmentRecord) -> bool:
        return await self.exists(record.path)

    async def provision(
        self,
        environment_id: EnvironmentId,
        incarnation: Incarnation,
        spec: WorkspaceSpec,
        boundary: OwnedBoundary,
        on_entry: EntrySink,
        before_creating: Callable[[], Awaitable[None]],
    ) -> DiscoveredWorkspace:
        path = workspace_path(spec)
        on_entry(TranscriptEntry("step", "git-worktree-started", "Creating worktree"))
        await self.seam("provision.begin", path)
        if workspace_kind(spec) is WorkspaceKind.UNMANAGED and path not in self.disk:
            raise PathNotFoundError(f"Path does not exist: {path}")
        made = path not in self.disk
        if made:
            await before_creating()
            self.disk[path] = "half"
            self.registered.add(path)
        await self.seam("provision.made", path)
        if made:
            self.disk[path] = "whole"
        return self._describe(path, workspace_kind(spec))

    async def discover(self, path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
        await self.seam("discover", path)
        if path not in self.disk:
            raise PathNotFoundError(f"Path does not exist: {path}")
        return self._describe(path, kind)

    def _describe(self, path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
        return DiscoveredWorkspace(path, True, kind is not WorkspaceKind.UNMANAGED, "b", "main")

    async def switch_checkout(self, path: str, checkout: Checkout, on_entry: EntrySink) -> None:
        await self.seam("checkout", path)

    @asynccontextmanager
    async def open_watch(self, path: str) -> AsyncIterator[FakeWatch]:
        await self.seam("watch.open", path)
        if path not in self.disk:
            raise PathNotFoundError(f"Path does not exist: {path}")
        watch = FakeWatch(path, world=self)
        self.watches[path].append(watch)
        try:
            yield watch
        finally:
            self.watches[path].remove(watch)
            self.history.append(("watch.closed", path))

    def live_watches(self) -> int:
        return sum(map(len, self.watches.values()))

    async def read_status(self, path: str, merge_base_branch: str | None) -> StatusReading:
        await self.seam("status", path)
        self.status_runs += 1
        if path not in self.disk:
            raise PathNotFoundError(f"Path does not exist: {path}")
        number = self.contents.get(path, 0)
        tree = WorkingTreeStatus(number > 0, WorkingTreeState.CLEAN, number, 0, ())
        status = WorkspaceStatus(tree, BranchStatus("b", "main"), None)
        return StatusReading(status, f"{path}:{number}", None)

    async def read_diff(
        self, path: str, target: DiffTarget, max_diff_chars: int, max_file_list_chars: int
    ) -> Diff:
        await self.seam("diff", path)
        return Diff("", False, "", "", None)

    async def run_teardown_hook(self, record: EnvironmentRecord, boundary: OwnedBoundary) -> None:
        await self.seam("hook", record.path)

    async def rescue(self, record: EnvironmentRecord) -> None:
        await self.seam("rescue", record.path)

    async def move_to_trash(self, record: EnvironmentRecord) -> None:
        await self.seam("trash", record.path)
        self.disk.pop(record.path, None)

    async def deregister(self, record: EnvironmentRecord) -> None:
        await self.seam("deregister", record.path)
        self.registered.discard(record.path)

    async def prune_parent(self, record: EnvironmentRecord) -> None:
        await self.seam("prune", record.path)

    def wake_trash(self) -> None:
        self.history.append(("wake_trash", ""))

    async def rollback(self, record: EnvironmentRecord) -> None:
        await self.seam("rollback", record.path)
        self.disk.pop(record.path, None)
        self.registered.discard(record.path)

    # --- services ------------------------------------------------------------------------

    def open_boundary(
        self, environment_id: EnvironmentId, incarnation: Incarnation
    ) -> FakeBoundary:
        return FakeBoundary((environment_id, incarnation), self)

    def services(self) -> EnvironmentServices:
        """This world as what owners need."""

        def tick() -> int:
            self.now += 1
            return self.now

        return EnvironmentServices(
            journal=self,
            workspaces=self,
            open_boundary=self.open_boundary,
            note_change=lambda key, kind: self.posts.append((key, kind)),
            note_idle=self.idle_notes.append,
            now_ms=tick,
        )

    def after_crash(self) -> "FakeWorld":
        """The world as the next daemon finds it: the disk and the journal, nothing alive."""
        return FakeWorld(
            disk=dict(self.disk),
            registered=set(self.registered),
            journal={key: evolve(record) for key, record in self.journal.items()},
            processes={key: set(names) for key, names in self.processes.items()},
            contents=dict(self.contents),
            now=self.now,
        )


def disk_full() -> JournalError:
    """What the journal raises when there is no room."""
    return JournalError("The journal cannot be written: no space left on device")


def git_failed() -> BbhostError:
    """What a failing git raises."""
    return BbhostError("git worktree add failed: fatal", code="git_command_failed")
