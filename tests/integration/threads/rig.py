"""A supervisor over a world in memory, whose boundaries and agents are real."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, evolve, field

from bbhost.agents.provider import ToolInvocation
from bbhost.agents.registry import make_registry
from bbhost.agents.shell_environ import ShellFacts
from bbhost.contract import commands as c
from bbhost.contract import events as e
from bbhost.contract.codec import structure, unstructure
from bbhost.contract.execution import (
    ExecutionOptions,
    InstructionMode,
    PermissionEscalation,
    PermissionMode,
    PromptInput,
    ReasoningLevel,
    ResumeContext,
    ServiceTier,
    StartTarget,
    SteerTarget,
    TextInput,
    ThreadContext,
)
from bbhost.contract.ids import new_client_request_id
from bbhost.contract.interactions import Allowed, Resolution
from bbhost.contract.session import (
    InteractionRegistered,
    InteractionStatus,
    InteractiveResponse,
    PendingInteraction,
    ToolCallResponse,
    ToolText,
)
from bbhost.daemon.thread_ports import Maintenance, StorageOnDisk
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.domain.workspace import UnmanagedSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.supervisor import Supervisor
from bbhost.environment.threads.ports import ThreadPorts
from bbhost.environment.threads.service import ThreadService
from bbhost.errors import BbhostError
from bbhost.journal.values import SpooledEvent
from bbhost.processes.keeper import ProcessKeeper
from bbhost.workspace.files.storage import ThreadStorage
from tests.fakes.world import FakeWorld

FAKES = Path(__file__).parents[2] / "fakes"
ONE = EnvironmentId("env_one")
THREAD = ThreadId("thr_one")
ASKING = ExecutionOptions(
    "default",
    ServiceTier.DEFAULT,
    ReasoningLevel.MEDIUM,
    PermissionMode.WORKSPACE_WRITE,
    PermissionEscalation.ASK,
)
FULL = evolve(ASKING, permission_mode=PermissionMode.FULL, permission_escalation=None)
TABLES = {
    "codex": {"argv": [sys.executable, str(FAKES / "codex_app_server.py")]},
    "acp": {
        "kind": "acp",
        "argv": [sys.executable, str(FAKES / "acp_agent.py")],
    },
    "shell": {"kind": "command", "argv": ["sh", "-c", "{prompt}"]},
    "cat": {"kind": "command", "argv": ["cat"], "prompt_on_stdin": True},
    "echo": {
        "kind": "command",
        "argv": ["echo", "new", "{session}"],
        "resume_argv": ["echo", "again", "{session}"],
    },
    "missing": {"kind": "acp", "argv": ["no-such-agent-program"]},
}


@define(eq=False)
class FakeServer:
    """Keeps what it is told; answers questions as a test says."""

    events: list[e.ThreadEvent] = field(factory=list)
    came: trio.Event = field(factory=trio.Event)
    questions: list[PendingInteraction] = field(factory=list)
    taken_back: list[tuple[str, ThreadId, str]] = field(factory=list)
    tools: list[ToolInvocation] = field(factory=list)
    answer: Resolution | None = None
    service: "ThreadService | None" = None
    uploads: dict[str, bytes] = field(factory=dict)
    keep: Callable[[e.ThreadEvent], bool] = lambda _event: True
    gate: trio.Event | None = None
    """Publishing waits for it, where there is one."""

    async def publish(self, event: e.ThreadEvent) -> None:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        structure(e.ThreadEvent, unstructure(event))  # the contract holds for every event
        if self.keep(event):
            self.events.append(event)
        self.came.set()
        self.came = trio.Event()

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    async def call_tool(
        self, thread_id: ThreadId, provider_thread_id: str, invocation: ToolInvocation
    ) -> ToolCallResponse:
        await trio.lowlevel.checkpoint()
        self.tools.append(invocation)
        return ToolCallResponse(True, (ToolText("told"),))

    async def ask_person(self, interaction: PendingInteraction) -> InteractiveResponse:
        await trio.lowlevel.checkpoint()
        self.questions.append(interaction)
        if self.answer is not None:
            assert self.service is not None
            await self.service.handle_resolve(resolve(interaction, self.answer))
        self.came.set()
        self.came = trio.Event()
        return InteractionRegistered("created", "pint_1", InteractionStatus.PENDING)

    async def wait_new_session(self) -> None:
        await trio.sleep_forever()

    def take_back(self, provider_id: str, thread_id: ThreadId, reason: str) -> None:
        self.taken_back.append((provider_id, thread_id, reason))

    async def read_attachment(self, thread_id: ThreadId, project_id: str, path: str) -> bytes:
        await trio.lowlevel.checkpoint()
        if path not in self.uploads:
            raise BbhostError("no such upload")
        return self.uploads[path]

    # --- looking --------------------------------------------------------------------------

    async def wait(self, condition: Callable[["FakeServer"], object]) -> None:
        while not condition(self):
            await self.came.wait()

    async def wait_completed(self, count: int = 1) -> e.TurnCompleted:
        await self.wait(lambda self: len(self.of(e.TurnCompleted)) >= count)
        completed = self.of(e.TurnCompleted)[-1]
        assert isinstance(completed, e.TurnCompleted)
        return completed

    async def wait_text(self, text: str) -> None:
        await self.wait(lambda self: text in self.text())

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    def types(self) -> list[str]:
        return [event.TYPE for event in self.events]

    def text(self) -> str:
        return "".join(event.delta for event in self.of(e.AgentMessageDelta))


@define(eq=False)
class MemoryJournal:
    """The facts of threads, without a disk."""

    kept: dict[str, str] = field(factory=dict)
    events: list[SpooledEvent] = field(factory=list)

    async def facts(self, prefix: str) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {key: value for key, value in self.kept.items() if key.startswith(prefix)}

    async def set_fact(self, key: str, value: str | None) -> None:
        await trio.lowlevel.checkpoint()
        if value is None:
            self.kept.pop(key, None)
        else:
            self.kept[key] = value

    async def append_events(self, events: Sequence[SpooledEvent]) -> None:
        await trio.lowlevel.checkpoint()
        self.events += events


def resolve(
    interaction: PendingInteraction,
    resolution: Resolution | None = None,
    interaction_id: str = "pint_1",
) -> c.InteractiveResolve:
    """The command that answers a question."""
    return c.InteractiveResolve(
        ONE,
        interaction.thread_id,
        interaction_id,
        interaction.provider_id,
        interaction.provider_thread_id,
        interaction.provider_request_id,
        resolution or Allowed("allow_once", None),
    )


@define(eq=False)
class Rig:
    """Everything a test touches."""

    world: FakeWorld
    supervisor: Supervisor
    service: ThreadService
    server: FakeServer
    keeper: ProcessKeeper
    root: Path

    def workspace(self, environment_id: EnvironmentId = ONE) -> Path:
        return self.root / "workspaces" / environment_id

    def context(self, environment_id: EnvironmentId = ONE) -> WorkspaceContext:
        return WorkspaceContext(str(self.workspace(environment_id)), WorkspaceKind.UNMANAGED)

    async def provision(self, environment_id: EnvironmentId = ONE) -> None:
        path = self.workspace(environment_id)
        path.mkdir(parents=True, exist_ok=True)
        self.world.disk[str(path)] = "there"
        await self.supervisor.provision(environment_id, UnmanagedSpec(str(path)))

    def start_command(
        self,
        provider_id: str,
        *prompt: str | PromptInput,
        environment_id: EnvironmentId = ONE,
        thread_id: ThreadId = THREAD,
        options: ExecutionOptions = ASKING,
    ) -> c.ThreadStart:
        return c.ThreadStart(
            environment_id,
            thread_id,
            options,
            new_client_request_id(),
            inputs(prompt),
            ThreadContext(
                self.context(environment_id),
                "proj",
                provider_id,
                "Be kind.",
                (),
                InstructionMode.APPEND,
            ),
        )

    async def start(self, provider_id: str, *prompt: str | PromptInput, **more: object) -> str:
        command = self.start_command(provider_id, *prompt, **more)
        return (await self.service.handle_start(command)).provider_thread_id

    def submit_command(
        self,
        provider_id: str,
        *prompt: str | PromptInput,
        expected: str | None = None,
        steer: bool = False,
        provider_thread_id: str = "thr_1",
        options: ExecutionOptions = ASKING,
    ) -> c.TurnSubmit:
        target = SteerTarget("auto", expected) if steer else StartTarget()
        return c.TurnSubmit(
            ONE,
            THREAD,
            new_client_request_id(),
            inputs(prompt),
            options,
            ResumeContext(
                self.context(),
                "proj",
                provider_id,
                "Be kind.",
                (),
                InstructionMode.APPEND,
                provider_thread_id,
            ),
            target,
        )

    async def submit(self, provider_id: str, *prompt: str | PromptInput, **more: object) -> str:
        command = self.submit_command(provider_id, *prompt, **more)
        return (await self.service.handle_submit(command)).applied_as

    async def stop(self) -> None:
        await self.service.handle_stop(c.ThreadStop(ONE, THREAD))

    async def destroy(self, environment_id: EnvironmentId = ONE) -> None:
        await self.supervisor.destroy(environment_id, self.context(environment_id))

    async def wait_idle(self) -> None:
        """The end of a turn is told first, and taken by its owner a moment later."""
        while self.service.active_threads():
            await trio.lowlevel.checkpoint()

    async def wait_no_processes(self) -> None:
        """What was killed with its group takes a moment to be gone; nothing else is waited for."""
        with trio.fail_after(5):
            while self.processes():
                await trio.lowlevel.checkpoint()

    def processes(self) -> list[int]:
        return [
            member.pid for boundary in self.keeper.boundaries for member in boundary.processes()
        ]


def inputs(prompt: tuple[str | PromptInput, ...]) -> tuple[PromptInput, ...]:
    return tuple(TextInput(one) if isinstance(one, str) else one for one in prompt)


LIMIT_SECONDS = 60


async def _bark() -> None:
    """No test may hang."""
    with trio.fail_after(LIMIT_SECONDS):
        await trio.sleep_forever()


@asynccontextmanager
async def open_rig(tmp_path: Path, **tables: dict) -> AsyncIterator[Rig]:
    """A running rig."""
    os.environ.pop("BB_SERVER_URL", None)
    world = FakeWorld()
    keeper = ProcessKeeper(tmp_path / "data", use_cgroup=False)
    supervisor = Supervisor(evolve(world.services(), open_boundary=keeper.open_boundary))
    server = FakeServer()
    storage = ThreadStorage(tmp_path / "storage")
    ports = ThreadPorts(
        server, StorageOnDisk(storage), Maintenance(keeper, tmp_path), MemoryJournal()
    )
    registry = make_registry({**TABLES, **tables})
    service = ThreadService(
        supervisor, ports, registry, ShellFacts("http://127.0.0.1:1", 4321, "/opt/cli")
    )
    server.service = service
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        await nursery.start(supervisor.run)
        await nursery.start(service.run)
        nursery.start_soon(_bark)
        rig = Rig(world, supervisor, service, server, keeper, tmp_path)
        try:
            yield rig
        finally:
            nursery.cancel_scope.cancel()
    # Shield budget is the test's own time limit: nothing may be left of any test.
    for boundary in keeper.boundaries:
        await boundary.end(0.2)
