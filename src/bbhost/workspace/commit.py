"""Committing everything in a workspace (wire contract, section 19.5): hooks are not run.

A commit may be made and the daemon killed before it can say so. Therefore the caller notes the
*facts* before it starts; after a restart they tell whether that very commit is there already.
"""

from attrs import frozen

from bbhost.errors import GitCommandError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.filters import require_working_filters
from bbhost.workspace.git import GitResult
from bbhost.workspace.index_lock import wait_index_unlocked
from bbhost.workspace.published import CommitSummaryLine, find_commit, read_commit
from bbhost.workspace.repository import Repository, read_head
from bbhost.workspace.tools import WorkspaceTools

ADD_SECONDS = 300.0
"""Deadline of staging: every new file is read and stored."""
COMMIT_SECONDS = 120.0


@frozen
class CommitFacts:
    """What is true before a commit. Plain values, to be kept over a restart."""

    message: str
    head_before: str | None
    """Commit id; None before the first commit."""
    branch: str | None
    """Branch name; None when detached."""


async def note_commit_facts(
    tools: WorkspaceTools, repository: Repository, message: str
) -> CommitFacts:
    """Read what a later :func:`find_finished_commit` needs. One process."""
    head = await on_disk(read_head, repository)
    result = await tools.git.run(
        "rev-parse",
        "--verify",
        "--quiet",
        "HEAD^{commit}",
        cwd=repository.work_tree,
        ok_codes=(0, 1),
    )
    sha = result.stdout.decode("ascii").strip() or None
    return CommitFacts(message, sha, None if head is None else head.branch)


async def commit_workspace(
    tools: WorkspaceTools, repository: Repository, message: str
) -> CommitSummaryLine:
    """Stage everything and commit it.

    Raises:
        GitCommandError: there is nothing to commit, or git failed.
        WorkspaceBusyError: another operation held the checkout for too long.

    Cancellation: git is ended; there is a commit or there is none, and the work is there in both cases.
    """
    async with tools.locks.checkout(repository.git_dir):
        await require_working_filters(tools.git, repository)
        fault_point("commit.before_add")
        await tools.git.run("add", "-A", cwd=repository.work_tree, timeout_seconds=ADD_SECONDS)
        fault_point("commit.added")
        result = await tools.git.run(
            "commit",
            "--no-verify",
            "-F",
            "-",
            cwd=repository.work_tree,
            stdin=message.encode("utf-8", "surrogateescape"),
            check=False,
            timeout_seconds=COMMIT_SECONDS,
        )
        require_committed(result)
        fault_point("commit.committed")
        tools.refs.invalidate(repository.common_dir)
        return await read_commit(tools.git, repository, "HEAD")


async def find_finished_commit(
    tools: WorkspaceTools, repository: Repository, facts: CommitFacts
) -> CommitSummaryLine | None:
    """Return the commit that was made after ``facts`` were noted, if it was.

    Waits a while for a git that outlived the daemon. Commits made on top of it since do not matter.
    """
    await wait_index_unlocked(repository)
    tip = "HEAD" if facts.branch is None else f"refs/heads/{facts.branch}"
    return await find_commit(tools.git, repository, tip, facts.head_before, facts.message)


def require_committed(result: GitResult) -> None:
    """Raise what went wrong with ``git commit``, which says on stdout that there is nothing to do."""
    if result.returncode == 0:
        return
    said = (result.stderr.strip() or result.stdout.strip()).decode("utf-8", "replace")
    lines = said.splitlines()
    raise GitCommandError(
        f"git commit failed: {lines[-1] if lines else f'exit status {result.returncode}'}"
    )
