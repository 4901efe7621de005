"""What a turn is made of: the ``item`` of ``item/started`` and ``item/completed`` (section 14)."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from bbhost.contract.fields import AT_LEAST_ONE, ClientRequestId, Number
from bbhost.contract.wire import absent
from bbhost.contract.wire_class import wire_class


class ItemStatus(StrEnum):
    """How far an item is."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ApprovalStatus(StrEnum):
    """What a person has to do with an item. None where nobody was asked."""

    WAITING = "waiting_for_approval"
    DENIED = "denied"


# --- what the user said ---------------------------------------------------------------------


@wire_class
class TextContent:
    """Text of a user message."""

    TYPE: ClassVar[str] = "text"
    text: str


@wire_class
class ImageContent:
    """An image of a user message."""

    TYPE: ClassVar[str] = "image"
    url: str


@wire_class
class LocalImageContent:
    """An image of a user message, on this host."""

    TYPE: ClassVar[str] = "localImage"
    path: str


@wire_class
class LocalFileContent:
    """A file of a user message, on this host."""

    TYPE: ClassVar[str] = "localFile"
    path: str


UserContent = TextContent | ImageContent | LocalImageContent | LocalFileContent


@wire_class
class UserMessageItem:
    """What the user said."""

    TYPE: ClassVar[str] = "userMessage"
    STRICT: ClassVar[bool] = True
    id: str
    content: tuple[UserContent, ...]
    client_request_id: ClientRequestId | None = absent()
    parent_tool_call_id: str | None = absent()


# --- what the agent said --------------------------------------------------------------------


@wire_class
class AgentMessageItem:
    """What the agent said."""

    TYPE: ClassVar[str] = "agentMessage"
    id: str
    text: str
    parent_tool_call_id: str | None = absent()


@wire_class
class ReasoningItem:
    """What the agent thought."""

    TYPE: ClassVar[str] = "reasoning"
    id: str
    summary: tuple[str, ...]
    content: tuple[str, ...]
    parent_tool_call_id: str | None = absent()


@wire_class
class PlanItem:
    """What the agent plans."""

    TYPE: ClassVar[str] = "plan"
    id: str
    text: str
    parent_tool_call_id: str | None = absent()


@wire_class
class ContextCompactionItem:
    """The agent's context was made smaller."""

    TYPE: ClassVar[str] = "contextCompaction"
    id: str
    parent_tool_call_id: str | None = absent()


# --- what the agent did ---------------------------------------------------------------------


@wire_class
class CommandExecutionItem:
    """A command that the agent ran. Output that is empty is absent."""

    TYPE: ClassVar[str] = "commandExecution"
    id: str
    command: str
    cwd: str
    status: ItemStatus
    approval_status: ApprovalStatus | None
    aggregated_output: str | None = absent()
    exit_code: int | None = absent()
    duration_ms: Number | None = absent()
    truncation: object = absent()
    parent_tool_call_id: str | None = absent()


@wire_class
class FileChange:
    """One changed file."""

    path: str
    kind: Literal["add", "delete", "update"]
    move_path: str | None = absent()
    diff: str | None = absent()


@wire_class
class FileChangeItem:
    """Files that the agent changed."""

    TYPE: ClassVar[str] = "fileChange"
    id: str
    changes: tuple[FileChange, ...]
    status: ItemStatus
    approval_status: ApprovalStatus | None
    parent_tool_call_id: str | None = absent()


@wire_class
class WebSearchItem:
    """What the agent searched for."""

    TYPE: ClassVar[str] = "webSearch"
    id: str
    queries: Annotated[tuple[str, ...], AT_LEAST_ONE]
    result_text: str | None
    parent_tool_call_id: str | None = absent()


@wire_class
class WebFetchItem:
    """What the agent fetched."""

    TYPE: ClassVar[str] = "webFetch"
    id: str
    url: str
    prompt: str | None
    pattern: str | None
    result_text: str | None
    parent_tool_call_id: str | None = absent()


@wire_class
class ToolCallItem:
    """A tool that the agent called."""

    TYPE: ClassVar[str] = "toolCall"
    id: str
    tool: str
    status: ItemStatus
    server: str | None = absent()
    arguments: dict[str, object] | None = absent()
    result: object = absent()
    error: object = absent()
    duration_ms: Number | None = absent()
    truncation: object = absent()
    parent_tool_call_id: str | None = absent()


Item = (
    UserMessageItem
    | AgentMessageItem
    | CommandExecutionItem
    | FileChangeItem
    | WebSearchItem
    | WebFetchItem
    | ToolCallItem
    | ReasoningItem
    | PlanItem
    | ContextCompactionItem
)
