"""Registering and checking out a new worktree with git, and nothing of the rest of provisioning."""

import os
from pathlib import Path

from attrs import frozen

from bbhost.domain.workspace import ManagedWorktreeSpec
from bbhost.errors import GitCommandError, MissingDefaultBranchError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.filters import disarmed_filters
from bbhost.workspace.git import GitResult
from bbhost.workspace.managed_root import WORKTREES
from bbhost.workspace.output_lines import OutputLines
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.registration import Registration, registrations
from bbhost.workspace.removal import delete_registration
from bbhost.workspace.repository import Repository
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript

ADD_SECONDS = 900.0
"""Deadline of checking out the files of one worktree."""
_BRANCH_HEAD = "ref: refs/heads/"


@frozen
class WorktreeOrder:
    """A worktree to be made."""

    source: Repository
    """Where to make it from; ``work_tree`` is the git dir where the source is bare."""
    path: Path
    branch: str
    base: str
    tip: str | None
    """Commit id of the base, where that is a branch: there the worktree's branch will be."""
    replaced: str | None
    """Commit id at which the branch stands elsewhere than at the base, and from which it is reset."""
    default_branch: str | None
    """Default branch of the source once the worktree's branch is there."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of git. ``-B`` resets a branch that exists."""
        return ("worktree", "add", "-B", self.branch, str(self.path), self.base)


def order_worktree(
    spec: ManagedWorktreeSpec, source: Repository, refs: RefsSnapshot
) -> WorktreeOrder:
    """Decide on the base, and take from the branches what making it needs. Pure.

    A branch that exists is continued where no base was named, for its commits may be nowhere else;
    a base that was named is what the branch is set to.

    Raises:
        MissingDefaultBranchError: none was given and the source has no default branch.
    """
    base = spec.base_branch
    if base is None and spec.branch_name in refs.heads:
        base = spec.branch_name
    if base is None:
        base = refs.default_branch
        if base is None and not refs.heads and not refs.remotes:
            raise MissingDefaultBranchError(
                f"{spec.source_path} has no commit yet, and a worktree needs one: commit there first"
            )
        if base is None:
            raise MissingDefaultBranchError(
                f"Could not resolve a default branch for {spec.source_path}; name a base branch"
            )
        if base not in refs.heads and f"origin/{base}" in refs.remotes:
            # A clone whose default branch was never checked out.
            base = f"origin/{base}"
    tip = refs.heads.get(base) or refs.remotes.get(base)
    present = refs.heads.get(spec.branch_name)
    return WorktreeOrder(
        source=source,
        path=Path(spec.target_path),
        branch=spec.branch_name,
        base=base,
        tip=tip,
        replaced=None if present in {refs.heads.get(base), refs.remotes.get(base)} else present,
        default_branch=refs.default_branch_with(spec.branch_name),
    )


async def add_worktree(
    tools: WorkspaceTools, order: WorktreeOrder, transcript: Transcript
) -> None:
    """Make the worktree, under the repository's lock.

    Raises:
        GitCommandError, GitTimeoutError: git failed; half of it may be there.
        WorkspaceBusyError: the repository was locked for too long.

    Cancellation: git is ended; half of it may be there.
    """
    step = transcript.started("git-worktree-started", "Creating worktree")
    try:
        # The cache of refs hears of the new branch from whoever watches the repository, as it does of
        # any other; telling it here as well would have every worktree read them twice.
        with tools.refs.expecting(order.source.common_dir, order.branch, order.tip):
            await _add_and_tell(tools, order, transcript)
        await _tell_filters(tools, order, transcript)
    except Exception:
        step.failed("git-worktree-failed", "Failed to create worktree")
        raise
    step.completed("git-worktree-completed", "Created worktree")


async def _add_and_tell(
    tools: WorkspaceTools, order: WorktreeOrder, transcript: Transcript
) -> None:
    command = " ".join(("git", *order.arguments))
    transcript.output("git-worktree-command", command)
    async with tools.locks.repository(order.source.common_dir):
        result = await _add(tools, order)
        if result.returncode != 0 and await _clear_stale(tools, order):
            result = await _add(tools, order)
    fault_point("provision.worktree_added")
    for output in (result.stdout, result.stderr):
        shown = OutputLines()  # of the progress of a large checkout, the last state
        for line in (*shown.feed(output), *shown.finish()):
            transcript.line("git-worktree-output", line)
    if result.returncode != 0:
        reason = result.stderr.decode("utf-8", "replace").strip()
        raise GitCommandError(f"{command} failed: {reason or result.returncode}")


async def _tell_filters(
    tools: WorkspaceTools, order: WorktreeOrder, transcript: Transcript
) -> None:
    """Say which filters did not run: files under them are there as git stores them."""
    scan = await tools.git.scan(order.source.work_tree)
    for name in sorted(disarmed_filters(scan)):
        transcript.line(
            "git-worktree-output",
            f"Filter {name} was not run: only the repository's own configuration defines it",
        )


async def _add(tools: WorkspaceTools, order: WorktreeOrder) -> GitResult:
    return await tools.git.run(
        *order.arguments, cwd=order.source.work_tree, check=False, timeout_seconds=ADD_SECONDS
    )


async def _clear_stale(tools: WorkspaceTools, order: WorktreeOrder) -> bool:
    """Remove registrations of ours whose worktree is gone and that stand in the way.

    Looked for only after git has refused, because it reads a file for every worktree of the repository.
    """
    root = tools.data_dir / WORKTREES
    stale = await on_disk(_stale, root, order)
    for registration in stale:
        await delete_registration(registration)
    return bool(stale)


def _stale(root: Path, order: WorktreeOrder) -> list[Registration]:
    if os.path.lexists(order.path):
        return []
    return [
        registration
        for registration in registrations(order.source.common_dir)
        if registration.work_tree is not None
        and not registration.locked_by_user
        and registration.work_tree.is_relative_to(os.path.realpath(root))
        and not os.path.lexists(registration.work_tree)
        and (registration.names(order.path) or _is_on(registration, order.branch))
    ]


def _is_on(registration: Registration, branch: str) -> bool:
    try:
        head = (registration.directory / "HEAD").read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    return head.strip() == _BRANCH_HEAD + branch
