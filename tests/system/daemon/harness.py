"""The real daemon as a process, driven by a scripted server that behaves like the stock one."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from bbhost.daemon.config import load_config
from bbhost.daemon.local.socket_path import control_socket_path
from tests.fakes.stock_server import StockServer

HOST_ID = "host_test000001"
START_SECONDS = 45
"""For a daemon to be connected; under a second on an idle machine."""
RECONNECT_SECONDS = "0.1"
"""Pause of the daemons before a lost session is opened again; it doubles all the same."""


@define(eq=False)
class DaemonProcess:
    """One run of ``python -m bbhost.daemon``."""

    process: trio.Process
    data_dir: Path
    log: Path
    _ended: bool = field(default=False, init=False)

    def log_text(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")

    def log_entries(self) -> list[dict[str, Any]]:
        """Its log lines, parsed."""
        return [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]

    def inotify_watches(self) -> int:
        """How many watches the kernel holds for it."""
        count = 0
        for entry in Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            try:
                count += entry.read_text().count("inotify wd:")
            except OSError:
                continue
        return count

    async def wait(self) -> int:
        """Wait for its end."""
        return await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.send_signal(signal.SIGKILL)
        await self.wait()

    async def poll(self, condition: Callable[[], Awaitable[bool] | bool]) -> None:
        """Look again and again until ``condition`` holds: the other process tells nobody."""
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await trio.sleep(0.03)

    @property
    def control_socket(self) -> Path:
        """Where its control socket is: elsewhere than in the data directory if that is too long."""
        config = load_config({"data_dir": str(self.data_dir)}, {}, Path("/nonexistent"))
        return control_socket_path(config)

    async def control(self, method: str, path: str) -> Any:
        """Ask the control socket."""
        stream = await trio.open_unix_socket(self.control_socket)
        async with stream:
            await stream.send_all(
                f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
            )
            answer = b""
            async for chunk in stream:
                answer += chunk
        _, _, body = answer.partition(b"\r\n\r\n")
        return json.loads(body)


def identify(server: StockServer, data_dir: Path) -> None:
    """Enrol the data directory with the server, without asking it."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (data_dir / "auth.json").exists():
        return
    key = server.host_key(HOST_ID)
    (data_dir / "host-id").write_text(f"{HOST_ID}\n")
    auth = {"hostId": HOST_ID, "hostKey": key, "hostType": "persistent"}
    (data_dir / "auth.json").write_text(json.dumps(auth))
    (data_dir / "auth.json").chmod(0o600)


@cache
def _compiled() -> dict[str, str]:
    """Where Python is told to keep no bytecode: let daemons share some, or each compiles everything anew."""
    if not sys.dont_write_bytecode:
        return {}
    kept = tempfile.TemporaryDirectory(prefix="bbhost-bytecode-")
    atexit.register(kept.cleanup)
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": kept.name}


@asynccontextmanager
async def run_daemon_process(
    server: StockServer,
    data_dir: Path,
    *flags: str,
    environ: dict[str, str] | None = None,
    connected: bool = True,
    enrolled: bool = True,
    wrapper: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[DaemonProcess]:
    """Run the daemon against ``server``; it is killed when the block is left and it still runs.

    Args:
        connected: wait until its socket is open.
        enrolled: give it an identity that the server knows.
        wrapper: a program that is started instead, and turns into the daemon.
        pass_fds: descriptors that it inherits, under the same numbers.
    """
    if enrolled:
        identify(server, data_dir)
    log = data_dir.parent / f"daemon-{len(list(data_dir.parent.glob('daemon-*.log')))}.log"
    before = server.session
    with log.open("wb") as sink:
        process = await trio.lowlevel.open_process(
            [
                *(*wrapper, sys.executable, "-m", "bbhost.daemon"),
                *("--server-url", server.url, "--data-dir", str(data_dir)),
                *("--host-name", "test-host", "--log-format", "json"),
                *("--reconnect-seconds", RECONNECT_SECONDS),
                *flags,
            ],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **_compiled(), **(environ or {})},
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    daemon = DaemonProcess(process, data_dir, log)
    try:
        if connected:
            with trio.fail_after(START_SECONDS):
                await server.wait_connected(other_than=before)
        yield daemon
    finally:
        if process.returncode is None:
            with trio.CancelScope(shield=True):
                await daemon.kill()


_STARTS = """
import json, os, sys
from bbhost.daemon.__main__ import main
for line in sys.stdin:
    flags, environ = json.loads(line)
    os.environ.update(environ)
    code = main(flags)
    for name in environ:
        del os.environ[name]
    print(json.dumps({"exit code": code}), flush=True)
"""


@define(eq=False)
class FailingStarts:
    """Starts the daemon again and again in one process; for starts that end by themselves.

    Most of the time of a start is Python's own.
    """

    server: StockServer
    data_dir: Path
    _process: trio.Process

    async def run(self, *flags: str, **environ: str) -> tuple[int, str]:
        """Start, wait for the end, and return its exit code and what it logged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        common = ("--server-url", self.server.url, "--data-dir", str(self.data_dir))
        order = [[*common, "--log-format", "json", *flags], environ]
        await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")
        told = b""
        while b'{"exit code":' not in told:
            piece = await self._process.stdout.receive_some()
            assert piece, told
            told += piece
        log, _, code = told.rpartition(b'{"exit code":')
        return int(code.strip(b" }\n")), log.decode()


@asynccontextmanager
async def failing_starts(server: StockServer, data_dir: Path) -> AsyncIterator[FailingStarts]:
    """Give starts that are expected to fail."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _STARTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield FailingStarts(server, data_dir, process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def worktree_spec(data_dir: Path, environment_id: str, repo: Path, **more: Any) -> dict[str, Any]:
    """An ``environment.provision`` command for a managed worktree, as a stock server sends it."""
    return {
        "type": "environment.provision",
        "environmentId": environment_id,
        "initiator": None,
        "workspaceProvisionType": "managed-worktree",
        "sourcePath": str(repo),
        "targetPath": str(data_dir / "worktrees" / environment_id / repo.name),
        "branchName": f"bb/{environment_id}",
        "baseBranch": None,
        "setupTimeoutMs": 60_000,
        **more,
    }


def context_of(data_dir: Path, environment_id: str, repo: Path) -> dict[str, str]:
    """The workspace context of that worktree."""
    return {
        "workspacePath": str(data_dir / "worktrees" / environment_id / repo.name),
        "workspaceProvisionType": "managed-worktree",
    }


def git(path: Path, *args: str) -> str:
    """Run git in ``path`` and return what it printed."""
    done = subprocess.run(["git", *args], cwd=path, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def git_fails(path: Path, *args: str) -> None:
    """Run git in ``path``; it must fail."""
    done = subprocess.run(["git", *args], cwd=path, check=False, capture_output=True)
    assert done.returncode != 0


def wrapped_git(place: Path, before: str) -> dict[str, str]:
    """Make a ``git`` that runs shell code first; the code sees git's arguments.

    Returns:
        The variable with which a daemon uses it.
    """
    place.mkdir()
    found = shutil.which("git")
    assert found is not None
    program = place / "git"
    program.write_text(f'#!/bin/sh\n{before}\nexec {found} "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}


def make_repository(path: Path, files: dict[str, str] | None = None) -> Path:
    """Make a repository on branch main; with a commit unless ``files`` is empty."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    for name, content in ({"file.txt": "one\n"} if files is None else files).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    if files is None or files:
        git(path, "add", "-A")
        git(path, "commit", "-qm", "initial")
    return path


async def succeed(server: StockServer, command: dict[str, Any]) -> Any:
    """Run a command that must succeed; return its result."""
    report = await server.run_command(command)
    assert report["ok"], report
    assert report["type"] == command["type"]
    return report["result"]


async def refuse(server: StockServer, command: dict[str, Any], code: str) -> str:
    """Run a command that must fail with ``code``; return the message, which is never empty."""
    report = await server.run_command(command)
    assert not report["ok"], report
    assert report["type"] == command["type"]
    assert report["errorCode"] == code, report
    assert report["errorMessage"]
    return str(report["errorMessage"])


def unmanaged_spec(environment_id: str, path: Path, **more: Any) -> dict[str, Any]:
    """An ``environment.provision`` command for the user's own checkout."""
    return {
        "type": "environment.provision",
        "environmentId": environment_id,
        "initiator": None,
        "workspaceProvisionType": "unmanaged",
        "path": str(path),
        **more,
    }


def unmanaged_context(path: Path) -> dict[str, str]:
    """The workspace context of the user's own checkout."""
    return {"workspacePath": str(path), "workspaceProvisionType": "unmanaged"}


def resident_kib(daemon: DaemonProcess, field_name: str = "VmRSS") -> int:
    """Memory of the daemon in KiB; ``VmHWM`` is the most it ever had."""
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1])
    raise AssertionError(field_name)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to look does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def running_commands() -> set[bytes]:
    """The command lines of all processes of this machine, arguments ended by NUL."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes())
        except OSError:
            continue
    return found
