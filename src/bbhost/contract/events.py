"""What happened in a thread (section 14): every event that a daemon may send.

An event belongs to its thread as a whole or to one turn, and its type says which; a server refuses
it under the other scope. The events that only a server writes are not here.
"""

from typing import ClassVar, Literal

from bbhost.contract.fields import ClientRequestId, Count, NonEmpty, Number
from bbhost.contract.items import ApprovalStatus, CommandExecutionItem, FileChangeItem, Item
from bbhost.contract.wire import absent, require
from bbhost.contract.wire_class import wire_class
from bbhost.domain.ids import ThreadId
from bbhost.domain.workspace import TranscriptEntry


@wire_class
class ThreadScope:
    """The whole thread."""

    KIND: ClassVar[str] = "thread"


@wire_class
class TurnScope:
    """One turn."""

    KIND: ClassVar[str] = "turn"
    turn_id: NonEmpty


Scope = ThreadScope | TurnScope


@wire_class
class _Event:
    REFUSED: ClassVar[frozenset[str]] = frozenset({"clientRequestSequence"})
    """A key of an older contract; a server refuses the event that carries it."""
    thread_id: ThreadId


@wire_class
class _TurnEvent(_Event):
    scope: TurnScope
    provider_thread_id: str


# --- the thread -----------------------------------------------------------------------------


@wire_class
class ThreadStarted(_Event):
    """A thread began."""

    TYPE: ClassVar[str] = "thread/started"
    scope: ThreadScope


@wire_class
class ThreadIdentity(_Event):
    """The provider's own id of the thread is known."""

    TYPE: ClassVar[str] = "thread/identity"
    scope: ThreadScope
    provider_thread_id: str


@wire_class
class ThreadNameUpdated(_Event):
    """The provider named the thread."""

    TYPE: ClassVar[str] = "thread/name/updated"
    scope: ThreadScope
    provider_thread_id: str
    thread_name: str


@wire_class
class ThreadCompacted(_TurnEvent):
    """The provider made the thread's context smaller."""

    TYPE: ClassVar[str] = "thread/compacted"


# --- the turn -------------------------------------------------------------------------------


@wire_class
class TurnStarted(_TurnEvent):
    """A turn began. A server stores no other event of a turn before this one."""

    TYPE: ClassVar[str] = "turn/started"


@wire_class
class TurnFault:
    """Why a turn failed."""

    message: str


@wire_class
class TurnCompleted(_Event):
    """A turn ended."""

    TYPE: ClassVar[str] = "turn/completed"
    scope: TurnScope
    provider_thread_id: str | None
    status: Literal["completed", "failed", "interrupted"]
    error: TurnFault | None = absent()


@wire_class
class TurnInputAccepted(_TurnEvent):
    """The provider took a user's request: once per request, never before the turn began."""

    TYPE: ClassVar[str] = "turn/input/accepted"
    STRICT: ClassVar[bool] = True
    client_request_id: ClientRequestId


@wire_class
class PlanStep:
    """One step of a plan."""

    step: str
    status: Literal["pending", "active", "completed", "failed"] | None = absent()


@wire_class
class TurnPlanUpdated(_TurnEvent):
    """The agent's plan changed."""

    TYPE: ClassVar[str] = "turn/plan/updated"
    plan: tuple[PlanStep, ...]
    explanation: str | None = absent()


@wire_class
class TurnDiffUpdated(_TurnEvent):
    """What the turn changed so far."""

    TYPE: ClassVar[str] = "turn/diff/updated"
    diff: str | None = absent()


# --- items ----------------------------------------------------------------------------------


@wire_class
class ItemStarted(_TurnEvent):
    """An item began."""

    TYPE: ClassVar[str] = "item/started"
    item: Item


@wire_class
class ItemCompleted(_TurnEvent):
    """An item ended."""

    TYPE: ClassVar[str] = "item/completed"
    item: Item


@wire_class
class _Delta(_TurnEvent):
    item_id: str
    delta: str
    parent_tool_call_id: str | None = absent()


@wire_class
class AgentMessageDelta(_Delta):
    """More of what the agent says."""

    TYPE: ClassVar[str] = "item/agentMessage/delta"


@wire_class
class FileChangeOutputDelta(_Delta):
    """More output of a file change."""

    TYPE: ClassVar[str] = "item/fileChange/outputDelta"


@wire_class
class ReasoningSummaryDelta(_Delta):
    """More of the summary of what the agent thinks."""

    TYPE: ClassVar[str] = "item/reasoning/summaryTextDelta"


@wire_class
class ReasoningTextDelta(_Delta):
    """More of what the agent thinks."""

    TYPE: ClassVar[str] = "item/reasoning/textDelta"


@wire_class
class PlanDelta(_Delta):
    """More of a plan."""

    TYPE: ClassVar[str] = "item/plan/delta"


@wire_class
class CommandOutputDelta(_Delta):
    """More output of a command; with ``reset`` it replaces what came before."""

    TYPE: ClassVar[str] = "item/commandExecution/outputDelta"
    reset: bool | None = absent()


@wire_class
class _Progress(_TurnEvent):
    item_id: str
    message: str | None = absent()
    parent_tool_call_id: str | None = absent()


@wire_class
class McpToolCallProgress(_Progress):
    """A tool of an MCP server is at work."""

    TYPE: ClassVar[str] = "item/mcpToolCall/progress"


@wire_class
class ToolCallProgress(_Progress):
    """A tool is at work."""

    TYPE: ClassVar[str] = "item/toolCall/progress"


# --- usage ----------------------------------------------------------------------------------


@wire_class
class TokenCounts:
    """Tokens of one turn, or of all."""

    total_tokens: Number
    input_tokens: Number
    cached_input_tokens: Number
    output_tokens: Number
    reasoning_output_tokens: Number


@wire_class
class TokenUsage:
    """Tokens of the thread and of its last turn."""

    total: TokenCounts
    last: TokenCounts
    model_context_window: Number | None


@wire_class
class TokenUsageUpdated(_TurnEvent):
    """Tokens were used."""

    TYPE: ClassVar[str] = "thread/tokenUsage/updated"
    token_usage: TokenUsage


@wire_class
class ContextWindowUsage:
    """How full the context is, in tokens."""

    used_tokens: Number | None
    model_context_window: Number | None
    estimated: bool


@wire_class
class ContextWindowUsageUpdated(_TurnEvent):
    """The context became fuller or emptier."""

    TYPE: ClassVar[str] = "thread/contextWindowUsage/updated"
    context_window_usage: ContextWindowUsage


# --- providers ------------------------------------------------------------------------------

ErrorCategory = Literal[
    "active-turn-not-steerable",
    "bad-request",
    "connection-failed",
    "context-window-exceeded",
    "billing",
    "budget-exceeded",
    "internal",
    "max-output-tokens",
    "max-turns",
    "overloaded",
    "policy",
    "rate-limit",
    "sandbox",
    "stream-disconnected",
    "structured-output-retries",
    "thread-rollback-failed",
    "too-many-failed-attempts",
    "unauthorized",
    "unknown",
]


@wire_class
class ErrorInfo:
    """What kind of error a provider had."""

    category: ErrorCategory
    provider_code: str | None
    http_status_code: Number | None


@wire_class
class ProviderErrorEvent(_Event):
    """A provider had an error."""

    TYPE: ClassVar[str] = "provider/error"
    scope: Scope
    provider_thread_id: str
    message: str
    detail: str | None = absent()
    will_retry: bool | None = absent()
    error_info: ErrorInfo | None = absent()


@wire_class
class ProviderWarning(_Event):
    """A provider warns."""

    TYPE: ClassVar[str] = "provider/warning"
    scope: Scope
    provider_thread_id: str
    category: Literal["deprecation", "config", "general"]
    summary: str | None = absent()
    details: str | None = absent()


@wire_class
class RawRpcEvent:
    """What a provider said, as it said it."""

    jsonrpc: Literal["2.0"]
    method: str
    id: object = absent()
    params: object = absent()


@wire_class
class ProviderUnhandled(_Event):
    """A provider said something that has no event of its own."""

    TYPE: ClassVar[str] = "provider/unhandled"
    scope: Scope
    provider_thread_id: str
    provider_id: str
    raw_type: str
    raw_event: RawRpcEvent
    parent_tool_call_id: str | None = absent()


# --- the daemon itself ----------------------------------------------------------------------


@wire_class
class SystemErrorEvent(_Event):
    """The daemon had an error on behalf of a thread."""

    TYPE: ClassVar[str] = "system/error"
    scope: Scope
    message: str
    code: str | None = absent()
    detail: str | None = absent()
    reconnect_attempt: Count | None = absent()
    reconnect_total: Count | None = absent()

    def __attrs_post_init__(self) -> None:
        attempt, total = self.reconnect_attempt, self.reconnect_total
        both = attempt is not None and total is not None
        require(both or attempt is total, "reconnectAttempt and reconnectTotal go together")
        if attempt is not None and total is not None:
            require(attempt <= total, "reconnectAttempt must not exceed reconnectTotal")


@wire_class
class ThreadProvisioning(_Event):
    """A step of provisioning. A daemon sends ``active``, one entry per event."""

    TYPE: ClassVar[str] = "system/thread-provisioning"
    scope: ThreadScope
    provisioning_id: str
    status: Literal["active", "completed", "failed"]
    environment_id: str
    entries: tuple[TranscriptEntry, ...]


ThreadEvent = (
    ThreadStarted
    | ThreadIdentity
    | ThreadNameUpdated
    | ThreadCompacted
    | TurnStarted
    | TurnCompleted
    | TurnInputAccepted
    | TurnPlanUpdated
    | TurnDiffUpdated
    | ItemStarted
    | ItemCompleted
    | AgentMessageDelta
    | FileChangeOutputDelta
    | ReasoningSummaryDelta
    | ReasoningTextDelta
    | PlanDelta
    | CommandOutputDelta
    | McpToolCallProgress
    | ToolCallProgress
    | TokenUsageUpdated
    | ContextWindowUsageUpdated
    | ProviderErrorEvent
    | ProviderWarning
    | ProviderUnhandled
    | SystemErrorEvent
    | ThreadProvisioning
)


def is_urgent(event: ThreadEvent) -> bool:
    """Whether people wait for this event, so that it is sent without gathering more (section 9)."""
    match event:
        case ItemCompleted() | TurnCompleted() | SystemErrorEvent():
            return True
        case ProviderErrorEvent():
            return event.will_retry is not True
        case ItemStarted(item=CommandExecutionItem() | FileChangeItem() as item):
            return item.approval_status is ApprovalStatus.WAITING
        case _:
            return False
