"""What goes wrong most easily in the contract, and is tested nowhere else here."""

import os
import shutil
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    git,
    refuse,
    run_daemon_process,
    succeed,
    unmanaged_context,
    worktree_spec,
    wrapped_git,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


async def settle(daemon: DaemonProcess) -> None:
    """Wait until its watches stand."""

    async def watching() -> bool:
        watch = (await daemon.control("GET", "/status"))["watch"]
        return bool(watch["kernelWatches"]) and not watch["unsettled"]

    await daemon.poll(watching)


async def test_only_changes_of_the_status_are_told(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Ignored files, touched files and git's own locks are silent; the first real change is told."""
    (repo / ".gitignore").write_text("ignored/\n*.tmp\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "rules")
    server.environments[ONE] = "ready"
    path = Path(context_of(data_dir, ONE, repo)["workspacePath"])
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            about = {"environmentId": ONE, "workspaceContext": context_of(data_dir, ONE, repo)}
            await succeed(server, {"type": "workspace.status", **about})
            await settle(daemon)
            server.changes.clear()
            (path / "ignored" / "deep").mkdir(parents=True)
            (path / "ignored" / "deep" / "x").write_text("x")
            (path / "x.tmp").write_text("x")
            (path / "d0" / "f0.txt").touch()
            (path / "d0" / "f0.txt").write_text("0\n")
            (path / "made.txt").write_text("x")
            (path / "made.txt").unlink()
            git(path, "status")
            await succeed(server, {"type": "workspace.status", **about})
            # Longer than debounce and coalescing together, which nothing else can show the end of.
            await trio.sleep(1.5)
            assert server.changes == []
            (path / "real.txt").write_text("x")
            await server.wait(lambda: (ONE, "work-status-changed") in server.changes)
            git(path, "branch", "another")
            await server.wait(lambda: (ONE, "git-refs-changed") in server.changes)


async def test_results_wait_for_events_only_where_they_must(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """While events cannot be delivered, results of other commands are."""
    server.environments[ONE] = "ready"
    server.threads["thr_1"] = ONE
    initiator = {"threadId": "thr_1", "provisioningId": "prov_1"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            server.fail("session/events", -1, times=1)  # no answer for ever
            spec = worktree_spec(data_dir, ONE, repo, initiator=initiator)
            row = await server.queue(spec)
            await server.wait(lambda: not server.faults)
            own = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
            await succeed(server, {"type": "workspace.status", **own})
            await succeed(server, {"type": "provider.list"})
            assert not row.settled.is_set()
            # A new session does away with the request that hangs.
            before = server.session
            await server.drop_socket()
            await server.wait_connected(other_than=before)


async def test_environments_the_server_has_forgotten(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """404 and 410 to a change release the environment: no watch, no more posts, the files stay."""
    context = context_of(data_dir, ONE, repo)
    path = Path(context["workspacePath"])
    status = {"type": "workspace.status", "environmentId": ONE, "workspaceContext": context}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await succeed(
                server, status
            )  # what has been told is what changes are measured against
            (path / "real.txt").write_text("x")  # the server answers 404: it does not know it
            await daemon.poll(lambda: daemon.inotify_watches() == 0)
            assert path.is_dir()
            assert server.changes == []
            # Provisioned again, it is as any other.
            server.environments[ONE] = "ready"
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await succeed(server, status)
            (path / "more.txt").write_text("x")
            await server.wait(lambda: (ONE, "work-status-changed") in server.changes)


async def test_a_missing_git_and_a_large_relative_read(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """Without git the code says so; reading beneath a root takes more than 25 MiB."""
    big = tmp_path / "big.txt"
    big.write_text("x" * (26 * 1024 * 1024))
    about = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
    read = {"type": "host.read_file_relative", "rootPath": str(tmp_path), "dotfiles": "deny"}
    tools = tmp_path / "tools"
    tools.mkdir()
    found = shutil.which("sh")
    assert found is not None
    (tools / "sh").symlink_to(found)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ={"PATH": str(tools)}):
            await refuse(server, {"type": "workspace.status", **about}, "missing_executable")
            result = await succeed(server, {**read, "path": "big.txt"})
            assert len(result["content"]) == 26 * 1024 * 1024


async def test_children_inherit_nothing_of_the_daemon(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """The set-up script sees the user's variables, and none of the server's or of bbhost's."""
    (repo / ".bb-env-setup.sh").write_text("env > variables\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")
    environ = {"BB_TOKEN": "x", "BBHOST_LOG_LEVEL": "info", "NODE_ENV": "x", "MINE": "kept"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=environ):
            made = await succeed(server, worktree_spec(data_dir, ONE, repo))
            lines = (Path(made["path"]) / "variables").read_text().splitlines()
            names = {line.partition("=")[0] for line in lines}
            assert "MINE=kept" in lines
            assert f"HOME={os.environ['HOME']}" in lines
            assert "NODE_ENV" not in names
            marker = {name for name in names if name.startswith("BB_")}
            assert not marker


@pytest.mark.long
async def test_git_that_hangs_is_ended(server: StockServer, data_dir: Path, repo: Path) -> None:
    """A status that takes longer than its 15 s is answered with git_command_timeout."""
    hang = 'for a in "$@"; do [ "$a" = status ] && exec sleep 311; done'
    environ = wrapped_git(data_dir.parent / "bin", hang)
    about = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
    server.redelivery_seconds = 60.0
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ=environ):
            await refuse(server, {"type": "workspace.status", **about}, "git_command_timeout")
