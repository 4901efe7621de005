"""The HTTP bodies between daemon and server, except commands and events themselves.

One file, because together they are the server's HTTP interface (sections 1 to 3 and 6 to 11).
What a server answers is read tolerantly: unknown keys are ignored, and a field that is absent is
None, which means *unknown* and never *empty*.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from attrs import field

from bbhost.contract.codec import decode_json
from bbhost.contract.events import ThreadEvent
from bbhost.contract.fields import (
    AT_LEAST_ONE,
    AppDataPath,
    AppId,
    Count,
    NonEmpty,
    PositiveInt,
    ProducerEventId,
)
from bbhost.contract.interactions import InteractionPayload
from bbhost.contract.wire import absent, flatten, optional, require
from bbhost.contract.wire_class import wire_class
from bbhost.domain.ids import (
    CommandId,
    EnvironmentId,
    HostId,
    SessionId,
    TerminalId,
    ThreadId,
)
from bbhost.errors import WireError

HostType = Literal["persistent"]

# --- errors (2) -----------------------------------------------------------------------------


@wire_class
class ErrorBody:
    """What a server says when it refuses or fails."""

    code: str
    message: str
    retryable: bool | None = absent()
    details: object = absent()


def parse_error_body(text: str | bytes) -> ErrorBody | None:
    """Read an error body; None for one that is not of the contract (a proxy's page, say)."""
    try:
        return decode_json(ErrorBody, text)
    except WireError:
        return None


def is_retryable(status: int, body: ErrorBody | None) -> bool:
    """Whether a request that was refused may succeed later: the body's word, else not for 4xx."""
    if body is not None and body.retryable is not None:
        return body.retryable
    return not 400 <= status < 500


@wire_class
class OkResponse:
    """Done."""

    ok: Literal[True]


# --- enrolling (1) --------------------------------------------------------------------------


@wire_class
class EnrollRequest:
    """A host trades its enrol key for a host key."""

    STRICT: ClassVar[bool] = True
    host_id: HostId
    host_name: NonEmpty
    host_type: HostType = "persistent"


@wire_class
class EnrollResponse:
    """The host key, with which every further request is authorised."""

    host_id: HostId
    host_key: NonEmpty = field(repr=False)


# --- opening a session (3) ------------------------------------------------------------------


@wire_class
class ActiveThread:
    """A thread in the middle of a turn."""

    thread_id: ThreadId


@wire_class
class LoadedEnvironment:
    """An environment that is live in this daemon."""

    environment_id: EnvironmentId


@wire_class
class OpenTerminal:
    """A terminal that is open in this daemon."""

    terminal_id: TerminalId


@wire_class
class SessionOpenRequest:
    """A daemon presents itself; every WebSocket needs a session of its own."""

    host_id: HostId
    instance_id: NonEmpty
    """Random per process, the same over all its sessions."""
    host_name: NonEmpty
    data_dir: NonEmpty
    """Absolute path; the server derives the paths of workspaces from it."""
    protocol_version: PositiveInt
    active_threads: tuple[ActiveThread, ...]
    loaded_environments: tuple[LoadedEnvironment, ...] = optional(())
    open_terminals: tuple[OpenTerminal, ...] | None = absent()
    """Terminals that the server may go on with; None: this daemon does not say (a stock one)."""
    host_type: HostType = "persistent"


@wire_class
class ThreadTarget:
    """A thread whose storage is to be watched."""

    environment_id: EnvironmentId
    thread_id: ThreadId


@wire_class
class SessionOpenResponse:
    """The session, and what the server knows of this host."""

    session_id: SessionId
    heartbeat_interval_ms: PositiveInt
    lease_timeout_ms: PositiveInt
    tracked_thread_targets: tuple[ThreadTarget, ...]
    retired_environment_ids: tuple[EnvironmentId, ...] | None = absent()
    """Environments that were reported as loaded and are no longer wanted; None: unknown."""
    live_environment_ids: tuple[EnvironmentId, ...] | None = absent()
    """Every environment of this host that is not destroyed; None: unknown (a stock server)."""


# --- commands and their reports (6, 8) ------------------------------------------------------


@wire_class
class FetchedCommands:
    """Commands, oldest first. Each is parsed alone, so that a bad one harms no other."""

    commands: tuple[object, ...]


def _never_empty(message: str) -> str:
    return message or "unspecified failure"


@wire_class
class CommandSuccess:
    """A command was done. ``result`` is JSON; ``contract.reports`` makes it from a result."""

    OK: ClassVar[bool] = True
    command_id: CommandId
    type: str
    completed_at: Count
    """Milliseconds since the epoch."""
    result: object


@wire_class
class CommandFailure:
    """A command was not done. A server refuses an empty message, so there is none."""

    OK: ClassVar[bool] = False
    command_id: CommandId
    type: str
    completed_at: Count
    """Milliseconds since the epoch."""
    error_code: NonEmpty
    error_message: NonEmpty = field(converter=_never_empty)


CommandReport = CommandSuccess | CommandFailure


@wire_class
class ReportPost:
    """A report under the session that is current when it is posted."""

    session_id: SessionId
    report: CommandReport = flatten()


# --- events (9) -----------------------------------------------------------------------------


@wire_class
class EventEnvelope:
    """An event and the id under which its delivery is repeated."""

    STRICT: ClassVar[bool] = True
    producer_event_id: ProducerEventId
    thread_id: ThreadId
    event: ThreadEvent

    def __attrs_post_init__(self) -> None:
        require(self.event.thread_id == self.thread_id, "event.threadId differs from threadId")


@wire_class
class EventBatch:
    """Events in the order in which they are to be stored; all are accepted, or none."""

    session_id: SessionId
    events: tuple[EventEnvelope, ...]


@wire_class
class AcceptedEvent:
    """The event is stored."""

    producer_event_id: str
    thread_id: ThreadId
    sequence: Count


@wire_class
class RejectedEvent:
    """The event is refused for good."""

    producer_event_id: str
    thread_id: ThreadId
    reason: str


@wire_class
class EventBatchResponse:
    """What became of each event of a batch."""

    accepted_events: tuple[AcceptedEvent, ...]
    rejected_events: tuple[RejectedEvent, ...]


# --- changes (10) ---------------------------------------------------------------------------


class EnvironmentChange(StrEnum):
    """What changed in an environment."""

    WORK_STATUS = "work-status-changed"
    GIT_REFS = "git-refs-changed"
    THREAD_STORAGE = "thread-storage-changed"


@wire_class
class EnvironmentChangePost:
    """Something changed in an environment."""

    session_id: SessionId
    environment_id: EnvironmentId
    change: EnvironmentChange


@wire_class
class AppDataChange:
    """A data file of an app changed, or is gone."""

    STRICT: ClassVar[bool] = True
    session_id: SessionId
    thread_id: ThreadId
    app_id: AppId
    path: AppDataPath
    value: object
    """The file's JSON; None when it is gone."""
    deleted: bool
    version: NonEmpty | None
    """SHA-256 of the file's bytes in hex; None exactly when it is gone."""

    def __attrs_post_init__(self) -> None:
        require(
            self.deleted == (self.version is None), "version must be null exactly when deleted"
        )


@wire_class
class AppDataResync:
    """All data of an app is to be read again."""

    STRICT: ClassVar[bool] = True
    session_id: SessionId
    thread_id: ThreadId
    app_id: AppId


# --- tool calls (11) ------------------------------------------------------------------------


@wire_class
class ToolCallRequest:
    """An agent calls a tool of the server."""

    session_id: SessionId
    thread_id: ThreadId
    provider_thread_id: str
    turn_id: str
    call_id: str
    tool: str
    arguments: object = absent()


@wire_class
class ToolText:
    """Text for the agent."""

    TYPE: ClassVar[str] = "inputText"
    text: str


@wire_class
class ToolImage:
    """An image for the agent."""

    TYPE: ClassVar[str] = "inputImage"
    image_url: str


@wire_class
class ToolCallResponse:
    """What the tool answers."""

    success: bool
    content_items: tuple[ToolText | ToolImage, ...]


# --- interactive requests (11) --------------------------------------------------------------


@wire_class
class PendingInteraction:
    """A question to a person; the server knows it by thread, provider and request id."""

    thread_id: ThreadId
    turn_id: str
    provider_id: str
    provider_thread_id: str
    provider_request_id: str
    payload: InteractionPayload


@wire_class
class InteractiveRequest:
    """An agent asks a person."""

    session_id: SessionId
    interaction: PendingInteraction


class InteractionStatus(StrEnum):
    """What became of a question."""

    PENDING = "pending"
    RESOLVING = "resolving"
    RESOLVED = "resolved"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"


@wire_class
class InteractionRegistered:
    """The question is known. Only while pending or resolving will there be an answer."""

    outcome: Literal["created", "existing"]
    interaction_id: str
    status: InteractionStatus

    @property
    def is_open(self) -> bool:
        """Whether an answer will come."""
        return self.status in {InteractionStatus.PENDING, InteractionStatus.RESOLVING}


@wire_class
class InteractionRejected:
    """The question cannot be asked."""

    OUTCOME: ClassVar[str] = "rejected"
    reason: str


InteractiveResponse = InteractionRegistered | InteractionRejected


@wire_class
class InteractiveInterrupt:
    """The agent that asked is gone."""

    session_id: SessionId
    provider_id: str
    thread_ids: Annotated[tuple[ThreadId, ...], AT_LEAST_ONE]
    reason: str


@wire_class
class InteractiveInterruptResponse:
    """The questions that are not asked any more."""

    ok: Literal[True]
    interaction_ids: tuple[str, ...]
