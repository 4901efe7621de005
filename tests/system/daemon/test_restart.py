"""Terminals over a restart of the daemon, with the part of systemd that it needs: all of it, or an honest end."""

import base64
import json
import os
import signal
import sqlite3
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
    git,
    run_daemon_process,
    succeed,
    worktree_spec,
)
from tests.system.daemon.test_terminals import Terminal

pytestmark = pytest.mark.slow
ONE = "env_one"
SETUP = "setsid nohup sleep 1000 >/dev/null 2>&1 & echo $! > ../../left-by-setup\n"
JOBS = ("echo $job", "until cat apart 2>/dev/null; do sleep 0.05; done")
SHELL = {"SHELL": "/bin/sh", "PS1": "$ ", "ENV": ""}


@asynccontextmanager
async def run_service(
    manager: ServiceManager,
    server: StockServer,
    data_dir: Path,
    *flags: str,
    connected: bool = True,
    enrolled: bool = True,
    **environ: str,
) -> AsyncIterator[DaemonProcess]:
    """The daemon as ``manager`` would start it."""
    async with run_daemon_process(
        server,
        data_dir,
        *flags,
        environ={**SHELL, **manager.environ(), **environ},
        wrapper=(sys.executable, "-c", WRAPPER),
        pass_fds=tuple(manager.stored.values()),
        connected=connected,
        enrolled=enrolled,
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


async def left_by_setup(data_dir: Path) -> int:
    """Pid of what the set-up script has left running."""
    pid = int((data_dir / "worktrees" / "left-by-setup").read_text())
    assert is_alive(pid)
    return pid


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


async def test_a_terminal_ends_where_no_restart_is_coming(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """A stop is a stop, whoever could keep the pty: closed with its reason, and nothing is left."""
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            manager.set_job("stop")
            assert await daemon.terminate() == 0
        assert (await terminal.exited())["closeReason"] == "daemon-disconnect"
        assert not manager.stored
        await wait_gone(pid)


async def test_a_pty_that_is_not_taken_ends_its_terminal(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """A service manager that does not answer: the terminal is closed with its reason."""
    server.environments[ONE] = "ready"
    manager.takes_descriptors = False
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        assert (await terminal.exited())["closeReason"] == "daemon-disconnect"
        assert not manager.stored
        await wait_gone(pid)


async def test_a_stock_server_closes_what_it_does_not_go_on_with(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """It expires terminals with the session and says so at the next: said to have ended, once."""
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        async with run_service(manager, server, data_dir):
            await terminal.send("close", reason="daemon-disconnect")
            assert (await terminal.exited())["closeReason"] == "daemon-disconnect"
            await wait_gone(pid)


@pytest.mark.parametrize("point", ["restart.journalled", "restart.stored", "processes.ended"])
async def test_killed_in_the_middle_of_a_hand_over(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path, point: str
) -> None:
    """Whatever had been done of it: the next daemon starts, and no process is left that has no terminal."""
    server.environments[ONE] = "ready"
    server.environments["env_two"] = "ready"
    (repo / ".bb-env-setup.sh").write_text(SETUP)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir, BBHOST_FAULT=f"kill:{point}") as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await succeed(server, worktree_spec(data_dir, "env_two", repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            left = await left_by_setup(data_dir)
            manager.set_job("restart")
            assert await daemon.terminate() == -signal.SIGKILL
        async with run_service(manager, server, data_dir):
            (told,) = server.sessions[-1].opened_with["openTerminals"] or [None]
            answer = await terminal.answer(await terminal.send("attach", sinceSeq=0))
            if told is None:
                assert answer["code"] == "terminal_not_found"
                await wait_gone(pid)
            else:
                assert answer["type"] == "terminal.replay"
                assert is_alive(pid)
            await wait_gone(left)
        assert not manager.stored


async def test_what_else_ran_ends_at_a_restart(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """A terminal keeps what was started in it, also in sessions of their own; hooks' programs end."""
    server.environments[ONE] = "ready"
    (repo / ".bb-env-setup.sh").write_text(SETUP)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            left = await left_by_setup(data_dir)
            await terminal.type(
                "sleep 1000 & job=$!; setsid sh -c 'echo $$ >apart; sleep 1000' &\r"
            )
            jobs = [int(await terminal.ask(name)) for name in JOBS]
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        assert not is_alive(left)
        assert all(map(is_alive, (pid, *jobs)))
        async with run_service(manager, server, data_dir) as daemon:
            await replay_of(terminal)
            assert all(map(is_alive, (pid, *jobs)))
            manager.set_job(None)
            assert await daemon.terminate() == 0
            assert (await terminal.exited())["closeReason"] == "daemon-disconnect"
        await wait_gone(pid, *jobs)


@pytest.mark.parametrize("change", ["another incarnation", "destroyed", "no pty", "damaged"])
async def test_what_does_not_fit_is_not_taken_over(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path, change: str
) -> None:
    """What has changed in the gap is found out, and the shell is ended; the daemon starts all the same."""
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal, pid = await open_terminal(server, data_dir, repo)
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        with sqlite3.connect(data_dir / "bbhost.sqlite") as journal:
            match change:
                case "another incarnation":
                    (text,) = journal.execute("SELECT record FROM kept_terminals").fetchone()
                    record = {**json.loads(text), "incarnation": 7}
                    journal.execute("UPDATE kept_terminals SET record = ?", (json.dumps(record),))
                case "destroyed":
                    (text,) = journal.execute("SELECT record FROM environments").fetchone()
                    record = json.loads(text)
                    record["environment"] |= {"state": "destroying", "cause": "destroy"}
                    journal.execute("UPDATE environments SET record = ?", (json.dumps(record),))
                case "damaged":
                    journal.execute("UPDATE kept_terminals SET output = x'00'")
        journal.close()
        if change == "no pty":
            for descriptor in manager.stored.values():
                os.close(descriptor)
            manager.stored.clear()
        async with run_service(manager, server, data_dir):
            assert server.sessions[-1].opened_with["openTerminals"] == []
            answer = await terminal.answer(await terminal.send("attach", sinceSeq=0))
            assert answer["code"] == "terminal_not_found"
            await wait_gone(pid)
        assert not manager.stored


async def test_a_daemon_that_cannot_start_does_not_keep_terminals(
    manager: ServiceManager, server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Killed before it had taken over: the pty goes with it, and the next one ends what is left."""
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_service(manager, server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            _, pid = await open_terminal(server, data_dir, repo)
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        fault = "kill:restart.prepared"
        async with run_service(
            manager, server, data_dir, connected=False, BBHOST_FAULT=fault
        ) as daemon:
            assert await daemon.wait() == -signal.SIGKILL
        async with run_service(manager, server, data_dir):
            assert server.sessions[-1].opened_with["openTerminals"] == []
            await wait_gone(pid)
        assert not manager.stored
