"""A terminal that is closed before its environment lets it open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.contract.messages import (
    DaemonMessage,
    TerminalClose,
    TerminalCloseReason,
    TerminalExited,
    TerminalOpen,
)
from bbhost.daemon.terminal_hosting import TerminalHosting
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.supervisor import Supervisor
from bbhost.terminals.directory import EXISTS, TerminalDirectory, terminal_error
from bbhost.terminals.shell import ShellSettings
from tests.fakes.world import FakeWorld

ONE = EnvironmentId("env_one")
TERMINAL = TerminalId("term_1")
SPEC = ManagedWorktreeSpec("/src", "/data/worktrees/env_one/demo", "b", None, 1000)
CONTEXT = WorkspaceContext(SPEC.target_path, WorkspaceKind.MANAGED_WORKTREE)
OPEN = TerminalOpen("req_1", TERMINAL, ThreadId("thr_1"), ONE, CONTEXT, 80, 24)
CLOSE = TerminalClose(TERMINAL, TerminalCloseReason.OPEN_TIMEOUT)


class Sink:
    """Keeps what terminals say."""

    def __init__(self) -> None:
        self.sent: list[DaemonMessage] = []

    async def send(self, message: DaemonMessage) -> bool:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)
        return True


@pytest.fixture
def sink() -> Sink:
    return Sink()


@asynccontextmanager
async def hosting_while_provisioning(
    world: FakeWorld, supervisor: Supervisor, sink: Sink
) -> AsyncIterator[TerminalHosting]:
    """Terminals of an environment whose set-up script takes its time; it is ready afterwards."""
    hosting = TerminalHosting(supervisor, TerminalDirectory(sink), ShellSettings())
    made = world.pauses["provision.begin"] = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(hosting.run)
            nursery.start_soon(supervisor.provision, ONE, SPEC)
            await wait_all_tasks_blocked()
            yield hosting
            made.set()
            await supervisor.enter(ONE, CONTEXT)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("at_once", [True, False])
async def test_no_shell_is_opened_that_nobody_waits_for(
    world: FakeWorld, supervisor: Supervisor, sink: Sink, at_once: bool
) -> None:
    """A server gives up after ten seconds; the set-up script goes on for minutes."""
    async with hosting_while_provisioning(world, supervisor, sink) as hosting:
        hosting.handle(OPEN)
        if not at_once:
            await wait_all_tasks_blocked()
        hosting.handle(CLOSE)
        await wait_all_tasks_blocked()
        assert sink.sent == [TerminalExited(TERMINAL, None, TerminalCloseReason.OPEN_TIMEOUT)]
    handle = supervisor.entered(ONE)
    assert handle is not None
    assert handle.stay.is_idle
    assert len(hosting.directory) == 0
    assert len(sink.sent) == 1


async def test_one_id_is_opened_once(world: FakeWorld, supervisor: Supervisor, sink: Sink) -> None:
    """Also while the first request for it still waits."""
    async with hosting_while_provisioning(world, supervisor, sink) as hosting:
        hosting.handle(OPEN)
        hosting.handle(OPEN)
        await wait_all_tasks_blocked()
        assert sink.sent == [terminal_error(OPEN, EXISTS, f"Terminal {TERMINAL} is open already")]
        hosting.handle(CLOSE)
