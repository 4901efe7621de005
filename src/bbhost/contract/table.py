"""The table of commands: what each is answered with and how it may run (sections 6 to 8, 13)."""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import frozen

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.contract.codec import structure
from bbhost.contract.fields import Count
from bbhost.contract.replay import ReplayManifest
from bbhost.domain.ids import CommandId
from bbhost.errors import WireError


class Lane(Enum):
    """What a command has to wait for."""

    NONE = "none"
    """Nothing: it starts at once."""
    READ = "read"
    """The writes on its environment that were admitted before it."""
    WRITE = "write"
    """Everything on its environment that was admitted before it."""
    FILE = "file"
    """Every earlier command on the same file."""


UNKNOWN_COMMAND = "unknown_command"
INVALID_COMMAND = "invalid_command"

REDELIVERY_SECONDS = 60.0
"""A server hands a command out again when it is not answered within this time."""
PROVISION_REDELIVERY_SECONDS = 1200.0


@frozen
class CommandSpec:
    """One row of the table."""

    command: type[Any]
    result: type[Any]
    lane: Lane
    flush_events: Callable[[Any], bool]
    """Whether buffered events go out before the result of this command is posted."""
    redelivery_seconds: float = REDELIVERY_SECONDS
    """How long a server waits for the answer before it hands the command out again."""

    @property
    def type(self) -> str:
        """The command's type on the wire."""
        name: str = self.command.TYPE
        return name


@frozen
class CommandEnvelope:
    """A command that can be run."""

    id: CommandId
    cursor: int
    """Order of the server's queue; strictly increasing, with gaps."""
    command: c.Command
    raw: dict[str, Any]
    """The envelope as it came, for the journal."""

    @property
    def spec(self) -> CommandSpec:
        """The command's row of the table."""
        return COMMANDS[self.command.TYPE]


@frozen
class BadEnvelope:
    """A command that cannot be run. Without an id there is nobody to tell, and it is dropped."""

    id: CommandId | None
    type: str
    """What it called itself, or ``unknown``."""
    error_code: str
    message: str


@frozen
class _Cursor:
    cursor: Count


def _never(_command: object) -> bool:
    return False


def _always(_command: object) -> bool:
    return True


def _row(
    command: type[Any],
    result: type[Any],
    lane: Lane = Lane.NONE,
    flush_events: Callable[[Any], bool] = _never,
    redelivery_seconds: float = REDELIVERY_SECONDS,
) -> CommandSpec:
    return CommandSpec(command, result, lane, flush_events, redelivery_seconds)


_ROWS = (
    _row(
        c.EnvironmentProvision,
        r.EnvironmentProvisionResult,
        Lane.WRITE,
        lambda command: command.initiator is not None,
        PROVISION_REDELIVERY_SECONDS,
    ),
    _row(c.EnvironmentDestroy, r.EmptyResult, Lane.WRITE),
    _row(c.WorkspaceStatusCommand, r.WorkspaceStatusResult, Lane.READ),
    _row(c.WorkspaceDiffCommand, r.WorkspaceDiffResult, Lane.READ),
    _row(c.WorkspaceCommit, r.WorkspaceCommitResult, Lane.WRITE),
    _row(c.WorkspaceSquashMerge, r.WorkspaceSquashMergeResult, Lane.WRITE),
    _row(c.HostListFiles, r.HostListFilesResult),
    _row(c.HostListPaths, r.HostListPathsResult),
    _row(c.HostListBranches, r.ProjectSourceCheckout),
    _row(c.HostListManagerTemplates, r.HostListManagerTemplatesResult),
    _row(c.HostFileMetadata, r.FileMetadata),
    _row(c.HostReadFile, r.FileRead),
    _row(c.HostReadFileRelative, r.FileRead),
    _row(c.HostWriteFileRelative, r.FileWritten, Lane.FILE),
    _row(c.HostDeleteFileRelative, r.FileDeleted, Lane.FILE),
    _row(c.HostDeletePathRelative, r.PathDeleted, Lane.FILE),
    _row(c.ThreadStart, r.ThreadStartResult, flush_events=_always),
    _row(c.TurnSubmit, r.TurnSubmitResult, flush_events=_always),
    _row(c.ThreadStop, r.EmptyResult, flush_events=_always),
    _row(c.ThreadRename, r.EmptyResult),
    _row(c.ThreadArchive, r.EmptyResult, Lane.WRITE),
    _row(c.ThreadUnarchive, r.EmptyResult),
    _row(c.ThreadDeleted, r.EmptyResult),
    _row(c.InteractiveResolve, r.EmptyResult, flush_events=_always),
    _row(c.ProviderList, r.ProviderListResult),
    _row(c.ProviderListModels, r.ProviderListModelsResult),
    _row(c.CodexInferenceComplete, r.CodexCompletion),
    _row(c.CodexVoiceTranscribe, r.CodexTranscript),
    _row(c.ReplayCaptureList, r.ReplayCaptureListResult),
    _row(c.ReplayCaptureGet, ReplayManifest),
    _row(c.ReplayCaptureDelete, r.EmptyResult),
    _row(c.ReplayRun, r.EmptyResult),
)

COMMANDS: Mapping[str, CommandSpec] = MappingProxyType({row.type: row for row in _ROWS})
"""Every command by its type."""


def lane_key(command: Any) -> str | None:  # noqa: ANN401 - any command class
    """What a command shares its lane with: an environment, a file, or None for no lane."""
    lane = COMMANDS[command.TYPE].lane
    if lane is Lane.NONE:
        return None
    if lane is Lane.FILE:
        return f"{command.root_path}\0{command.path}"
    key: str = command.environment_id
    return key


def parse_command(data: object) -> c.Command:
    """Make a command from parsed JSON.

    Raises:
        WireError: code ``unknown_command`` or ``invalid_command``.
    """
    if not isinstance(data, dict):
        raise WireError("command must be an object", path="command", code=UNKNOWN_COMMAND)
    kind = data.get("type")
    spec = COMMANDS.get(kind) if isinstance(kind, str) else None
    if spec is None:
        raise WireError(f"unknown command {_shown(kind)}", path="type", code=UNKNOWN_COMMAND)
    command: c.Command = structure(spec.command, data)
    return command


def parse_envelope(raw: object) -> CommandEnvelope | BadEnvelope:
    """Read one element of a fetched list. Never raises: good commands run beside bad ones."""
    if not isinstance(raw, dict):
        return BadEnvelope(None, "unknown", INVALID_COMMAND, "an envelope must be an object")
    body = raw.get("command")
    kind = body.get("type") if isinstance(body, dict) else None
    type_ = kind if isinstance(kind, str) and kind else "unknown"
    try:
        command_id: CommandId = structure(CommandId, raw.get("id"))
    except WireError:
        return BadEnvelope(None, type_, INVALID_COMMAND, "an envelope must have a string id")
    try:
        command = parse_command(body)
        cursor = structure(_Cursor, raw).cursor
    except WireError as error:
        return BadEnvelope(command_id, type_, error.code, error.message)
    return CommandEnvelope(command_id, cursor, command, raw)


def _shown(kind: object) -> str:
    return repr(kind)[:80] if isinstance(kind, str) else "without a type"
