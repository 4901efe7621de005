"""Recorded threads, which development servers can play again (section 13, Replay)."""

from typing import Annotated, ClassVar, Literal

from bbhost.contract.execution import (
    PermissionMode,
    PromptInputs,
    ReasoningLevel,
    ServiceTier,
)
from bbhost.contract.fields import AT_LEAST_ONE, Count
from bbhost.contract.wire import flatten
from bbhost.contract.wire_class import wire_class


@wire_class
class ReplayTurn:
    """One recorded turn."""

    turn_id: str
    user_input: PromptInputs
    created_at: int
    """Milliseconds since the epoch."""


@wire_class
class ReplayExecution:
    """How the recorded thread was run."""

    model: str
    service_tier: ServiceTier
    reasoning_level: ReasoningLevel
    permission_mode: PermissionMode
    source: str


@wire_class
class ReplayEventCounts:
    """How much was recorded."""

    raw_provider_events: Count
    dropped_records: Count


@wire_class
class ReplaySummary:
    """A capture in a list."""

    capture_id: str
    captured_at: int
    completed_at: int | None
    provider_id: str
    project_id: str
    environment_id: str
    thread_id: str
    title: str | None
    kind: Literal["thread-start", "turn-start"]
    user_input_preview: str
    execution: ReplayExecution
    event_counts: ReplayEventCounts
    error_message: str | None


@wire_class
class ReplayManifest:
    """A capture in full: its summary, where it came from, and its turns."""

    STRICT: ClassVar[bool] = True
    schema_version: Literal[3]
    source: Literal["live-dev-capture", "corpus-fixture"]
    provider_thread_id: str | None
    turns: Annotated[tuple[ReplayTurn, ...], AT_LEAST_ONE]
    summary: ReplaySummary = flatten()
