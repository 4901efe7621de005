"""What a workspace is and how one is asked for. Values only."""

from enum import StrEnum

from attrs import field, frozen


class WorkspaceKind(StrEnum):
    """How a workspace came to be; it decides what destroying may remove."""

    UNMANAGED = "unmanaged"
    """The user's own checkout or directory: never removed, never changed by teardown."""
    MANAGED_WORKTREE = "managed-worktree"
    """A git worktree made by this daemon beneath its data directory."""
    PERSONAL = "personal"
    """A plain directory made by this daemon beneath its data directory."""


@frozen
class WorkspaceContext:
    """Where an environment's files are, as the server names them in every workspace command."""

    workspace_path: str
    """Absolute path."""
    workspace_provision_type: WorkspaceKind


@frozen
class ExistingBranchCheckout:
    """Switch an unmanaged workspace to a local branch that exists."""

    name: str


@frozen
class NewBranchCheckout:
    """Create (or reset) a branch at a base branch and switch to it."""

    name: str
    base_branch: str


Checkout = ExistingBranchCheckout | NewBranchCheckout


@frozen
class UnmanagedSpec:
    """Use a directory that exists already."""

    path: str
    checkout: Checkout | None = field(default=None, metadata={"absent": True})


@frozen
class ManagedWorktreeSpec:
    """Make a git worktree of ``source_path`` at ``target_path`` on ``branch_name``."""

    source_path: str
    target_path: str
    branch_name: str
    base_branch: str | None
    setup_timeout_ms: int


@frozen
class PersonalSpec:
    """Make a plain directory."""

    target_path: str


@frozen
class AttachSpec:
    """Take over a workspace that is there already, making nothing."""

    path: str
    kind: WorkspaceKind


WorkspaceSpec = UnmanagedSpec | ManagedWorktreeSpec | PersonalSpec | AttachSpec


def workspace_path(spec: WorkspaceSpec) -> str:
    """Absolute path of the workspace that ``spec`` asks for."""
    match spec:
        case UnmanagedSpec(path=path) | AttachSpec(path=path):
            return path
        case ManagedWorktreeSpec(target_path=path) | PersonalSpec(target_path=path):
            return path


def workspace_kind(spec: WorkspaceSpec) -> WorkspaceKind:
    """Kind of the workspace that ``spec`` asks for."""
    match spec:
        case UnmanagedSpec():
            return WorkspaceKind.UNMANAGED
        case ManagedWorktreeSpec():
            return WorkspaceKind.MANAGED_WORKTREE
        case PersonalSpec():
            return WorkspaceKind.PERSONAL
        case AttachSpec(kind=kind):
            return kind


@frozen
class DiscoveredWorkspace:
    """What is found at a workspace path."""

    path: str
    is_git_repo: bool
    is_worktree: bool
    branch_name: str | None
    """None when detached or not a git repository."""
    default_branch: str | None


class TranscriptStatus(StrEnum):
    """State of one provisioning step."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"


@frozen
class TranscriptEntry:
    """One line of a provisioning transcript (keys: wire contract, section 19.1)."""

    type: str
    """``step`` or ``output``."""
    key: str
    text: str
    started_at: int | None = field(default=None, metadata={"absent": True})
    """Milliseconds since the epoch."""
    status: TranscriptStatus | None = field(default=None, metadata={"absent": True})
    metadata: dict[str, object] | None = field(default=None, metadata={"absent": True})
