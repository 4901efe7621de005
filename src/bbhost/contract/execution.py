"""How a turn is to be run: options, input and tools (sections 12.1 to 12.5)."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from bbhost.contract.fields import AT_LEAST_ONE, Count, NonEmpty, Url
from bbhost.contract.wire import absent, require
from bbhost.contract.wire_class import wire_class
from bbhost.domain.workspace import WorkspaceContext


class ReasoningLevel(StrEnum):
    """How long a model may think."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class ServiceTier(StrEnum):
    """How soon a provider answers."""

    FAST = "fast"
    DEFAULT = "default"


class PermissionMode(StrEnum):
    """What an agent may do without asking."""

    FULL = "full"
    WORKSPACE_WRITE = "workspace-write"
    READONLY = "readonly"


class PermissionEscalation(StrEnum):
    """What happens when an agent wants more than its mode allows."""

    ASK = "ask"
    DENY = "deny"


class InstructionMode(StrEnum):
    """Whether instructions add to the provider's own or replace them."""

    APPEND = "append"
    REPLACE = "replace"


@wire_class
class ExecutionOptions:
    """How one turn runs. ``permission_escalation`` is None exactly in mode ``full``."""

    model: NonEmpty
    service_tier: ServiceTier
    reasoning_level: ReasoningLevel
    permission_mode: PermissionMode
    permission_escalation: PermissionEscalation | None

    def __attrs_post_init__(self) -> None:
        full = self.permission_mode is PermissionMode.FULL
        require(
            full == (self.permission_escalation is None),
            "permissionEscalation must be null exactly when permissionMode is full",
        )


# --- input ----------------------------------------------------------------------------------

Visibility = Literal["agent-only"]


@wire_class
class TextInput:
    """What the user wrote."""

    TYPE: ClassVar[str] = "text"
    text: str
    visibility: Visibility | None = absent()


@wire_class
class ImageInput:
    """An image somewhere on the network, or a data URL."""

    TYPE: ClassVar[str] = "image"
    url: Url
    visibility: Visibility | None = absent()


@wire_class
class LocalImageInput:
    """An image on this host, or the token of an upload."""

    TYPE: ClassVar[str] = "localImage"
    path: str
    visibility: Visibility | None = absent()


@wire_class
class LocalFileInput:
    """A file on this host, or the token of an upload."""

    TYPE: ClassVar[str] = "localFile"
    path: str
    name: str | None = absent()
    size_bytes: Count | None = absent()
    mime_type: str | None = absent()
    visibility: Visibility | None = absent()


PromptInput = TextInput | ImageInput | LocalImageInput | LocalFileInput
PromptInputs = Annotated[tuple[PromptInput, ...], AT_LEAST_ONE]


# --- the thread -----------------------------------------------------------------------------


@wire_class
class DynamicTool:
    """A tool that the server offers to the agent."""

    name: str
    description: str
    input_schema: object


@wire_class
class ThreadContext:
    """Everything about a thread that does not change from turn to turn."""

    workspace_context: WorkspaceContext
    project_id: str
    provider_id: str
    instructions: NonEmpty
    dynamic_tools: tuple[DynamicTool, ...]
    instruction_mode: InstructionMode
    disallowed_tools: tuple[str, ...] | None = absent()


@wire_class
class ResumeContext:
    """A thread context and the provider's own id of the thread."""

    workspace_context: WorkspaceContext
    project_id: str
    provider_id: str
    instructions: NonEmpty
    dynamic_tools: tuple[DynamicTool, ...]
    instruction_mode: InstructionMode
    provider_thread_id: str
    disallowed_tools: tuple[str, ...] | None = absent()


@wire_class
class StartTarget:
    """Begin a new turn."""

    MODE: ClassVar[str] = "start"


@wire_class
class SteerTarget:
    """Add to the expected turn if it is the active one, otherwise begin a new turn."""

    mode: Literal["auto", "steer"]
    expected_turn_id: NonEmpty | None


TurnTarget = StartTarget | SteerTarget


# --- providers ------------------------------------------------------------------------------


@wire_class
class ProviderCapabilities:
    """What a provider can do."""

    supports_archive: bool
    supports_rename: bool
    supports_service_tier: bool
    supports_user_question: bool
    supported_permission_modes: Annotated[tuple[PermissionMode, ...], AT_LEAST_ONE]


@wire_class
class ProviderInfo:
    """One provider of this host."""

    id: str
    display_name: str
    capabilities: ProviderCapabilities
    available: bool


@wire_class
class ReasoningEffort:
    """One reasoning level of a model."""

    reasoning_effort: ReasoningLevel
    description: str


@wire_class
class AvailableModel:
    """One model of a provider."""

    id: str
    model: str
    display_name: str
    description: str
    supported_reasoning_efforts: tuple[ReasoningEffort, ...]
    default_reasoning_effort: ReasoningLevel
    is_default: bool
