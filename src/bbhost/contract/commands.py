"""The 32 commands of section 13, one class each, in the order of that section.

This is one file because it is one table: what a server may ask. Limits, lanes and results are in
``table``. Commands marked ``STRICT`` refuse unknown keys; the others ignore them.
"""

from typing import ClassVar, Literal

from bbhost.contract.execution import (
    ExecutionOptions,
    PromptInputs,
    ResumeContext,
    ThreadContext,
    TurnTarget,
)
from bbhost.contract.fields import (
    BranchLimit,
    BranchName,
    ClientRequestId,
    FileLimit,
    NonEmpty,
    PositiveInt,
    Query,
    ReplaySpeed,
)
from bbhost.contract.interactions import Resolution
from bbhost.contract.shared import ProvisionSpec
from bbhost.contract.wire import absent, flatten, require
from bbhost.contract.wire_class import wire_class
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.domain.status import DiffTarget
from bbhost.domain.workspace import WorkspaceContext

Dotfiles = Literal["allow", "deny"]
ContentEncoding = Literal["utf8", "base64"]

# --- environment ----------------------------------------------------------------------------


@wire_class
class Initiator:
    """The thread for which an environment is provisioned; it is told of each step."""

    STRICT: ClassVar[bool] = True
    thread_id: ThreadId
    provisioning_id: str


@wire_class
class EnvironmentProvision:
    """Make or attach the workspace of an environment."""

    TYPE: ClassVar[str] = "environment.provision"
    environment_id: EnvironmentId
    initiator: Initiator | None
    spec: ProvisionSpec = flatten()


@wire_class
class EnvironmentDestroy:
    """End everything in an environment and remove its managed workspace."""

    TYPE: ClassVar[str] = "environment.destroy"
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext


# --- workspace ------------------------------------------------------------------------------


@wire_class
class WorkspaceStatusCommand:
    """Tell what changed, and how HEAD compares with a branch if one is named."""

    TYPE: ClassVar[str] = "workspace.status"
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext
    merge_base_branch: BranchName | None = absent()


@wire_class
class WorkspaceDiffCommand:
    """Show the changes. The limits count characters, whatever their names say."""

    TYPE: ClassVar[str] = "workspace.diff"
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext
    target: DiffTarget
    max_diff_bytes: PositiveInt
    max_file_list_bytes: PositiveInt


@wire_class
class WorkspaceCommit:
    """Commit everything."""

    TYPE: ClassVar[str] = "workspace.commit"
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext
    message: NonEmpty


@wire_class
class WorkspaceSquashMerge:
    """Merge the current branch into a local branch as one commit."""

    TYPE: ClassVar[str] = "workspace.squash_merge"
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext
    target_branch: BranchName
    commit_message: NonEmpty


# --- files of the host ----------------------------------------------------------------------


@wire_class
class HostListFiles:
    """Find files below a directory."""

    TYPE: ClassVar[str] = "host.list_files"
    path: str
    limit: FileLimit
    query: Query | None = absent()


@wire_class
class HostListPaths:
    """Find files, directories or both below a directory."""

    TYPE: ClassVar[str] = "host.list_paths"
    path: str
    limit: FileLimit
    include_files: bool
    include_directories: bool
    query: Query | None = absent()

    def __attrs_post_init__(self) -> None:
        require(
            self.include_files or self.include_directories,
            "one of includeFiles and includeDirectories must be true",
        )


@wire_class
class HostListBranches:
    """List the branches of a checkout and where it stands."""

    TYPE: ClassVar[str] = "host.list_branches"
    path: str
    limit: BranchLimit
    query: Query | None = absent()
    selected_branch: BranchName | None = absent()


@wire_class
class HostListManagerTemplates:
    """List the manager templates of this host."""

    TYPE: ClassVar[str] = "host.list_manager_templates"
    STRICT: ClassVar[bool] = True


@wire_class
class HostFileMetadata:
    """Tell size and time of a file."""

    TYPE: ClassVar[str] = "host.file_metadata"
    STRICT: ClassVar[bool] = True
    path: str
    root_path: str | None = absent()


@wire_class
class HostReadFile:
    """Read a file from the disk, or from a commit if ``ref`` is given."""

    TYPE: ClassVar[str] = "host.read_file"
    path: str
    root_path: str | None = absent()
    ref: str | None = absent()

    def __attrs_post_init__(self) -> None:
        require(self.ref is None or self.root_path is not None, "ref requires rootPath")


@wire_class
class HostReadFileRelative:
    """Read a file below a root."""

    TYPE: ClassVar[str] = "host.read_file_relative"
    STRICT: ClassVar[bool] = True
    root_path: str
    path: str
    dotfiles: Dotfiles


@wire_class
class HostWriteFileRelative:
    """Write a file below a root, atomically."""

    TYPE: ClassVar[str] = "host.write_file_relative"
    STRICT: ClassVar[bool] = True
    root_path: str
    path: str
    dotfiles: Dotfiles
    content: str
    content_encoding: ContentEncoding


@wire_class
class HostDeleteFileRelative:
    """Delete a file below a root."""

    TYPE: ClassVar[str] = "host.delete_file_relative"
    STRICT: ClassVar[bool] = True
    root_path: str
    path: str
    dotfiles: Dotfiles


@wire_class
class HostDeletePathRelative:
    """Delete a file or a directory below a root."""

    TYPE: ClassVar[str] = "host.delete_path_relative"
    STRICT: ClassVar[bool] = True
    root_path: str
    path: str
    dotfiles: Dotfiles


# --- threads and turns ----------------------------------------------------------------------


@wire_class
class ThreadStart:
    """Start a thread and its first turn. ``context`` is written flat."""

    TYPE: ClassVar[str] = "thread.start"
    STRICT: ClassVar[bool] = True
    environment_id: EnvironmentId
    thread_id: ThreadId
    options: ExecutionOptions
    request_id: ClientRequestId
    input: PromptInputs
    context: ThreadContext = flatten()
    thread_storage_path: str | None = absent()


@wire_class
class TurnSubmit:
    """Give a thread more input: a new turn, or an addition to the active one."""

    TYPE: ClassVar[str] = "turn.submit"
    STRICT: ClassVar[bool] = True
    environment_id: EnvironmentId
    thread_id: ThreadId
    request_id: ClientRequestId
    input: PromptInputs
    options: ExecutionOptions
    resume_context: ResumeContext
    target: TurnTarget


@wire_class
class ThreadStop:
    """Interrupt the active turn of a thread."""

    TYPE: ClassVar[str] = "thread.stop"
    environment_id: EnvironmentId
    thread_id: ThreadId


@wire_class
class ThreadRename:
    """Tell the provider the title of a thread."""

    TYPE: ClassVar[str] = "thread.rename"
    environment_id: EnvironmentId
    thread_id: ThreadId
    title: str


@wire_class
class ThreadArchive:
    """Archive a thread at its provider."""

    TYPE: ClassVar[str] = "thread.archive"
    environment_id: EnvironmentId
    thread_id: ThreadId
    workspace_context: WorkspaceContext
    provider_id: str
    provider_thread_id: str


@wire_class
class ThreadUnarchive:
    """Take a thread out of its provider's archive; it needs no environment."""

    TYPE: ClassVar[str] = "thread.unarchive"
    thread_id: ThreadId
    provider_id: str
    provider_thread_id: str


@wire_class
class ThreadDeleted:
    """A thread is gone: remove its storage."""

    TYPE: ClassVar[str] = "thread.deleted"
    environment_id: EnvironmentId
    thread_id: ThreadId


@wire_class
class InteractiveResolve:
    """Deliver a person's answer to a waiting agent."""

    TYPE: ClassVar[str] = "interactive.resolve"
    environment_id: EnvironmentId
    thread_id: ThreadId
    interaction_id: str
    provider_id: str
    provider_thread_id: str
    provider_request_id: str
    resolution: Resolution


@wire_class
class ProviderList:
    """List the providers of this host."""

    TYPE: ClassVar[str] = "provider.list"


@wire_class
class ProviderListModels:
    """List the models of a provider."""

    TYPE: ClassVar[str] = "provider.list_models"
    provider_id: str


# --- codex helpers --------------------------------------------------------------------------


@wire_class
class CodexInferenceComplete:
    """Complete a prompt into a JSON object."""

    TYPE: ClassVar[str] = "codex.inference.complete"
    STRICT: ClassVar[bool] = True
    model: str
    prompt: str
    output_schema: dict[str, object]
    timeout_ms: PositiveInt


@wire_class
class CodexVoiceTranscribe:
    """Turn speech into text."""

    TYPE: ClassVar[str] = "codex.voice.transcribe"
    STRICT: ClassVar[bool] = True
    model: str
    audio_base64: str
    mime_type: str
    filename: str
    prompt: str | None
    timeout_ms: PositiveInt


# --- replay ---------------------------------------------------------------------------------


@wire_class
class ReplayCaptureList:
    """List the recorded threads."""

    TYPE: ClassVar[str] = "replay.capture_list"


@wire_class
class ReplayCaptureGet:
    """Show a recorded thread."""

    TYPE: ClassVar[str] = "replay.capture_get"
    capture_id: str


@wire_class
class ReplayCaptureDelete:
    """Forget a recorded thread."""

    TYPE: ClassVar[str] = "replay.capture_delete"
    capture_id: str


@wire_class
class ReplayRun:
    """Play a recorded thread again."""

    TYPE: ClassVar[str] = "replay.run"
    STRICT: ClassVar[bool] = True
    environment_id: EnvironmentId
    thread_id: ThreadId
    capture_id: str
    request_id: ClientRequestId
    speed: ReplaySpeed


Command = (
    EnvironmentProvision
    | EnvironmentDestroy
    | WorkspaceStatusCommand
    | WorkspaceDiffCommand
    | WorkspaceCommit
    | WorkspaceSquashMerge
    | HostListFiles
    | HostListPaths
    | HostListBranches
    | HostListManagerTemplates
    | HostFileMetadata
    | HostReadFile
    | HostReadFileRelative
    | HostWriteFileRelative
    | HostDeleteFileRelative
    | HostDeletePathRelative
    | ThreadStart
    | TurnSubmit
    | ThreadStop
    | ThreadRename
    | ThreadArchive
    | ThreadUnarchive
    | ThreadDeleted
    | InteractiveResolve
    | ProviderList
    | ProviderListModels
    | CodexInferenceComplete
    | CodexVoiceTranscribe
    | ReplayCaptureList
    | ReplayCaptureGet
    | ReplayCaptureDelete
    | ReplayRun
)
