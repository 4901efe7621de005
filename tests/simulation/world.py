"""Git, files, watches and processes of one run of the daemon, over a disk that outlives it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from attrs import define, field

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
from bbhost.environment.ports import EntrySink, OwnedBoundary
from bbhost.errors import BoundaryClosedError, PathExistsError, PathNotFoundError
from bbhost.workspace.status import StatusReading
from tests.simulation.disk import Files, Owner, Place
from tests.simulation.life import Life
from tests.simulation.watches import SimWatch, branch_of


@define(eq=False, repr=False)
class SimBoundary:
    """Processes of one incarnation. Closed for good once it was ended."""

    life: Life
    owner: Owner
    closed: bool = False

    def start(self, name: str) -> None:
        """Start a process that ends only with the boundary."""
        if self.closed:
            raise BoundaryClosedError(f"the processes of {self.owner[0]} have been ended")
        self.life.host.laws.note("process", f"{name} of {self.owner[0]}.{self.owner[1]}")
        self.life.host.processes.setdefault(self.owner, {})[name] = None

    async def open_process(self, *_args: object, **_options: object) -> object:
        raise NotImplementedError("the simulated world starts its processes itself")

    async def end(self, grace_seconds: float = 0.0) -> object:
        self.closed = True
        await self.life.seam("boundary.end", self.owner[0])
        self.life.host.processes.pop(self.owner, None)
        return None


@define(eq=False, repr=False)
class SimWorkspaces:
    """Implements ``Workspaces``."""

    life: Life
    watches: list[SimWatch] = field(factory=list)

    @property
    def _files(self) -> Files:
        return self.life.host.disk.files

    @contextmanager
    def _alive(self, name: str) -> Iterator[None]:
        """Something of ``ready`` exists: it must have ended before teardown begins."""
        laws = self.life.host.laws
        owner = laws.in_ready(name)
        if owner is None:
            yield
            return
        laws.alive.setdefault(owner, []).append(name)
        try:
            yield
        finally:
            laws.alive[owner].remove(name)

    @contextmanager
    def _stage(self, name: str, record: EnvironmentRecord) -> Iterator[None]:
        laws = self.life.host.laws
        laws.begin_stage(name, record)
        try:
            yield
        finally:
            laws.end_stage(name, record)

    def _place(self, path: str) -> Place:
        place = self._files.places.get(path)
        if place is None:
            raise PathNotFoundError(f"Path does not exist: {path}")
        return place

    # --- making ------------------------------------------------------------------------------

    async def exists(self, path: str) -> bool:
        await self.life.beat("exists", path)
        return path in self._files.places

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
        path, kind = workspace_path(spec), workspace_kind(spec)
        owner = (environment_id, incarnation)
        self.life.host.laws.effect("provision")
        on_entry(TranscriptEntry("step", "git-worktree-started", "Creating worktree"))
        await self.life.seam("provision.look", path)
        if kind is WorkspaceKind.UNMANAGED or path in self._files.places:
            place = self._place(path)
            if not place.whole:
                raise PathExistsError(f"{path} exists and is not a worktree")
            return _describe(path, kind)
        await before_creating()
        await self._make(path, owner, kind, boundary)
        return _describe(path, kind)

    async def _make(
        self, path: str, owner: Owner, kind: WorkspaceKind, boundary: OwnedBoundary
    ) -> None:
        worktree = kind is WorkspaceKind.MANAGED_WORKTREE
        disk, laws = self.life.host.disk, self.life.host.laws
        await self.life.seam("provision.make", path)
        laws.effect("provision.make")
        self._require_unclaimed(owner)
        place = Place(managed=True, worktree=worktree, maker=owner, whole=not worktree)
        disk.change(lambda files: files.places.__setitem__(path, place))
        laws.consistent()
        if worktree:
            await self.life.seam("provision.register", path)
            disk.change(lambda files: files.registered.__setitem__(path, None))
            await self.life.seam("provision.setup", path)
            assert isinstance(boundary, SimBoundary)
            boundary.start("set-up")
            await self.life.seam("provision.setup", path)
            disk.change(lambda files: files.write(path, whole=True))
        await self.life.seam("provision.made", path)

    def _require_unclaimed(self, owner: Owner) -> None:
        """Nothing of an earlier incarnation is left when a new one makes its workspace."""
        laws = self.life.host.laws
        for older in range(1, owner[1]):
            left = laws.alive.get((owner[0], Incarnation(older)))
            laws.require(not left, f"{owner} is made while {older} has {left}")
        record = self.life.host.disk.rows.environments[owner[0]]
        laws.require(record.created_workspace, f"{owner} makes files before the journal knows")

    async def discover(self, path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
        self.life.host.laws.effect("discover")
        await self.life.seam("discover", path)
        self._place(path)
        return _describe(path, kind)

    async def switch_checkout(self, path: str, checkout: Checkout, on_entry: EntrySink) -> None:
        with self._alive("checkout"):
            await self.life.seam("checkout", path)

    # --- looking -----------------------------------------------------------------------------

    @asynccontextmanager
    async def open_watch(self, path: str) -> AsyncIterator[SimWatch]:
        with self._alive("watch"):
            await self.life.seam("watch.open", path)
            self._place(path)
            watch = SimWatch(self.life, path, hasty=self.life.host.chance.happens(0.5))
            self.watches.append(watch)
            try:
                yield watch
            finally:
                self.watches.remove(watch)

    async def read_status(self, path: str, merge_base_branch: str | None) -> StatusReading:
        with self._alive("status"):
            await self.life.seam("status.begin", path)
            place = self._place(path)
            await self.life.seam("status.end", path)
            tree = WorkingTreeStatus(
                place.content > 0, WorkingTreeState.CLEAN, place.content, place.tip, ()
            )
            status = WorkspaceStatus(tree, BranchStatus(branch_of(path), "main"), None)
            return StatusReading(status, f"{path}:{place.content}:{place.tip}", None)

    async def read_diff(
        self, path: str, target: DiffTarget, max_diff_chars: int, max_file_list_chars: int
    ) -> Diff:
        with self._alive("diff"):
            await self.life.seam("diff", path)
            return Diff("", False, "", "", None)

    # --- going away ----------------------------------------------------------------------------

    async def run_teardown_hook(self, record: EnvironmentRecord, boundary: OwnedBoundary) -> None:
        with self._stage("hook", record):
            await self.life.seam("hook", record.path)
            assert isinstance(boundary, SimBoundary)
            if record.path in self._files.places and not boundary.closed:
                boundary.start("hook")
            await self.life.seam("hook", record.path)

    async def rescue(self, record: EnvironmentRecord) -> None:
        with self._stage("rescue", record):
            await self.life.seam("rescue", record.path)
            place = self._files.places.get(record.path)
            owner = (record.environment_id, record.incarnation)
            if place is not None:
                kept = place.content
                self.life.host.disk.change(lambda files: files.rescued.__setitem__(owner, kept))

    async def move_to_trash(self, record: EnvironmentRecord) -> None:
        with self._stage("trash", record):
            await self.life.seam("trash", record.path)
            self._discard(record)
            await self.life.seam("trash.done", record.path)

    async def deregister(self, record: EnvironmentRecord) -> None:
        with self._stage("deregister", record):
            await self._forget_worktree(record.path)

    async def _forget_worktree(self, path: str) -> None:
        await self.life.seam("deregister", path)
        if path not in self._files.places:
            self.life.host.disk.change(lambda files: files.registered.pop(path, None))
        await self.life.seam("deregister.done", path)

    async def prune_parent(self, record: EnvironmentRecord) -> None:
        with self._stage("prune", record):
            await self.life.seam("prune", record.path)

    def wake_trash(self) -> None:
        self.life.host.laws.note("trash.wake", "")

    async def rollback(self, record: EnvironmentRecord) -> None:
        with self._stage("rollback", record):
            await self.life.seam("rollback", record.path)
            self._discard(record)
            await self._forget_worktree(record.path)

    def _discard(self, record: EnvironmentRecord) -> None:
        path = record.path
        place = self._files.places.get(path)
        if place is None:
            return
        self.life.host.laws.removed(path, record)

        def discard(files: Files) -> None:
            files.trash[path] = place
            files.places.pop(path, None)

        self.life.host.disk.change(discard)


def _describe(path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
    managed = kind is not WorkspaceKind.UNMANAGED
    return DiscoveredWorkspace(path, True, managed, branch_of(path), "main")
