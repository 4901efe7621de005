"""Public values about threads, their events, questions and data."""

from typing import ClassVar, Literal

from attrs import frozen

from bbhost.contract.fields import Count, NonEmpty, PositiveInt
from bbhost.contract.wire import absent
from bbhost.hub.api.environments import Fault

ThreadState = Literal["starting", "idle", "active", "stopping", "error"]
InteractionStatus = Literal["pending", "resolving", "resolved", "interrupted", "expired"]


@frozen
class Thread:
    """A conversation with an agent in an environment. Times are milliseconds since the epoch."""

    id: str
    environment_id: str
    host_id: str
    project_id: str
    provider_id: str
    title: str | None
    state: ThreadState
    provider_thread_id: str | None
    active_turn_id: str | None
    archived: bool
    error: Fault | None
    last_sequence: int
    """Sequence of the newest event; 0 where there is none."""
    created_at: int
    updated_at: int


@frozen
class ThreadList:
    """Threads, oldest first."""

    threads: tuple[Thread, ...]


@frozen
class ExecutionChoice:
    """How a turn is to run. What is absent keeps its value, first ``default`` and the like."""

    STRICT: ClassVar[bool] = True
    model: NonEmpty | None = absent()
    service_tier: Literal["fast", "default"] | None = absent()
    reasoning_level: Literal["low", "medium", "high", "xhigh", "max"] | None = absent()
    permission_mode: Literal["full", "workspace-write", "readonly"] | None = absent()
    permission_escalation: Literal["ask", "deny"] | None = absent()


@frozen
class StartThread:
    """Start a thread with its first turn. Give ``prompt`` (text) or ``input`` (prompt elements)."""

    STRICT: ClassVar[bool] = True
    environment_id: NonEmpty
    provider_id: NonEmpty
    prompt: NonEmpty | None = absent()
    input: tuple[object, ...] | None = absent()
    title: NonEmpty | None = absent()
    project_id: NonEmpty | None = absent()
    instructions: NonEmpty | None = absent()
    execution: ExecutionChoice | None = absent()


@frozen
class SubmitTurn:
    """Say more to a thread.

    ``auto`` (the default) steers the turn under way and otherwise starts one; ``start`` starts one;
    ``steer`` steers the turn ``expectedTurnId``, which defaults to the one under way.
    """

    STRICT: ClassVar[bool] = True
    prompt: NonEmpty | None = absent()
    input: tuple[object, ...] | None = absent()
    mode: Literal["start", "auto", "steer"] | None = absent()
    expected_turn_id: NonEmpty | None = absent()
    execution: ExecutionChoice | None = absent()


@frozen
class SubmittedTurn:
    """How the daemon took it."""

    request_id: str
    applied_as: Literal["new-turn", "steer"]


@frozen
class RenameThread:
    """A new title."""

    STRICT: ClassVar[bool] = True
    title: NonEmpty


@frozen
class StoredEvent:
    """One event of a thread, as the daemon sent it, with its place in the thread."""

    sequence: PositiveInt
    thread_id: str
    created_at: int
    event: object


@frozen
class EventPage:
    """Events after the asked sequence, oldest first. Ask again with ``lastSequence`` for more."""

    events: tuple[StoredEvent, ...]
    last_sequence: Count


@frozen
class Interaction:
    """A question of an agent to a person. Times are milliseconds since the epoch."""

    id: str
    thread_id: str
    turn_id: str
    provider_id: str
    status: InteractionStatus
    payload: object
    resolution: object
    """None until resolved."""
    reason: str | None
    created_at: int
    updated_at: int


@frozen
class InteractionList:
    """Interactions, oldest first."""

    interactions: tuple[Interaction, ...]


@frozen
class ResolveInteraction:
    """The answer to a question, in the wire contract's form."""

    STRICT: ClassVar[bool] = True
    resolution: object


@frozen
class AppDataEntry:
    """One value an app of a thread has written. ``version`` None means deleted."""

    app_id: str
    path: str
    value: object
    version: str | None
    updated_at: int


@frozen
class AppDataList:
    """All values of a thread's apps."""

    entries: tuple[AppDataEntry, ...]


@frozen
class Attachment:
    """An uploaded file. ``path`` is what a prompt element names."""

    id: str
    project_id: str
    path: str
    name: str
    mime_type: str
    size_bytes: int
