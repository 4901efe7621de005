"""Git and files behind the interface that owners of environments use (``ports.Workspaces``)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

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
from bbhost.environment.ports import EntrySink, OwnedBoundary, OwnedWatch
from bbhost.environment.shared_refs import RepositoryWatch, SharedRefs
from bbhost.errors import InvalidPathError, NotGitRepoError
from bbhost.watch.service import WatchService
from bbhost.watch.values import WatchTarget
from bbhost.workspace.checkout import switch_branch
from bbhost.workspace.diff import read_diff
from bbhost.workspace.discover import find_workspace
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.ignore import GitIgnoreOracle
from bbhost.workspace.provision import provision_workspace
from bbhost.workspace.removal import (
    MAX_ROUNDS,
    deregister_worktree,
    discard_worktree,
    examine_worktree,
    prune_parent,
    remove_personal_workspace,
)
from bbhost.workspace.repository import Repository
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
        self._shared: dict[Path, SharedRefs] = {}
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

    async def is_intact(self, record: EnvironmentRecord) -> bool:
        """Whether the workspace that this incarnation made or took over is still at its path.

        Not where this incarnation has put it into the trash, and not where anything else is than a
        directory, or a directory without ``.git`` where a worktree was.

        Raises:
            InvalidPathError: nobody can tell.
        """
        return await self.exists(record.path) and await on_disk(self._is_intact, record)

    def _is_intact(self, record: EnvironmentRecord) -> bool:
        path = Path(record.path)
        if path.is_symlink() or not path.is_dir():
            return False
        if record.kind is WorkspaceKind.MANAGED_WORKTREE and not _exists(path / ".git"):
            return False
        trashed = self.tools.trash.find(record.environment_id, path)
        return not any(
            one.note is not None and one.note.incarnation == record.incarnation for one in trashed
        )

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
            shared = self._shared.setdefault(common_dir, SharedRefs())
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
