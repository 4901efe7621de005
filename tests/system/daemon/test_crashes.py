"""SIGKILL in the middle of everything: the next daemon makes the server's view and the disk agree.

Beside the command that is cut short, a terminal is open and a result has not been acknowledged. Within
15 s of the next daemon's connection every result is there and true, and nothing is left over.
"""

import base64
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockCommand, StockServer, run_stock_server
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    git,
    is_running,
    run_daemon_process,
    succeed,
    unmanaged_context,
    worktree_spec,
)

pytestmark = pytest.mark.slow

ONE = "env_one"
RECOVERY_SECONDS = 15.0
FIRST_POINTS = {"fetch.received", "fetch.accepted", "journal.provisioned"}
"""Points that the terminal or the result beside the command would reach first; they are left out there."""
INTERNAL = {"code": "internal_error", "message": "x"}


class Crash:
    """Two daemons: one that is killed at a fault point, and the one that comes after it."""

    def __init__(self, server: StockServer, data_dir: Path, repo: Path) -> None:
        self.server, self.data_dir, self.repo = server, data_dir, repo
        self.context = context_of(data_dir, ONE, repo)
        self.path = Path(self.context["workspacePath"])
        self.about = {"environmentId": ONE, "workspaceContext": self.context}
        server.environments |= {ONE: "ready", "env_beside": "ready"}

    async def run(
        self,
        command: dict[str, Any],
        point: str,
        prepare: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Run a command over a kill at ``point``; return its result as the next daemon tells it.

        Args:
            prepare: called when the environment has been made; without it nothing is made before.
        """
        server = self.server
        async with run_daemon_process(
            server, self.data_dir, environ={"BBHOST_FAULT": f"kill:{point}", "SHELL": "/bin/sh"}
        ) as daemon:
            if prepare is not None:
                with trio.fail_after(30):
                    await succeed(server, worktree_spec(self.data_dir, ONE, self.repo))
                prepare()
            shell, waiting = 0, None
            if point not in FIRST_POINTS:
                with trio.fail_after(30):
                    shell = await self._open_terminal(daemon)
                    waiting = await self._unacknowledged()
            row = await server.queue(command)
            with trio.fail_after(20):
                assert await daemon.wait() == -signal.SIGKILL, daemon.log_text()
        server.faults.clear()
        await server.redeliver_now()
        async with run_daemon_process(server, self.data_dir) as daemon:
            with trio.fail_after(RECOVERY_SECONDS):
                result = await server.wait_result(row)
                if waiting is not None:
                    kept = await server.wait_result(waiting)
                    assert kept["ok"]
                    assert kept["result"]["path"] == "kept.txt"
                    assert kept["result"]["sizeBytes"] == 4
            assert not shell or not is_running(shell)
            await self._agree(daemon, row)
            assert await daemon.terminate() == 0
        return result

    async def _open_terminal(self, daemon: DaemonProcess) -> int:
        await self.server.send(
            {
                "type": "terminal.open",
                "requestId": "r",
                "terminalId": "term_1",
                "threadId": "thr_1",
                "environmentId": "env_beside",
                "workspaceContext": unmanaged_context(self.repo),
                "cols": 80,
                "rows": 24,
            }
        )
        pid_file = self.data_dir / "shell-pid"
        pid_file.unlink(missing_ok=True)
        data = base64.b64encode(f"echo $$ > {pid_file}\r".encode()).decode()
        await self.server.wait(
            lambda: any(one["type"] == "terminal.opened" for one in self.server.messages)
        )
        await self.server.send(
            {"type": "terminal.input", "terminalId": "term_1", "dataBase64": data}
        )
        await daemon.poll(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        return int(pid_file.read_text())

    async def _unacknowledged(self) -> StockCommand:
        """A command whose result no daemon gets rid of before the kill."""
        self.server.fail("session/command-result", 500, INTERNAL, times=1000)
        write = {
            "type": "host.write_file_relative",
            "rootPath": str(self.data_dir / "scratch"),
            "path": "kept.txt",
            "dotfiles": "deny",
            "content": "kept",
            "contentEncoding": "utf8",
        }
        row = await self.server.queue(write)
        before = len(self.server.faults)
        await self.server.wait(lambda: len(self.server.faults) < before)
        return row

    async def _agree(self, daemon: DaemonProcess, row: StockCommand) -> None:
        """Nothing is left over, and later questions are answered by the same truth."""
        listed = git(self.repo, "worktree", "list", "--porcelain")
        paths = [line.split(" ", 1)[1] for line in listed.splitlines() if line[:9] == "worktree "]
        assert all(Path(path).is_dir() for path in paths), paths
        status = (await daemon.control("GET", "/status"))["environmentList"]
        here = {one["id"]: one["state"] for one in status}
        assert (here.get(ONE) == "ready") == self.path.is_dir()
        assert (str(self.path) in paths) == self.path.is_dir()
        answer = await self.server.run_command({"type": "workspace.status", **self.about})
        assert answer["ok"] == self.path.is_dir(), answer
        assert row.deliveries <= 2


def _write(path: Path, content: str) -> None:
    path.write_text(content)


def _commit(workspace: Path) -> None:
    (workspace / "new.txt").write_text("new\n")
    git(workspace, "add", "-A")
    git(workspace, "commit", "-qm", "work")


@pytest.fixture
async def crash_server() -> Any:
    """A server that hands a command out again when the daemon has been killed, and never else."""
    async with run_stock_server(heartbeat_interval_ms=1000, redelivery_seconds=600.0) as server:
        yield server


@pytest.mark.parametrize(
    "point",
    [
        "fetch.received",
        "fetch.accepted",
        "provision.parent_made",
        "provision.worktree_added",
        "provision.setup_ended",
        "provision.done",
        "journal.provisioned",
    ],
)
async def test_provision(
    crash_server: StockServer, data_dir: Path, repo: Path, point: str
) -> None:
    """It is made anew after being undone, or is found whole; set-up has run in what there is."""
    (repo / ".bb-env-setup.sh").write_text("sleep 309 & echo done > set-up\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")
    crash = Crash(crash_server, data_dir, repo)
    with trio.fail_after(120):
        result = await crash.run(worktree_spec(data_dir, ONE, repo), point)
    assert result["ok"], result
    assert result["result"]["branchName"] == f"bb/{ONE}"
    assert (crash.path / "set-up").read_text() == "done\n"
    assert (crash.path / "d0" / "f0.txt").read_text() == "0\n"


@pytest.mark.parametrize(
    "point",
    ["publishing.noted", "commit.added", "commit.committed", "publishing.made"],
)
async def test_commit(crash_server: StockServer, data_dir: Path, repo: Path, point: str) -> None:
    """Exactly one commit, and the result names it."""
    crash = Crash(crash_server, data_dir, repo)
    with trio.fail_after(120):
        command = {"type": "workspace.commit", "message": "the work", **crash.about}
        result = await crash.run(command, point, lambda: _write(crash.path / "new.txt", "new\n"))
    assert result["ok"], result
    assert result["result"]["commitSha"] == git(crash.path, "rev-parse", "HEAD")
    assert git(crash.path, "log", "--format=%s", "main..HEAD") == "the work"
    assert git(crash.path, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "point",
    ["merge.worktree_made", "merge.committed", "merge.before_publish", "merge.published"],
)
async def test_squash_merge(
    crash_server: StockServer, data_dir: Path, repo: Path, point: str
) -> None:
    """Exactly one commit on the target, the result names it, and no temporary worktree is left."""
    crash = Crash(crash_server, data_dir, repo)
    with trio.fail_after(120):
        before = git(repo, "rev-parse", "main")
        command = {
            "type": "workspace.squash_merge",
            "targetBranch": "main",
            "commitMessage": "squashed",
            **crash.about,
        }
        result = await crash.run(command, point, lambda: _commit(crash.path))
    assert result["ok"], result
    assert result["result"]["commitSha"] == git(repo, "rev-parse", "main")
    assert git(repo, "log", "--format=%s", f"{before}..main") == "squashed"
    assert (repo / "new.txt").read_text() == "new\n"
    assert len(git(repo, "worktree", "list").splitlines()) == 2


@pytest.mark.parametrize(
    "point",
    [
        "journal.destroy",
        "teardown.stop_processes",
        "trash.entry_made",
        "trash.moved",
        "removal.deregistered",
        "teardown.done",
    ],
)
async def test_destroy(crash_server: StockServer, data_dir: Path, repo: Path, point: str) -> None:
    """Gone from the disk and from git's books, acknowledged, and the branch is there."""
    crash = Crash(crash_server, data_dir, repo)
    with trio.fail_after(120):
        result = await crash.run(
            {"type": "environment.destroy", **crash.about},
            point,
            lambda: _write(crash.path / "unsaved.txt", "work"),
        )
    assert result["ok"], result
    assert not crash.path.parent.exists()
    assert git(repo, "branch", "--list", f"bb/{ONE}")
    assert list((data_dir / "worktrees").iterdir()) == []
