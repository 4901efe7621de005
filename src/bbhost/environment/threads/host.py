"""The daemon, as one agent of a thread sees it."""

from os.path import normpath
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import trio
from attrs import field, frozen

from bbhost.agents.provider import AgentQuestion, ToolInvocation
from bbhost.contract import events as e
from bbhost.contract.interactions import Resolution
from bbhost.contract.session import PendingInteraction, ToolCallResponse, ToolText
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.gate import TurnGate
from bbhost.environment.threads.interactions import Interactions
from bbhost.environment.threads.ports import ServerPort
from bbhost.errors import BbhostError, InvalidPathError
from bbhost.lifecycle.thread import ThreadEvent as Transition
from bbhost.workspace.files.beneath import system_resolver
from bbhost.workspace.files.reading import read_file
from bbhost.workspace.files.writing import write_file_relative

TEXT_BYTES = 10 * 1024 * 1024
"""Largest file that an agent may read or write through the daemon."""
FILE_THREADS = 4
"""Files of agents that are read or written at a time."""


@frozen
class HostContext:
    """What the hosts of one thread share."""

    thread_id: ThreadId
    provider_id: str
    workspace: Path
    server: ServerPort
    interactions: Interactions
    files: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(FILE_THREADS))


async def publish_admitted(gate: TurnGate, server: ServerPort, event: e.ThreadEvent) -> bool:
    """Publish an event that may go on; whether it might.

    Cancellation: the end of a turn may have been taken nevertheless; it does no harm told twice.
    """
    if not gate.admit(event):
        await trio.lowlevel.checkpoint()
        return False
    try:
        await server.publish(event)
    except BaseException:
        gate.retract(event)
        raise
    gate.told(event)
    return True


class HostOwner(Protocol):
    """The owner of the thread."""

    gate: TurnGate
    provider_thread_id: str | None

    async def tell(self, transition: Transition, agent: int) -> None:
        """An agent has begun or ended a turn."""
        ...

    async def publish(self, event: e.ThreadEvent) -> None:
        """Tell an event of the thread, where it may be told."""
        ...


class ThreadHost:
    """Hosts one agent. ``agents.provider.AgentHost``."""

    def __init__(self, context: HostContext, owner: HostOwner, agent: int) -> None:
        self._context = context
        self._owner = owner
        self._agent = agent
        # Ids of questions must not be repeated by the next process of the same provider.
        self._instance = str(uuid4())

    async def emit(self, event: e.ThreadEvent) -> None:
        """See ``AgentHost.emit``."""
        if isinstance(event, e.ThreadIdentity):
            self._owner.provider_thread_id = event.provider_thread_id
        if not await publish_admitted(self._owner.gate, self._context.server, event):
            return
        if isinstance(event, e.TurnStarted):
            await self._owner.tell(Transition.TURN_STARTED, self._agent)
        elif isinstance(event, e.TurnCompleted):
            await self._owner.tell(Transition.TURN_ENDED, self._agent)

    async def ask(self, question: AgentQuestion) -> Resolution | None:
        """See ``AgentHost.ask``."""
        return await self._context.interactions.ask(
            PendingInteraction(
                self._context.thread_id,
                question.turn_id,
                self._context.provider_id,
                self._owner.provider_thread_id or "",
                f"{self._instance}:{question.request_key}",
                question.payload,
            )
        )

    async def call_tool(self, invocation: ToolInvocation) -> ToolCallResponse:
        """See ``AgentHost.call_tool``."""
        try:
            return await self._context.server.call_tool(
                self._context.thread_id, self._owner.provider_thread_id or "", invocation
            )
        except BbhostError as error:
            return ToolCallResponse(False, (ToolText(f"The tool failed: {error.message}"),))

    async def read_text(self, path: str) -> str:
        """See ``AgentHost.read_text``."""
        root = str(self._context.workspace)
        found = await trio.to_thread.run_sync(
            read_file,
            system_resolver(),
            self._absolute(path),
            root,
            TEXT_BYTES,
            limiter=self._context.files,
        )
        try:
            return found.data.decode()
        except UnicodeDecodeError as error:
            raise BbhostError(f"Not a text file: {path}") from error

    async def write_text(self, path: str, text: str) -> None:
        """See ``AgentHost.write_text``."""
        data = text.encode(errors="surrogatepass")
        if len(data) > TEXT_BYTES:
            raise BbhostError(f"Too large to be written: {path}", code="file_too_large")
        root = str(self._context.workspace)
        prefix, absolute = root.rstrip("/") + "/", self._absolute(path)
        relative = absolute.removeprefix(prefix)
        if relative == absolute or relative == ".git" or relative.startswith(".git/"):
            raise InvalidPathError(f"Path leads out of the workspace: {path}")

        def write() -> None:
            write_file_relative(root, relative, data, dotfiles=True)

        await trio.to_thread.run_sync(write, limiter=self._context.files)

    def _absolute(self, path: str) -> str:
        """``path`` as text, not followed; the helpers for files follow it, beneath the workspace."""
        if not path or "\0" in path:
            raise InvalidPathError("A path must be given")
        return normpath(path if path.startswith("/") else f"{self._context.workspace}/{path}")
