"""What an agent is to the rest of the daemon, and what the daemon is to an agent.

A provider starts agents. An agent is one running conversation: it takes turns and reports what
happens as thread events through its host. The events come in order, and the end of a turn is an
event like any other; an agent that has gone reports nothing more.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from bbhost.contract.events import ThreadEvent
from bbhost.contract.execution import (
    AvailableModel,
    DynamicTool,
    ExecutionOptions,
    InstructionMode,
    PromptInput,
)
from bbhost.contract.interactions import InteractionPayload, Resolution
from bbhost.contract.session import ToolCallResponse
from bbhost.domain.ids import ThreadId
from bbhost.processes.spawn import ProcessOpener

STDERR_CHARACTERS = 4_000
"""Of what an agent wrote to stderr, the last part that is told when it has gone."""


# --- what a provider is given ---------------------------------------------------------------


@frozen
class AgentPlace:
    """Where an agent runs."""

    opener: ProcessOpener
    """Starts its processes; whatever they start belongs there too."""
    workspace: Path
    """Absolute path, its working directory."""
    environ: Mapping[str, str] = field(repr=False)
    """Its complete environment."""


@frozen
class ThreadSettings:
    """What does not change from turn to turn."""

    thread_id: ThreadId
    options: ExecutionOptions
    instructions: str
    instruction_mode: InstructionMode = InstructionMode.APPEND
    dynamic_tools: tuple[DynamicTool, ...] = ()
    resume: str | None = None
    """The provider's own id of the conversation to go on with; None for a new one."""
    shell_variables: Mapping[str, str] = field(factory=dict)
    """For the shells that the agent starts (``shell_environ.py``)."""
    writable_roots: tuple[str, ...] = ()
    """Absolute paths beside the workspace that a sandbox must let it write to."""


@frozen
class TurnRequest:
    """One request of a user."""

    request_id: str
    input: tuple[PromptInput, ...]
    options: ExecutionOptions


# --- what a host is asked -------------------------------------------------------------------


@frozen
class AgentQuestion:
    """The agent wants to know something from a person."""

    turn_id: str
    request_key: str
    """Unique among the questions of this agent process."""
    payload: InteractionPayload


@frozen
class ToolInvocation:
    """The agent calls a tool of the server."""

    turn_id: str
    call_id: str
    tool: str
    arguments: object


class AgentHost(Protocol):
    """The daemon, as one agent sees it. Every method may be cancelled."""

    async def emit(self, event: ThreadEvent) -> None:
        """Take an event; waits while too many are on their way, which holds up the agent."""
        ...

    async def ask(self, question: AgentQuestion) -> Resolution | None:
        """Ask a person and wait, however long. None: there will be no answer."""
        ...

    async def call_tool(self, invocation: ToolInvocation) -> ToolCallResponse:
        """Call a tool of the server. A failure is an unsuccessful response, not an error."""
        ...

    async def read_text(self, path: str) -> str:
        """Read a text file of the workspace.

        Raises:
            BbhostError: outside of the workspace, missing, too large, not text.
        """
        ...

    async def write_text(self, path: str, text: str) -> None:
        """Write a text file of the workspace.

        Raises:
            BbhostError: outside of the workspace, or it cannot be written.
        """
        ...


# --- what a provider gives ------------------------------------------------------------------


@frozen
class AgentExit:
    """An agent has gone."""

    returncode: int | None
    """Exit status; negative: the signal. None where it closed its output but did not end."""
    stderr: str = ""
    """The end of what it wrote there, without what looks like a credential."""

    def describe(self) -> str:
        """For people, in words."""
        if self.returncode is None:
            return "closed its output"
        if self.returncode < 0:
            return f"was ended by signal {-self.returncode}"
        return f"exited with status {self.returncode}"


class Agent(Protocol):
    """A running agent with one conversation. One turn at a time."""

    @property
    def provider_thread_id(self) -> str:
        """The provider's own id of the conversation."""
        ...

    async def start_turn(self, request: TurnRequest) -> str:
        """Begin a turn; return its id as soon as the agent has taken the request.

        Raises:
            BbhostError: it was not taken.
        """
        ...

    async def steer(self, request: TurnRequest) -> bool:
        """Add a request to the turn that runs; False where that cannot be done any more.

        Raises:
            BbhostError: the agent does not react; it has to be ended.
        """
        ...

    async def interrupt(self) -> None:
        """Ask for the end of the turn that runs, which comes as an event."""
        ...

    async def rename(self, title: str) -> None:
        """Tell it the title of the conversation; nothing where it knows no titles."""
        ...

    async def wait_exited(self) -> AgentExit:
        """Wait until it has gone. All of its events have been emitted then."""
        ...


@frozen
class ModelList:
    """The models of a provider."""

    models: tuple[AvailableModel, ...]
    selected_only: tuple[AvailableModel, ...] = ()
    """Offered only where they are selected already."""


class Provider(Protocol):
    """Starts the agents of one kind."""

    def open_agent(
        self, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> AbstractAsyncContextManager[Agent]:
        """Start an agent and begin or resume its conversation; leaving ends its process.

        Raises:
            MissingExecutableError: its program is not there.
            BbhostError, or a group that holds one: it did not come up.
        """
        ...

    async def list_models(self, place: AgentPlace) -> ModelList:
        """Ask which models there are."""
        ...

    async def set_archived(
        self, place: AgentPlace, provider_thread_id: str, *, archived: bool
    ) -> None:
        """Put a conversation into the provider's archive, or take it out.

        Raises:
            BbhostError: it has no archive, or refused.
        """
        ...
