"""What a command is answered with when it succeeds (section 13), one class per kind of answer."""

from typing import ClassVar, Literal

from bbhost.contract.execution import AvailableModel, ProviderInfo
from bbhost.contract.fields import AtLeastZero, NonEmpty, Number
from bbhost.contract.replay import ReplaySummary
from bbhost.contract.wire import absent, flatten
from bbhost.contract.wire_class import wire_class
from bbhost.domain.status import Diff, WorkspaceStatus
from bbhost.domain.workspace import DiscoveredWorkspace, TranscriptEntry


@wire_class
class EmptyResult:
    """Done, and nothing to tell."""


# --- environment and workspace --------------------------------------------------------------


@wire_class
class EnvironmentProvisionResult:
    """What was provisioned. ``transcript`` is empty where nothing was made."""

    transcript: tuple[TranscriptEntry, ...]
    workspace: DiscoveredWorkspace = flatten()


@wire_class
class WorkspaceStatusResult:
    """The status."""

    workspace_status: WorkspaceStatus


@wire_class
class WorkspaceDiffResult:
    """The diff."""

    diff: Diff


@wire_class
class WorkspaceCommitResult:
    """The new commit."""

    commit_sha: str
    commit_subject: str


@wire_class
class WorkspaceSquashMergeResult:
    """The commit on the target branch; ``merged`` is true on every success."""

    merged: bool
    commit_sha: str
    commit_subject: str


# --- files of the host ----------------------------------------------------------------------


@wire_class
class FileRead:
    """A file's content. ``mime_type`` is absent when the extension tells nothing."""

    path: str
    content: str
    content_encoding: Literal["utf8", "base64"]
    size_bytes: int
    mime_type: str | None = absent()
    modified_at_ms: AtLeastZero | None = absent()
    """Milliseconds since the epoch, with a fraction where it is known."""


@wire_class
class FoundFile:
    """One file of a list; ``path`` is relative to the directory searched."""

    path: str
    name: str


@wire_class
class HostListFilesResult:
    """The files found; ``truncated`` when there are more than the limit."""

    files: tuple[FoundFile, ...]
    truncated: bool


@wire_class
class FoundPath:
    """One path of a list, how well it matches and which characters match."""

    kind: Literal["file", "directory"]
    path: str
    name: str
    score: Number
    positions: tuple[int, ...]


@wire_class
class HostListPathsResult:
    """The paths found; a directory precedes what is in it."""

    paths: tuple[FoundPath, ...]
    truncated: bool


@wire_class
class ManagerTemplate:
    """One manager template."""

    name: str


@wire_class
class HostListManagerTemplatesResult:
    """The manager templates, sorted, and the one in use."""

    templates: tuple[ManagerTemplate, ...]
    active_name: str


@wire_class
class FileMetadata:
    """Size and time of a file."""

    path: str
    modified_at_ms: AtLeastZero
    size_bytes: int


@wire_class
class FileWritten:
    """What was written; ``hash`` is the SHA-256 of the bytes in hex."""

    path: str
    hash: str
    modified_at_ms: AtLeastZero
    size_bytes: int


@wire_class
class FileDeleted:
    """Whether there was a file, and its SHA-256."""

    path: str
    deleted: bool
    previous_hash: str | None


@wire_class
class PathDeleted:
    """Whether there was anything at the path."""

    path: str
    deleted: bool


# --- checkouts (12.6) -----------------------------------------------------------------------


@wire_class
class OnBranch:
    """HEAD is a branch with commits."""

    KIND: ClassVar[str] = "branch"
    branch_name: str
    head_sha: str | None


@wire_class
class Detached:
    """HEAD is a commit."""

    KIND: ClassVar[str] = "detached"
    head_sha: str | None


@wire_class
class Unborn:
    """HEAD is a branch without commits."""

    KIND: ClassVar[str] = "unborn"
    branch_name: str | None


@wire_class
class UnknownCheckout:
    """HEAD cannot be told."""

    KIND: ClassVar[str] = "unknown"
    reason: str


GitCheckoutRef = OnBranch | Detached | Unborn | UnknownCheckout


@wire_class
class NoOperation:
    """Nothing is in progress."""

    KIND: ClassVar[str] = "none"


@wire_class
class OperationInProgress:
    """A merge or the like has begun and not ended."""

    kind: Literal["merge", "rebase", "cherry-pick", "revert"]
    has_conflicts: bool


@wire_class
class UnknownOperation:
    """It cannot be told whether something is in progress."""

    KIND: ClassVar[str] = "unknown"
    reason: str
    has_conflicts: bool


GitOperation = NoOperation | OperationInProgress | UnknownOperation


@wire_class
class SelectedBranch:
    """Where the branch asked for was found."""

    name: str
    kind: Literal["local", "remote", "missing"]


@wire_class
class ProjectSourceCheckout:
    """The answer to ``host.list_branches``."""

    branches: tuple[str, ...]
    branches_truncated: bool
    checkout: GitCheckoutRef
    default_branch: NonEmpty | None
    has_uncommitted_changes: bool
    operation: GitOperation
    remote_branches: tuple[str, ...]
    remote_branches_truncated: bool
    selected_branch: SelectedBranch | None


# --- threads, providers, helpers ------------------------------------------------------------


@wire_class
class ThreadStartResult:
    """The provider's own id of the new thread."""

    provider_thread_id: NonEmpty


@wire_class
class TurnSubmitResult:
    """What became of the input."""

    applied_as: Literal["new-turn", "steer"]


@wire_class
class ProviderListResult:
    """The providers."""

    providers: tuple[ProviderInfo, ...]


@wire_class
class ProviderListModelsResult:
    """The models, and those offered only where they are selected already."""

    models: tuple[AvailableModel, ...]
    selected_only_models: tuple[AvailableModel, ...]


@wire_class
class CodexCompletion:
    """The object that the model made."""

    model: str
    value: dict[str, object]


@wire_class
class CodexTranscript:
    """The words that were spoken."""

    model: str
    text: str


@wire_class
class ReplayCaptureListResult:
    """The recorded threads."""

    captures: tuple[ReplaySummary, ...]
