"""Git and files behind the interface that owners of environments use (``ports.Workspaces``)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from attrs import define, field, frozen

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.status import Diff, DiffTarget
from bbhost.domain.workspace import (
    AttachSpec,
    Checkout,
    DiscoveredWorkspace,
    ManagedWorktreeSpec,
    WorkspaceKind,
    WorkspaceSpec,
)
from bbhost.environment.ports import ChangeLike, EntrySink, OwnedBoundary, OwnedWatch
from bbhost.errors import InvalidPathError, NotGitRepoError
from bbhost.watch.service import WatchService
from bbhost.watch.values import WatchBackend, WatchTarget
from bbhost.watch.watch import Watch
from bbhost.workspace.checkout import switch_branch
from bbhost.workspace.diff import read_diff
from bbhost.workspace.discover import find_workspace
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.ignore import GitIgnoreOracle
from bbhost.workspace.provision import provision_workspace
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.removal import (
    MAX_ROUNDS,
    deregister_worktree,
    discard_worktree,
    examine_worktree,
    prune_parent,
    remove_personal_workspace,
)
from bbhost.workspace.repository import Repository, find_git_dirs
from bbhost.workspace.rescue import rescue_worktree
from bbhost.workspace.rollback import rollback_workspace
from bbhost.workspace.saved_files import SaveLimits
from bbhost.workspace.status import StatusReading, read_status
from bbhost.workspace.teardown_script import run_teardown_script
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript
from bbhost.workspace.trash_emptier import TrashEmptier

log = logging.getLogger(__name__)

CAME_BACK = "it was written to while it was removed"
_numbers = count(1)
"""Of news of branches: no two readings that differ share one, of whatever repository or time."""


@define(eq=False)
class _SharedRefs:
    """One repository whose refs several watches follow."""

    seen: dict[Watch, int] = field(factory=dict)
    """The marks of each watch when the branches were last read."""
    made: dict[str, str | None] = field(factory=dict)
    """Branches that provisioning makes or has made here, with their first tip once it is known."""
    _last: RefsSnapshot | None = None
    """What :meth:`note_branches` was given last."""
    _news: int = field(factory=lambda: next(_numbers))

    def is_current(self, watch: Watch) -> bool:
        """Whether no watch has seen the refs change since they were read.

        An event of the shared git dir touches every watch of the repository. One that has just been
        opened, and therefore doubts everything, learns from a sibling that is certain.
        """
        if self.seen.get(watch) == watch.refs_marks:
            return True
        return any(
            other.is_certain and marks == other.refs_marks
            for other, marks in self.seen.items()
            if other is not watch
        )

    def confirm(self) -> bool:
        """Take in what the kernel has queued; True where a watch is certain that nothing changed."""
        current = (watch for watch, marks in self.seen.items() if _has_not_moved(watch, marks))
        watch = next(current, None)
        if watch is not None:
            watch.drain_nowait()
            # The drain was for all watches, and an event of the refs touches each of them.
            if _has_not_moved(watch, self.seen[watch]):
                return True
        self.note_read()
        return False

    def note_read(self) -> None:
        """The branches are about to be read: what has happened so far will be in the answer."""
        for watch in self.seen:
            self.seen[watch] = watch.refs_marks

    def note_branches(self, refs: RefsSnapshot, reader: Watch) -> int:
        """Compare with the last reading; once for all watches.

        What is worth telling is told to the siblings of ``reader``: nobody else wakes them.

        Returns:
            A number that is another one each time there was something worth telling.
        """
        last, self._last = self._last, refs
        if refs is not last:
            is_news = last is not None and self._differs(last, refs)
            for name in list(self.made):
                tip = refs.heads.get(name)
                if tip is not None:
                    self.made[name] = self.made[name] or tip
                elif self.made[name] is not None:
                    del self.made[name]  # gone again; one that comes back is news
            if is_news:
                self._news = next(_numbers)
                for watch in self.seen:
                    if watch is not reader:
                        watch.tell_refs()
        return self._news

    def _differs(self, last: RefsSnapshot, refs: RefsSnapshot) -> bool:
        """Whether a branch has moved, has come without provisioning having made it, or has gone
        from elsewhere than where provisioning made it."""
        before, now = last.heads, refs.heads
        return (
            (last.remotes, last.origin_head) != (refs.remotes, refs.origin_head)
            or any(
                before.get(name) != tip
                and (name in before or name not in self.made or self.made[name] not in {None, tip})
                for name, tip in now.items()
            )
            or any(name not in now and self.made.get(name) != tip for name, tip in before.items())
        )


def _has_not_moved(watch: Watch, marks: int) -> bool:
    return watch.is_certain and watch.refs_marks == marks


@frozen
class RepositoryWatch:
    """A watch of a git work tree, with the refs that it shares with its siblings."""

    watch: Watch
    repository: Repository
    tools: WorkspaceTools
    shared: _SharedRefs

    @property
    def is_certain(self) -> bool:
        """Whether the marks tell all that has happened up to the last drain."""
        return self.watch.is_certain

    @property
    def is_settling(self) -> bool:
        """Whether the kernel's watches are still being set; their end makes another batch."""
        return self.watch.backend is WatchBackend.INOTIFY and self.watch.settling()

    @property
    def work_marks(self) -> int:
        """Grows with every event of the work tree, its git dir and the ignore rules."""
        return self.watch.workspace_marks

    def drain_nowait(self) -> None:
        """Take in all that the kernel has queued."""
        self.watch.drain_nowait()

    async def wait_changes(self) -> ChangeLike:
        """Wait for the next debounced batch."""
        return await self.watch.wait_changes()

    def describe(self) -> str:
        """Why it is not covered in full; empty when all is well."""
        return self.watch.coverage.reason

    async def read_refs(self) -> RefsSnapshot:
        """Return the branches: read anew only if some watch of the repository saw them change.

        The drain raises the marks of every watch of the repository together, so one invalidation
        answers for all of them.
        """
        if not self.shared.is_current(self.watch):
            self.tools.refs.invalidate(self.repository.common_dir)
            self.shared.note_read()
        self.shared.seen[self.watch] = self.watch.refs_marks
        return await self.tools.refs.refs(self.repository, confirmed=True)

    async def read_news(self) -> int:
        """Return a number that is another one when branches differ from the last time.

        Those that stand where provisioning made them do not count. Provisioning posts nothing: the
        server knows. Told to every sibling, the branch of each new worktree would make the cost of N
        of them grow with the square of N. It is a number since as many readings as there are
        environments, each with all branches, would be held otherwise.
        """
        return self.shared.note_branches(await self.read_refs(), self.watch)


class GitWorkspaces:
    """The real workspaces of a daemon."""

    def __init__(
        self,
        tools: WorkspaceTools,
        watches: WatchService,
        emptier: TrashEmptier,
        save_limits: SaveLimits | None = None,
    ) -> None:
        self.tools = tools
        self._watches = watches
        self._emptier = emptier
        self.save_limits = save_limits
        """How much is kept under refs; may be changed at any time."""
        self._oracle = GitIgnoreOracle(tools.git)
        self._shared: dict[Path, _SharedRefs] = {}
        tools.refs.confirm = self._confirm_refs
        self._keep_reasons: dict[tuple[EnvironmentId, Incarnation], str] = {}
        """Between the stages of one teardown: why the trash must keep the files."""

    def _confirm_refs(self, common_dir: Path) -> bool:
        shared = self._shared.get(common_dir)
        return shared is not None and shared.confirm()

    # --- being there ----------------------------------------------------------------------

    async def exists(self, path: str) -> bool:
        """Whether there is anything at ``path``; a dangling symlink counts.

        Raises:
            InvalidPathError: nobody can tell: a name too long, a directory that may not be entered.
        """
        try:
            return await on_disk(_exists, Path(path))
        except (OSError, ValueError) as error:
            raise InvalidPathError(f"Workspace path cannot be looked at: {error}") from error

    async def provision(
        self,
        environment_id: EnvironmentId,
        incarnation: Incarnation,
        spec: WorkspaceSpec,
        boundary: OwnedBoundary,
        on_entry: EntrySink,
        before_creating: Callable[[], Awaitable[None]],
    ) -> DiscoveredWorkspace:
        """Make the workspace (``workspace/provision.py``)."""
        if isinstance(spec, ManagedWorktreeSpec):
            await self._note_branch(spec)
        made = await provision_workspace(
            self.tools,
            environment_id,
            spec,
            Transcript(on_entry),
            boundary,
            incarnation=incarnation,
            before_creating=before_creating,
        )
        return made.discovered

    async def _note_branch(self, spec: ManagedWorktreeSpec) -> None:
        """Siblings need not be told of the branch that is about to be made."""
        dirs = await on_disk(find_git_dirs, Path(spec.source_path))
        shared = None if dirs is None else self._shared.get(dirs.common_dir)
        if shared is not None:
            shared.made[spec.branch_name] = None

    async def discover(self, path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
        """Describe a workspace that exists, making nothing."""
        made = await provision_workspace(
            self.tools, "", AttachSpec(path, kind), Transcript(), None
        )
        return made.discovered

    async def switch_checkout(self, path: str, checkout: Checkout, on_entry: EntrySink) -> None:
        """Switch the branch of an unmanaged workspace."""
        await switch_branch(self.tools, Path(path), checkout, Transcript(on_entry))

    # --- looking --------------------------------------------------------------------------

    async def repository(self, path: str) -> Repository:
        """Return the repository of a workspace, found by reading files.

        Raises:
            PathNotFoundError, NotGitRepoError.
        """
        found = await find_workspace(Path(path))
        if found.repository is None:
            raise NotGitRepoError(f"Not a git work tree: {path}")
        return found.repository

    @asynccontextmanager
    async def open_watch(self, path: str) -> AsyncIterator[OwnedWatch]:
        """Watch a git work tree; every kernel watch is gone when the context is left."""
        repository = await self.repository(path)
        common_dir = repository.common_dir
        target = WatchTarget(str(repository.work_tree), str(repository.git_dir), str(common_dir))
        async with self._watches.open_watch(target, self._oracle) as watch:
            shared = self._shared.setdefault(common_dir, _SharedRefs())
            shared.seen[watch] = -1
            self.tools.refs.trust(common_dir)
            try:
                yield RepositoryWatch(watch, repository, self.tools, shared)
            finally:
                self.tools.refs.distrust(common_dir)
                del shared.seen[watch]
                if not shared.seen and self._shared.get(common_dir) is shared:
                    del self._shared[common_dir]

    async def read_status(self, path: str, merge_base_branch: str | None) -> StatusReading:
        """Compute the status with git."""
        repository = await self.repository(path)
        return await read_status(self.tools.git, self.tools.refs, repository, merge_base_branch)

    async def read_diff(
        self, path: str, target: DiffTarget, max_diff_chars: int, max_file_list_chars: int
    ) -> Diff:
        """Compute a diff with git."""
        repository = await self.repository(path)
        return await read_diff(
            self.tools.git, repository, target, max_diff_chars, max_file_list_chars
        )

    # --- going away -----------------------------------------------------------------------

    async def run_teardown_hook(self, record: EnvironmentRecord, boundary: OwnedBoundary) -> None:
        """Run the workspace's own teardown script, if there is one."""
        end = await run_teardown_script(Path(record.path), Transcript(), boundary)
        if end is not None and not end.succeeded:
            log.warning(
                "teardown script failed: %s",
                end.detail,
                extra={"environment": record.environment_id},
            )

    async def rescue(self, record: EnvironmentRecord) -> None:
        """Keep uncommitted and unpushed work under refs, or mark the files to be kept."""
        removal = self._removal(record)
        evidence = await examine_worktree(removal)
        if evidence.exists:
            outcome = await rescue_worktree(self.tools, removal, evidence, limits=self.save_limits)
            self._keep_reasons[record.environment_id, record.incarnation] = outcome.keep_reason
            if outcome.refs:
                log.info(
                    "rescued work that was not committed",
                    extra={"environment": record.environment_id, "refs": list(outcome.refs)},
                )

    async def move_to_trash(self, record: EnvironmentRecord) -> None:
        """Take the workspace off its path with one rename."""
        if record.kind is WorkspaceKind.PERSONAL:
            await remove_personal_workspace(
                self.tools, record.environment_id, record.incarnation, Path(record.path)
            )
        else:
            key = (record.environment_id, record.incarnation)
            await discard_worktree(
                self.tools, self._removal(record), self._keep_reasons.get(key, "")
            )
            self._keep_reasons.pop(key, None)
        self._emptier.wake()

    async def deregister(self, record: EnvironmentRecord) -> None:
        """Make git forget exactly this worktree, and whatever was written at its path meanwhile."""
        removal = self._removal(record)
        await deregister_worktree(self.tools, removal)
        for _ in range(MAX_ROUNDS):
            if not await discard_worktree(self.tools, removal, CAME_BACK):
                break
            await deregister_worktree(self.tools, removal)

    async def prune_parent(self, record: EnvironmentRecord) -> None:
        """Remove the directory that held the worktree, if it is empty."""
        await prune_parent(self._removal(record))

    def wake_trash(self) -> None:
        """Have the trash emptied soon."""
        self._emptier.wake()

    async def rollback(self, record: EnvironmentRecord) -> None:
        """Remove what this incarnation's provisioning made."""
        await rollback_workspace(
            self.tools,
            record.spec,
            record.environment_id,
            record.incarnation,
            created_workspace=record.created_workspace,
        )
        self._emptier.wake()

    def _removal(self, record: EnvironmentRecord) -> WorktreeRemoval:
        spec = record.spec
        source = Path(spec.source_path) if isinstance(spec, ManagedWorktreeSpec) else None
        return WorktreeRemoval(
            environment_id=record.environment_id,
            incarnation=record.incarnation,
            path=Path(record.path),
            data_dir=self.tools.data_dir,
            source_path=source,
        )


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
