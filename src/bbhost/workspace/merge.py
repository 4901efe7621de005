"""Squash-merging a workspace's branch into a local branch (wire contract, section 19.6).

The merge is made in a temporary worktree and only published when it is a commit, so that neither a
conflict nor an interruption touches anybody's checkout. As with commits, the caller notes *facts* first,
and after a restart they tell whether the merge has been published already.
"""

from pathlib import Path

from attrs import frozen

from bbhost.errors import GitCommandError, MergeRefusedError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.commit import require_committed
from bbhost.workspace.disk import on_disk
from bbhost.workspace.git import GitResult
from bbhost.workspace.index_lock import wait_index_unlocked
from bbhost.workspace.published import CommitSummaryLine, find_commit, read_commit
from bbhost.workspace.repository import Repository, discover_repository, read_head
from bbhost.workspace.temporary_worktree import temporary_worktree
from bbhost.workspace.tools import WorkspaceTools

MERGE_SECONDS = 300.0
"""Deadline of the merge, and of bringing the target's checkout up to date."""
QUICK_SECONDS = 60.0
"""Deadline of each other git child."""
MAX_CONFLICTS_SHOWN = 10
"""Files named in the message of a conflict."""
_BRANCH = "branch refs/heads/"


@frozen
class MergeFacts:
    """What is true before a squash merge. Plain values, to be kept over a restart."""

    source_branch: str
    target_branch: str
    target_before: str
    """Commit id of the target branch."""
    message: str


async def note_merge_facts(
    tools: WorkspaceTools, repository: Repository, target_branch: str, message: str
) -> MergeFacts:
    """Look at the branches. At most one process.

    Raises:
        MergeRefusedError: HEAD is detached, or the target is no local branch.
    """
    head = await on_disk(read_head, repository)
    if head is None or head.branch is None:
        raise MergeRefusedError(
            "Cannot squash merge from a detached HEAD; switch to a branch first",
            code="detached_head",
        )
    refs = await tools.refs.refs(repository)
    target = refs.heads.get(target_branch)
    if target is None:
        if target_branch in refs.remotes or f"origin/{target_branch}" in refs.remotes:
            raise MergeRefusedError(
                f"{target_branch} is a remote branch; create a local branch of it first",
                code="non_local_target_branch",
            )
        raise MergeRefusedError(
            f"Target branch {target_branch} does not exist", code="branch_not_found"
        )
    return MergeFacts(head.branch, target_branch, target, message)


async def squash_merge(
    tools: WorkspaceTools, repository: Repository, facts: MergeFacts
) -> CommitSummaryLine:
    """Merge as ``facts`` say and publish the commit.

    Raises:
        MergeRefusedError: the target is checked out somewhere with uncommitted changes.
        GitCommandError: conflicts, nothing to merge, or the target moved meanwhile.
        WorktreeCleanupError: it is published, but the temporary worktree could not be removed.
        WorkspaceBusyError: another operation held the target for too long.

    Cancellation: nothing is published, or all of it; the temporary worktree is gone.
    """
    async with tools.locks.branch(repository.common_dir, facts.target_branch):
        async with temporary_worktree(tools, repository, facts.target_before) as scratch:
            fault_point("merge.worktree_made")
            await _merge(tools, scratch, facts)
            fault_point("merge.merged")
            commit = await _commit(tools, scratch, facts)
            fault_point("merge.committed")
            await _publish(tools, repository, facts, commit)
            tools.refs.invalidate(repository.common_dir)
            fault_point("merge.published")
        return commit


async def find_published_merge(
    tools: WorkspaceTools, repository: Repository, facts: MergeFacts
) -> CommitSummaryLine | None:
    """Return the commit that was published after ``facts`` were noted, if it was.

    Waits a while for a git that outlived the daemon.
    """
    checkout = await _checkout_of(tools, repository, facts.target_branch)
    if checkout is not None:
        await wait_index_unlocked(checkout)
    tip = f"refs/heads/{facts.target_branch}"
    return await find_commit(tools.git, repository, tip, facts.target_before, facts.message)


async def _merge(tools: WorkspaceTools, scratch: Path, facts: MergeFacts) -> None:
    source = f"refs/heads/{facts.source_branch}"
    result = await tools.git.run(
        "merge", "--squash", source, cwd=scratch, check=False, timeout_seconds=MERGE_SECONDS
    )
    if result.returncode != 0:
        raise GitCommandError(f"git merge --squash {facts.source_branch} failed: {_why(result)}")


async def _commit(tools: WorkspaceTools, scratch: Path, facts: MergeFacts) -> CommitSummaryLine:
    result = await tools.git.run(
        "commit",
        "--no-verify",
        "-F",
        "-",
        cwd=scratch,
        stdin=facts.message.encode("utf-8", "surrogateescape"),
        check=False,
        timeout_seconds=QUICK_SECONDS,
    )
    if result.returncode == 1 and not result.stderr.strip():
        raise GitCommandError(
            f"Nothing to merge: {facts.source_branch} has no commit that {facts.target_branch} "
            "has not; what is not committed does not count"
        )
    require_committed(result)
    found = await on_disk(discover_repository, scratch)
    if found is None:
        raise GitCommandError("git commit failed: the temporary worktree has vanished")
    return await read_commit(tools.git, found, "HEAD")


async def _publish(
    tools: WorkspaceTools, repository: Repository, facts: MergeFacts, commit: CommitSummaryLine
) -> None:
    checkout = await _checkout_of(tools, repository, facts.target_branch)
    fault_point("merge.before_publish")
    if checkout is None:
        await tools.git.run(
            "update-ref",
            f"refs/heads/{facts.target_branch}",
            commit.sha,
            facts.target_before,
            cwd=repository.common_dir,
            git_dir=repository.common_dir,
            timeout_seconds=QUICK_SECONDS,
        )
        return
    async with tools.locks.checkout(checkout.git_dir):
        status = await tools.git.run(
            "status",
            "--porcelain",
            "--untracked-files=all",
            cwd=checkout.work_tree,
            timeout_seconds=QUICK_SECONDS,
        )
        if status.stdout.strip():
            raise MergeRefusedError(
                f"{facts.target_branch} is checked out at {checkout.work_tree} and has "
                "uncommitted changes there; commit or stash them first",
                code="dirty_target_branch",
            )
        await tools.git.run(
            "merge",
            "--ff-only",
            commit.sha,
            cwd=checkout.work_tree,
            timeout_seconds=MERGE_SECONDS,
        )


async def _checkout_of(
    tools: WorkspaceTools, repository: Repository, branch: str
) -> Repository | None:
    """Return the checkout that is on ``branch``, if one is and is still there."""
    result = await tools.git.run(
        "worktree",
        "list",
        "--porcelain",
        "-z",
        cwd=repository.common_dir,
        git_dir=repository.common_dir,
        timeout_seconds=QUICK_SECONDS,
    )
    for block in result.stdout.decode("utf-8", "surrogateescape").split("\0\0"):
        lines = block.split("\0")
        if _BRANCH + branch in lines and lines[0].startswith("worktree "):
            path = Path(lines[0].removeprefix("worktree "))
            return await on_disk(discover_repository, path)
    return None


def _why(result: GitResult) -> str:
    """Conflicts are told on stdout."""
    told = result.stdout.decode("utf-8", "replace").splitlines()
    conflicts = [line for line in told if line.startswith("CONFLICT")]
    if conflicts:
        more = len(conflicts) - MAX_CONFLICTS_SHOWN
        shown = "; ".join(conflicts[:MAX_CONFLICTS_SHOWN])
        return f"{shown}; and {more} more" if more > 0 else shown
    return result.stderr.decode("utf-8", "replace").strip() or f"exit status {result.returncode}"
