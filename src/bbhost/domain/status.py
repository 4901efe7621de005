"""What changed in a workspace: status and diff values (wire contract, sections 12.6, 19.2, 19.3)."""

from enum import StrEnum

from attrs import frozen


class FileStatus(StrEnum):
    """Status letter of one file."""

    MODIFIED = "M"
    ADDED = "A"
    DELETED = "D"
    RENAMED = "R"
    COPIED = "C"
    UNMERGED = "U"
    UNTRACKED = "??"
    UNKNOWN = "?"


class WorkingTreeState(StrEnum):
    """Summary of a working tree and its unmerged commits."""

    CLEAN = "clean"
    UNTRACKED = "untracked"
    DIRTY = "dirty_uncommitted"
    COMMITTED_UNMERGED = "committed_unmerged"
    DIRTY_AND_COMMITTED_UNMERGED = "dirty_and_committed_unmerged"


@frozen
class WorkspaceFileStatus:
    """One changed file. Line counts are None for untracked and binary files."""

    path: str
    status: FileStatus
    insertions: int | None
    deletions: int | None


@frozen
class WorkingTreeStatus:
    """Uncommitted changes. Totals count tracked changes only."""

    has_uncommitted_changes: bool
    state: WorkingTreeState
    insertions: int
    deletions: int
    files: tuple[WorkspaceFileStatus, ...]


@frozen
class BranchStatus:
    """Where HEAD is. ``default_branch`` falls back to the current branch, then to ``""``."""

    current_branch: str | None
    default_branch: str


@frozen
class CommitSummary:
    """One commit ahead of the merge base branch."""

    sha: str
    short_sha: str
    subject: str
    author_name: str
    authored_at: int
    """Milliseconds since the epoch."""


@frozen
class MergeBaseStatus:
    """HEAD compared with a merge base branch."""

    merge_base_branch: str
    base_ref: str | None
    """Commit id of the merge base."""
    ahead_count: int
    behind_count: int
    has_committed_unmerged_changes: bool
    commits: tuple[CommitSummary, ...]
    files: tuple[WorkspaceFileStatus, ...]
    insertions: int
    deletions: int


@frozen
class WorkspaceStatus:
    """The answer to ``workspace.status``."""

    working_tree: WorkingTreeStatus
    branch: BranchStatus
    merge_base: MergeBaseStatus | None


@frozen
class UncommittedDiff:
    """Working tree against HEAD, with untracked files."""


@frozen
class BranchCommittedDiff:
    """Commits since the merge base with a branch."""

    merge_base_branch: str


@frozen
class AllDiff:
    """Working tree, with untracked files, against the merge base with a branch."""

    merge_base_branch: str


@frozen
class CommitDiff:
    """One commit."""

    sha: str


DiffTarget = UncommittedDiff | BranchCommittedDiff | AllDiff | CommitDiff


@frozen
class Diff:
    """The answer to ``workspace.diff``. Limits count characters."""

    diff: str
    truncated: bool
    shortstat: str
    files: str
    """Name-status lines."""
    merge_base_ref: str | None
