"""Managed worktrees: made completely, or not at all (wire contract, section 19.1)."""

import logging
import os
from pathlib import Path

import trio
from attrs import frozen

from bbhost.domain.workspace import ManagedWorktreeSpec
from bbhost.errors import (
    InvalidPathError,
    NotGitRepoError,
    NotRemovableError,
    PathExistsError,
    PathNotFoundError,
)
from bbhost.processes.spawn import ProcessOpener
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.workspace.discover import (
    Described,
    Found,
    describe,
    describe_workspace,
    find_workspace,
    loose_branch_tip,
    report_branch,
)
from bbhost.workspace.disk import on_disk
from bbhost.workspace.include import copy_included_files
from bbhost.workspace.making import BeforeCreating
from bbhost.workspace.managed_root import WORKTREES, require_beneath
from bbhost.workspace.registration import read_registration
from bbhost.workspace.replaced_branch import keep_replaced_branch
from bbhost.workspace.repository import Repository, discover_repository, find_git_dirs, read_head
from bbhost.workspace.rollback import rollback_worktree
from bbhost.workspace.setup_script import run_setup_script
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript
from bbhost.workspace.worktree_add import WorktreeOrder, add_worktree, order_worktree

ROLLBACK_SECONDS = 30.0
"""Time for undoing a provisioning that failed or was cancelled. What is left then, teardown undoes."""

logger = logging.getLogger(__name__)


@frozen
class Maker:
    """One provisioning of a managed worktree."""

    tools: WorkspaceTools
    environment_id: str
    incarnation: int
    spec: ManagedWorktreeSpec
    transcript: Transcript
    boundary: ProcessOpener | None
    before_creating: BeforeCreating

    async def provision(self) -> tuple[Described, bool]:
        """Make the worktree, or take the one that is there. Returns whether it was made.

        Cancellation: undone, shielded for up to ``ROLLBACK_SECONDS``.
        """
        path = Path(self.spec.target_path)
        source = await on_disk(_check, self.tools.data_dir / WORKTREES, self.spec)
        if await on_disk(os.path.lexists, path):
            return await self._reuse(path, source), False
        order = order_worktree(self.spec, source, await self.tools.refs.refs(source))
        await self.before_creating()
        try:
            return await self._make(order), True
        except BaseException:
            with trio.move_on_after(ROLLBACK_SECONDS, shield=True):
                await self._roll_back()
            raise

    async def _make(self, order: WorktreeOrder) -> Described:
        fault_point("provision.before_parent")
        await on_disk(_make_parent, order.path)
        fault_point("provision.parent_made")
        await keep_replaced_branch(self.tools.git, order, self.environment_id, self.incarnation)
        await add_worktree(self.tools, order, self.transcript)
        self._report_target(order.path)
        checkout = await on_disk(discover_repository, self.spec.source_path)
        if checkout is not None:
            await copy_included_files(self.tools, checkout.work_tree, order.path, self.transcript)
        await run_setup_script(
            order.path,
            self.transcript,
            self.boundary,
            timeout_seconds=self.spec.setup_timeout_ms / 1000,
        )
        described = await self._describe(await find_workspace(order.path), order)
        report_branch(described, self.transcript)
        fault_point("provision.done")
        return described

    async def _describe(self, found: Found, order: WorktreeOrder) -> Described:
        """Describe the new worktree with what was read before it was made; its own branch, which the
        set-up script may have switched, is read from its file."""
        if found.repository is None:
            raise NotGitRepoError(
                f"{found.path} is no git worktree any more; did the set-up remove it?"
            )
        tip = None
        if found.branch is not None:
            tip = await on_disk(loose_branch_tip, found.repository.common_dir, found.branch)
            if tip is None:
                return await describe_workspace(self.tools, found)
        return describe(found, found.repository, order.default_branch, tip)

    async def _reuse(self, path: Path, source: Repository) -> Described:
        if not await on_disk(_is_complete, path, source, self.spec.branch_name):
            raise PathExistsError(
                f"{path} exists and is not a worktree of {self.spec.source_path} "
                f"on branch {self.spec.branch_name}"
            )
        self._report_target(path)
        described = await describe_workspace(self.tools, await find_workspace(path))
        report_branch(described, self.transcript)
        return described

    def _report_target(self, path: Path) -> None:
        self.transcript.completed("workspace-target", f"Using workspace: {path}")

    async def _roll_back(self) -> None:
        try:
            await rollback_worktree(self.tools, self.spec, self.environment_id, self.incarnation)
        except Exception:
            # The fault that made us roll back is the one to report; teardown tries again.
            logger.exception("Could not roll back %s", self.spec.target_path)


def _check(root: Path, spec: ManagedWorktreeSpec) -> Repository:
    """Check the paths and find the source repository. Blocking."""
    try:
        require_beneath(root, Path(spec.target_path))
    except NotRemovableError as error:
        # What we could not remove we do not make.
        raise InvalidPathError(f"Cannot make a worktree there: {error.message}") from error
    source = Path(spec.source_path)
    if not source.is_dir():
        what = "is not a directory" if source.exists() else "does not exist"
        raise PathNotFoundError(f"Source path {what}: {source}")
    dirs = find_git_dirs(source)
    if dirs is None:
        raise NotGitRepoError(f"Source path is not a git repository: {source}")
    return Repository(Path(os.path.realpath(source)), dirs.git_dir, dirs.common_dir)


def _make_parent(path: Path) -> None:
    make_private_directory(path.parent.parent)
    path.parent.mkdir(exist_ok=True)


def _is_complete(path: Path, source: Repository, branch: str) -> bool:
    """Whether a whole worktree of the same repository is there, on the branch. Blocking."""
    repository = discover_repository(path)
    if (
        repository is None
        or not repository.is_worktree
        or repository.common_dir != source.common_dir
        or repository.work_tree != Path(os.path.realpath(path))
        or path.is_symlink()
    ):
        return False
    head = read_head(repository)
    registration = read_registration(repository.git_dir)
    return (
        head is not None
        and head.branch == branch
        and registration is not None
        and not registration.half_made
        and (repository.git_dir / "index").exists()
    )
