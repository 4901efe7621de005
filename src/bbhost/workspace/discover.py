"""What is at a workspace path: a repository or not, which branch, which default branch."""

import re
from pathlib import Path

from attrs import frozen

from bbhost.domain.workspace import DiscoveredWorkspace
from bbhost.errors import PathNotFoundError
from bbhost.workspace.disk import on_disk
from bbhost.workspace.repository import Head, Repository, discover_repository, read_head
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript

_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@frozen
class Found:
    """A workspace and the repository it belongs to, read from files."""

    path: Path
    repository: Repository | None
    head: Head | None

    @property
    def branch(self) -> str | None:
        """Branch it is on, born or not; None when detached or no repository."""
        return None if self.head is None else self.head.branch


@frozen
class Described:
    """What the server is told about a workspace."""

    discovered: DiscoveredWorkspace
    sha: str | None
    """Commit its branch is at; None where there is none."""


async def find_workspace(path: Path) -> Found:
    """Look at ``path`` without a process.

    Raises:
        PathNotFoundError: it is not a directory.
    """
    found = await on_disk(_look, path)
    if found is None:
        raise PathNotFoundError(f"Workspace path does not exist: {path}")
    return found


async def describe_workspace(tools: WorkspaceTools, found: Found) -> Described:
    """Describe a workspace. At most one process, for the branches.

    Raises:
        GitCommandError, GitTimeoutError: the branches cannot be read.
    """
    if found.repository is None:
        return Described(DiscoveredWorkspace(str(found.path), False, False, None, None), None)
    refs = await tools.refs.refs(found.repository)
    sha = None if found.branch is None else refs.heads.get(found.branch)
    return describe(found, found.repository, refs.default_branch, sha)


def describe(
    found: Found, repository: Repository, default_branch: str | None, sha: str | None
) -> Described:
    """Put together what is known of the workspace of a repository."""
    discovered = DiscoveredWorkspace(
        path=str(found.path),
        is_git_repo=True,
        is_worktree=repository.is_worktree,
        branch_name=found.branch,
        default_branch=default_branch or None,
    )
    return Described(discovered, sha)


def report_branch(described: Described, transcript: Transcript) -> None:
    """Say which branch the workspace is on, where it is on one."""
    branch = described.discovered.branch_name
    if branch is None:
        return
    text = f"Using branch: {branch}" + (f" ({described.sha[:7]})" if described.sha else "")
    transcript.completed("workspace-branch", text, {"branchName": branch, "sha": described.sha})


def loose_branch_tip(common_dir: Path, branch: str) -> str | None:
    """Read where a branch is from its own file; None where git keeps it elsewhere. Blocking."""
    try:
        text = (common_dir / "refs" / "heads" / branch).read_text("ascii")[:80].strip()
    except (OSError, ValueError):
        return None
    return text if _OBJECT_ID.fullmatch(text) else None


def _look(path: Path) -> Found | None:
    if not path.is_dir():
        return None
    repository = discover_repository(path)
    return Found(path, repository, None if repository is None else read_head(repository))
