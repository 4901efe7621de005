"""Terminals over a restart of the daemon, with the part of systemd that it needs: all of it, or an honest end."""

import base64
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.fakes.service_manager import WRAPPER, ServiceManager, run_service_manager
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    run_daemon_process,
    succeed,
    worktree_spec,
)
from tests.system.daemon.test_terminals import Terminal

pytestmark = pytest.mark.slow
ONE = "env_one"
SHELL = {"SHELL": "/bin/sh", "PS1": "$ ", "ENV": ""}


@asynccontextmanager
async def run_service(
    manager: ServiceManager, server: StockServer, data_dir: Path, *flags: str, **environ: str
) -> AsyncIterator[DaemonProcess]:
    """The daemon as ``manager`` would start it."""
    async with run_daemon_process(
        server,
        data_dir,
        *flags,
        environ={**SHELL, **manager.environ(), **environ},
        wrapper=(sys.executable, "-c", WRAPPER),
        pass_fds=tuple(manager.stored.values()),
    ) as daemon:
        yield daemon


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[ServiceManager]:
    """A service manager that keeps descriptors."""
    directory = tmp_path / "manager"
    directory.mkdir()
    async with run_service_manager(directory) as manager:
        yield manager


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def wait_gone(*pids: int) -> None:
    """Processes that are no children of ours: nobody tells."""
    while any(map(is_alive, pids)):  # noqa: ASYNC110
        await trio.sleep(0.02)


async def replay_of(terminal: Terminal) -> tuple[list[int], bytes, int]:
    """Numbers and text of what the daemon remembers, and the number of the next chunk."""
    answer = await terminal.answer(await terminal.send("attach", sinceSeq=0))
    assert answer["type"] == "terminal.replay", answer
    numbers = [chunk["seq"] for chunk in answer["chunks"]]
    text = b"".join(base64.b64decode(chunk["dataBase64"]) for chunk in answer["chunks"])
    return numbers, text, answer["nextSeq"]


async def type_and_see(terminal: Terminal, command: str, text: str) -> None:
    """Type into a terminal whose output did not begin in this session, and wait for its answer."""
    await terminal.type(command + "\r")

    def seen() -> bytes:
        chunks = [one["chunk"]["dataBase64"] for one in terminal.all("output")]
        return b"".join(map(base64.b64decode, chunks))

    await terminal.server.wait(lambda: text.encode() in seen())


async def open_terminal(server: StockServer, data_dir: Path, repo: Path) -> tuple[Terminal, int]:
    """A terminal in a fresh environment, with a variable set in its shell; and the shell's pid."""
    terminal = Terminal(server, "term_1", context_of(data_dir, ONE, repo))
    opened = await terminal.open()
    assert opened["type"] == "terminal.opened", opened
    pid = int(await terminal.ask("echo $$"))
    await terminal.type("KEPT=fort''y-two\r")
    await terminal.shows("KEPT=")
    assert await terminal.ask("echo $KEPT") == "forty-two"
    return terminal, pid


async def test_a_terminal_goes_on_over_a_restart(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Shell, variables, scrollback and numbers: all as before, twice; then destroying ends it."""
    server.environments[ONE] = "ready"
    with trio.fail_after(120):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            await terminal.type("sleep 1000 & setsid sleep 1000 & echo started\r")
            await terminal.shows("started", 2)
            before = await replay_of(terminal)
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        assert terminal.all("exited") == []
        assert is_alive(pid)
        for _ in range(2):
            assert len(manager.stored) == 1
            async with run_service(manager, server, data_dir) as daemon:
                assert server.sessions[-1].opened_with["openTerminals"] == [
                    {"terminalId": "term_1"}
                ]
                numbers, text, next_seq = await replay_of(terminal)
                assert numbers == list(range(next_seq))
                assert text.startswith(before[1])
                await type_and_see(terminal, "echo is=$KEPT.", "is=forty-two.")
                assert (await daemon.control("GET", "/status"))["environments"]
                assert not manager.stored
                before = await replay_of(terminal)
                assert await daemon.terminate() == 0
        async with run_service(manager, server, data_dir):
            await replay_of(terminal)
            await succeed(
                server,
                {
                    "type": "environment.destroy",
                    "environmentId": ONE,
                    "workspaceContext": context_of(data_dir, ONE, repo),
                },
            )
            assert (await terminal.exited())["closeReason"] == "environment-destroyed"
            await wait_gone(pid)
        assert not manager.stored
