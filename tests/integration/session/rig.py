"""A session under test: a real session object against the scripted server, with fake handlers."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from bbhost.contract.results import EmptyResult, HostListManagerTemplatesResult, ManagerTemplate
from bbhost.contract.session import SessionOpenResponse
from bbhost.domain.ids import EnvironmentId, HostId
from bbhost.journal.journal import Journal, open_journal
from bbhost.session.connection import SessionSettings
from bbhost.session.dispatch import Handler
from bbhost.session.hooks import SessionDescription, TerminalMessage
from bbhost.session.identity import HostIdentity
from bbhost.session.runner import Session, open_session
from bbhost.session.server_url import parse_server_url
from tests.fakes.stock_server import StockServer

HOST = "host_rig"


@define(eq=False)
class FakeDaemon:
    """The daemon as the session sees it; records what it is told."""

    description: SessionDescription = field(factory=SessionDescription)
    opened: list[SessionOpenResponse] = field(factory=list)
    terminal_messages: list[TerminalMessage] = field(factory=list)
    forgotten: list[EnvironmentId] = field(factory=list)
    on_opened: Callable[[SessionOpenResponse], Awaitable[None]] | None = None
    on_terminal_message: Callable[[TerminalMessage], None] | None = None
    happened: trio.Condition = field(factory=trio.Condition)

    def describe(self) -> SessionDescription:
        return self.description

    async def session_opened(self, response: SessionOpenResponse) -> None:
        self.opened.append(response)
        if self.on_opened is not None:
            await self.on_opened(response)

    def handle_terminal_message(self, message: TerminalMessage) -> None:
        self.terminal_messages.append(message)
        if self.on_terminal_message is not None:
            self.on_terminal_message(message)

    async def server_forgot(self, environment_id: EnvironmentId) -> None:
        self.forgotten.append(environment_id)
        async with self.happened:
            self.happened.notify_all()

    async def wait_forgotten(self, count: int = 1) -> None:
        async with self.happened:
            while len(self.forgotten) < count:
                await self.happened.wait()


@define(eq=False)
class Gate:
    """A handler that stops until it is let through; counts how many are inside."""

    result: Any = field(factory=EmptyResult)
    inside: int = 0
    most: int = 0
    begun: list[Any] = field(factory=list)
    _open: trio.Event = field(factory=trio.Event)
    _happened: trio.Condition = field(factory=trio.Condition)

    async def __call__(self, command: Any) -> Any:
        self.begun.append(command)
        self.inside += 1
        self.most = max(self.most, self.inside)
        async with self._happened:
            self._happened.notify_all()
        try:
            await self._open.wait()
        finally:
            self.inside -= 1
        return self.result

    def open(self) -> None:
        self._open.set()

    async def wait_begun(self, count: int) -> None:
        async with self._happened:
            while len(self.begun) < count:
                await self._happened.wait()


async def list_templates(_command: Any) -> HostListManagerTemplatesResult:
    return HostListManagerTemplatesResult((ManagerTemplate("default"),), "default")


TEMPLATES = {"type": "host.list_manager_templates"}
"""A command that needs nothing."""


def workspace(environment: str = "env_1") -> dict[str, Any]:
    return {
        "environmentId": environment,
        "workspaceContext": {
            "workspacePath": f"/w/{environment}",
            "workspaceProvisionType": "unmanaged",
        },
    }


def status_command(environment: str = "env_1") -> dict[str, Any]:
    return {"type": "workspace.status", **workspace(environment)}


def destroy_command(environment: str = "env_1") -> dict[str, Any]:
    return {"type": "environment.destroy", **workspace(environment)}


def rename_command(thread: str = "thr_1") -> dict[str, Any]:
    """A command without a lane."""
    return {
        "type": "thread.rename",
        "environmentId": "env_1",
        "threadId": thread,
        "title": "title",
    }


@define(eq=False)
class Rig:
    """What a test holds in its hands."""

    server: StockServer
    journal: Journal
    daemon: FakeDaemon
    session: Session
    nursery: trio.Nursery
    ended: trio.Event = field(factory=trio.Event)


@asynccontextmanager
async def run_rig(
    server: StockServer,
    path: Path,
    handlers: dict[str, Handler] | None = None,
    *,
    daemon: FakeDaemon | None = None,
    host_key: str | None = None,
    started: bool = True,
    poll_seconds: float = 0.2,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A running session with a journal at ``path``; ended with the block, as by SIGKILL."""
    daemon = daemon or FakeDaemon()
    config = SessionSettings(
        url=parse_server_url(server.url),
        identity=HostIdentity(HostId(HOST), host_key or server.host_key(HOST)),
        host_name="rig",
        data_dir=path.parent,
        instance_id=str(uuid.uuid4()),
        reconnect_first_seconds=settings.pop("reconnect_first_seconds", 0.05),
        **settings,
    )
    handlers = {"host.list_manager_templates": list_templates, **(handlers or {})}
    async with (
        open_journal(path) as journal,
        open_session(config, journal, daemon, handlers, poll_seconds=poll_seconds) as session,
        trio.open_nursery() as nursery,
    ):
        rig = Rig(server, journal, daemon, session, nursery)

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            await session.run(task_status=task_status)
            rig.ended.set()

        if started:
            await nursery.start(run)
        else:
            nursery.start_soon(nursery.start, run)
        try:
            yield rig
        finally:
            nursery.cancel_scope.cancel()
