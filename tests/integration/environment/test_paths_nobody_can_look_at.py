"""Paths of which not even the system can say whether there is anything."""

import pytest
import trio
from attrs import define, field

from bbhost.contract.messages import DaemonMessage, TerminalError, TerminalOpen
from bbhost.daemon.terminal_hosting import TerminalHosting
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId
from bbhost.domain.workspace import WorkspaceContext, WorkspaceKind
from bbhost.errors import InvalidPathError
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.shell import ShellSettings
from tests.integration.environment.conftest import Host

ONE = EnvironmentId("env_one")
PATHS = ["/" + "x" * 300, "/tmp/nul\0byte"]


def context(path: str) -> WorkspaceContext:
    return WorkspaceContext(path, WorkspaceKind.UNMANAGED)


@define(eq=False)
class Sink:
    """Keeps what terminals say."""

    sent: list[DaemonMessage] = field(factory=list)
    happened: trio.Event = field(factory=trio.Event)

    async def send(self, message: DaemonMessage) -> bool:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)
        self.happened.set()
        return True


@pytest.mark.parametrize("path", PATHS)
async def test_a_command_is_refused_with_a_code(host: Host, path: str) -> None:
    """And not with whatever the system calls raised."""
    with pytest.raises(InvalidPathError):
        await host.supervisor.enter(ONE, context(path))


@pytest.mark.parametrize("path", PATHS)
async def test_a_terminal_is_refused_and_the_others_live_on(host: Host, path: str) -> None:
    """One message of the server must not end the daemon."""
    sink = Sink()
    hosting = TerminalHosting(host.supervisor, TerminalDirectory(sink), ShellSettings())
    message = TerminalOpen(
        "req_1", TerminalId("term_1"), ThreadId("thr_1"), ONE, context(path), 80, 24
    )
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(hosting.run)
            hosting.handle(message)
            await sink.happened.wait()
            nursery.cancel_scope.cancel()
    (answer,) = sink.sent
    assert isinstance(answer, TerminalError)
    assert "invalid_path" in answer.message
