"""The daemon process under a stock server: provision, ask, destroy, restart, stop."""

import signal
import subprocess
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    context_of,
    is_running,
    run_daemon_process,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


async def test_the_main_job(server: StockServer, data_dir: Path, repo: Path) -> None:
    """A stock server provisions, hears of an edit, asks, commits, destroys; nothing comes back."""
    context = context_of(data_dir, ONE, repo)
    path = Path(context["workspacePath"])
    server.environments[ONE] = "ready"
    status = {"type": "workspace.status", "environmentId": ONE, "workspaceContext": context}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            made = await server.run_command(worktree_spec(data_dir, ONE, repo))
            assert made["ok"], made
            assert made["result"]["branchName"] == f"bb/{ONE}"
            assert made["result"]["defaultBranch"] == "main"
            keys = [entry["key"] for entry in made["result"]["transcript"]]
            assert keys[0] == "git-worktree-started"
            assert keys[-1] == "workspace-branch"

            await server.run_command(status)
            (path / "d0" / "f0.txt").write_text("changed\n")
            await server.wait(lambda: (ONE, "work-status-changed") in server.changes)
            answer = await server.run_command(status)
            assert answer["result"]["workspaceStatus"]["workingTree"]["files"] == [
                {"path": "d0/f0.txt", "status": "M", "insertions": 1, "deletions": 1}
            ]
            commit = await server.run_command(
                {**status, "type": "workspace.commit", "message": "bb: automated commit"}
            )
            assert commit["ok"], commit
            assert len(commit["result"]["commitSha"]) == 40
            await server.wait(lambda: (ONE, "git-refs-changed") in server.changes)

            assert daemon.inotify_watches() > 0
            destroyed = await server.run_command({**status, "type": "environment.destroy"})
            assert destroyed["result"] == {}
            assert not path.parent.exists()
            assert daemon.inotify_watches() == 0
            refused = await server.run_command(status)
            assert refused["errorCode"] == "environment_destroyed"
            assert daemon.inotify_watches() == 0
            assert await daemon.terminate() == 0


async def test_sigterm_ends_in_time_with_nothing_running(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """A stop takes less than five seconds and leaves no process, with a terminal and a command open."""
    context = context_of(data_dir, ONE, repo)
    (repo / ".bb-env-setup.sh").write_text("sleep 300 & echo $! > ../../pid; sleep 300\n")
    for args in (("add", "-A"), ("commit", "-qm", "setup")):
        subprocess.run(["git", *args], cwd=repo, check=True, capture_output=True)
    server.environments[ONE] = "ready"
    async with run_daemon_process(server, data_dir) as daemon:
        await server.queue(worktree_spec(data_dir, ONE, repo))
        pid_file = Path(context["workspacePath"]).parent.parent / "pid"
        with trio.fail_after(20):
            await daemon.poll(lambda: pid_file.exists() and bool(pid_file.read_text().strip()))
        with trio.fail_after(5):
            assert await daemon.terminate() == 0
    assert not is_running(int(pid_file.read_text()))


async def test_a_second_daemon_is_refused(server: StockServer, data_dir: Path) -> None:
    """It ends at once and says who owns the data directory."""
    with trio.fail_after(30):
        async with (
            run_daemon_process(server, data_dir) as first,
            run_daemon_process(server, data_dir, connected=False) as second,
        ):
            assert await second.wait() == 1
            assert str(first.process.pid) in second.log_text()


async def test_replaced_means_a_clean_end(server: StockServer, data_dir: Path) -> None:
    """A daemon that another one took the place of stops with exit code 0."""
    with trio.fail_after(30):
        async with run_daemon_process(server, data_dir) as daemon:
            await server.replace_session()
            assert await daemon.wait() == 0


async def test_killed_while_destroying_the_next_daemon_finishes(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """SIGKILL between two stages of teardown: the restart ends what had begun, and tells the server."""
    context = context_of(data_dir, ONE, repo)
    server.environments[ONE] = "ready"
    destroy = {"type": "environment.destroy", "environmentId": ONE, "workspaceContext": context}
    with trio.fail_after(60):
        fault = {"BBHOST_FAULT": "kill:teardown.deregister"}
        async with run_daemon_process(server, data_dir, environ=fault) as daemon:
            assert (await server.run_command(worktree_spec(data_dir, ONE, repo)))["ok"]
            row = await server.queue(destroy)
            assert await daemon.wait() == -signal.SIGKILL
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.wait_result(row))["ok"]
            await server.wait(lambda: not Path(context["workspacePath"]).parent.exists())
            listed = subprocess.run(
                ["git", "worktree", "list"], cwd=repo, check=True, capture_output=True, text=True
            )
            assert ONE not in listed.stdout
            assert daemon.inotify_watches() == 0


async def test_a_restart_watches_before_anybody_asks(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """After a SIGKILL the next daemon is there at once and notices edits by itself."""
    path = Path(context_of(data_dir, ONE, repo)["workspacePath"])
    server.environments[ONE] = "ready"
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.run_command(worktree_spec(data_dir, ONE, repo)))["ok"]
            await daemon.kill()
        async with run_daemon_process(server, data_dir) as daemon:

            async def watching() -> bool:
                watch = (await daemon.control("GET", "/status"))["watch"]
                return bool(watch["kernelWatches"]) and not watch["unsettled"]

            await daemon.poll(watching)
            server.changes.clear()
            (path / "new.txt").write_text("x")
            await server.wait(lambda: (ONE, "work-status-changed") in server.changes)


async def test_retired_at_session_open(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Destroyed on the server while the link was down: released, its files untouched."""
    context = context_of(data_dir, ONE, repo)
    server.environments[ONE] = "ready"
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.run_command(worktree_spec(data_dir, ONE, repo)))["ok"]
            server.environments[ONE] = "destroyed"
            session = server.session
            await server.drop_socket()
            await server.wait_connected(other_than=session)

            async def none_ready() -> bool:
                return "ready" not in (await daemon.control("GET", "/status"))["environments"]

            await daemon.poll(none_ready)
            assert daemon.inotify_watches() == 0
            assert Path(context["workspacePath"]).is_dir()
