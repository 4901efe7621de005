"""Real shells on real ptys, and a sink that stands for the link to the server."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from attrs import define, field

from bbhost.contract.messages import (
    DaemonMessage,
    TerminalAttach,
    TerminalClose,
    TerminalCloseReason,
    TerminalError,
    TerminalExited,
    TerminalInput,
    TerminalOpen,
    TerminalOpened,
    TerminalOutput,
    TerminalReplay,
    TerminalResize,
    encode_message,
    parse_daemon_message,
)
from bbhost.domain.ids import EnvironmentId, Incarnation, TerminalId, ThreadId
from bbhost.domain.workspace import WorkspaceContext, WorkspaceKind
from bbhost.processes.boundary import Boundary
from bbhost.processes.environ import child_environ
from bbhost.processes.keeper import ProcessKeeper
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.registry import TerminalPlace
from bbhost.terminals.shell import ShellSettings

M = TypeVar("M")


@define(eq=False)
class RecordingSink:
    """Keeps what was sent; can be full, and can have no link."""

    messages: list[DaemonMessage] = field(factory=list)
    is_up: bool = True
    on_message: Callable[[DaemonMessage], None] = lambda _message: None
    _room: trio.Event = field(factory=trio.Event)
    _arrived: trio.Condition = field(factory=trio.Condition)

    def __attrs_post_init__(self) -> None:
        self._room.set()

    @contextmanager
    def full(self) -> Iterator[None]:
        """While in here, whoever sends waits."""
        self._room = trio.Event()
        try:
            yield
        finally:
            self._room.set()

    async def send(self, message: DaemonMessage) -> bool:
        await self._room.wait()
        if not self.is_up:
            return False
        parse_daemon_message(encode_message(message))  # a server would close the socket
        self.messages.append(message)
        self.on_message(message)
        async with self._arrived:
            self._arrived.notify_all()
        return True

    def of(self, kind: type[M], terminal_id: str = "term_1") -> list[M]:
        """The messages of one kind about one terminal, in order."""
        return [
            message
            for message in self.messages
            if isinstance(message, kind) and getattr(message, "terminal_id", "") == terminal_id
        ]

    def output(self, terminal_id: str = "term_1") -> bytes:
        """All output of a terminal."""
        sent = self.of(TerminalOutput, terminal_id)
        return b"".join(message.chunk.data for message in sent)

    def size(self, terminal_id: str = "term_1") -> int:
        """Bytes of output of a terminal."""
        return sum(len(message.chunk.data) for message in self.of(TerminalOutput, terminal_id))

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until a message makes ``condition`` true."""
        with trio.fail_after(15):
            async with self._arrived:
                while not condition():
                    await self._arrived.wait()

    async def wait_output(self, needle: bytes, terminal_id: str = "term_1") -> None:
        await self.wait_until(lambda: needle in self.output(terminal_id))

    async def wait_opened(self, terminal_id: str = "term_1") -> TerminalOpened:
        await self.wait_until(lambda: self.of(TerminalOpened, terminal_id))
        return self.of(TerminalOpened, terminal_id)[0]

    async def wait_exited(self, terminal_id: str = "term_1") -> TerminalExited:
        await self.wait_until(lambda: self.of(TerminalExited, terminal_id))
        return self.of(TerminalExited, terminal_id)[0]

    async def wait_error(self, request_id: str) -> TerminalError:
        def errors() -> list[TerminalError]:
            found = (message for message in self.messages if isinstance(message, TerminalError))
            return [error for error in found if error.request_id == request_id]

        await self.wait_until(errors)
        return errors()[0]

    async def wait_replay(self, request_id: str) -> TerminalReplay:
        def replays() -> list[TerminalReplay]:
            found = (message for message in self.messages if isinstance(message, TerminalReplay))
            return [replay for replay in found if replay.request_id == request_id]

        await self.wait_until(replays)
        return replays()[0]


@pytest.fixture
async def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def directory(sink: RecordingSink) -> TerminalDirectory:
    return TerminalDirectory(sink)


@pytest.fixture
async def boundary(tmp_path: Path) -> AsyncIterator[Boundary]:
    keeper = ProcessKeeper(tmp_path / "data", use_cgroup=False)
    boundary = keeper.open_boundary(EnvironmentId("env_1"), Incarnation(1))
    async with trio.open_nursery() as services:
        await services.start(keeper.run)
        try:
            yield boundary
        finally:
            with trio.move_on_after(5, shield=True):
                await boundary.end(0)
            services.cancel_scope.cancel()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    workspace = Path(os.path.realpath(tmp_path)) / "workspace"
    workspace.mkdir()
    return workspace


@pytest.fixture
def place(workspace: Path, boundary: Boundary) -> TerminalPlace:
    """Terminals run a plain POSIX shell without start-up files."""
    return TerminalPlace(
        str(workspace),
        boundary,
        ShellSettings("http://127.0.0.1:3334", 38887, "/opt/bb/bin"),
        environ=lambda: child_environ({"SHELL": "/bin/sh", "PS1": "$ ", "ENV": ""}),
    )


@pytest.fixture
def program(place: TerminalPlace, tmp_path: Path) -> Callable[[str], TerminalPlace]:
    """Makes the terminals run a script instead of a shell."""

    def use(script: str, interpreter: str = "/bin/sh") -> TerminalPlace:
        path = tmp_path / "program"
        path.write_text(f"#!{interpreter}\n{script}\n")
        path.chmod(0o755)
        environ = lambda: child_environ({"SHELL": str(path)})  # noqa: E731 - one line
        return TerminalPlace(place.workspace_path, place.boundary, place.settings, environ)

    return use


def open_message(terminal_id: str = "term_1", request_id: str = "req_open") -> TerminalOpen:
    return TerminalOpen(
        request_id,
        TerminalId(terminal_id),
        ThreadId("thr_1"),
        EnvironmentId("env_1"),
        WorkspaceContext("/somewhere", WorkspaceKind.UNMANAGED),
        80,
        24,
    )


def input_message(text: str | bytes, terminal_id: str = "term_1") -> TerminalInput:
    data = text if isinstance(text, bytes) else text.encode()
    return TerminalInput(TerminalId(terminal_id), data)


def attach_message(
    request_id: str = "req_attach", since_seq: int = 0, terminal_id: str = "term_1"
) -> TerminalAttach:
    return TerminalAttach(request_id, TerminalId(terminal_id), since_seq)


def close_message(
    reason: TerminalCloseReason = TerminalCloseReason.USER, terminal_id: str = "term_1"
) -> TerminalClose:
    return TerminalClose(TerminalId(terminal_id), reason)


def resize_message(cols: int, rows: int, terminal_id: str = "term_1") -> TerminalResize:
    return TerminalResize(TerminalId(terminal_id), cols, rows)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
