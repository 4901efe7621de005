"""Environments that this daemon did not make: a command takes them over, now or when it can be done."""

import signal
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    git,
    refuse,
    run_daemon_process,
    succeed,
    unmanaged_context,
    wrapped_git,
)

pytestmark = pytest.mark.slow


async def test_a_git_that_fails_for_a_while(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """The first commands fail with what git says; the same id is served as soon as git works."""
    broken = data_dir.parent / "broken"
    fails = f'[ -e {broken} ] && {{ echo "fatal: not now" >&2; exit 128; }}'
    environ = wrapped_git(data_dir.parent / "bin", fails)
    broken.touch()
    status = {
        "type": "workspace.status",
        "environmentId": "env_own",
        "workspaceContext": unmanaged_context(repo),
    }
    diff = {
        **status,
        "type": "workspace.diff",
        "target": {"type": "uncommitted"},
        "maxDiffBytes": 1000,
        "maxFileListBytes": 1000,
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=environ) as daemon:
            for command in (status, diff):
                assert "not now" in await refuse(server, command, "git_command_failed")
            await daemon.kill()
        # The next daemon knows of the failure too, and is not misled by it.
        async with run_daemon_process(server, data_dir, environ=environ):
            await refuse(server, status, "git_command_failed")
            broken.unlink()
            found = (await succeed(server, status))["workspaceStatus"]
            assert found["branch"]["currentBranch"] == "main"


async def test_a_directory_that_is_a_file_for_a_while(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """path_not_found, until the workspace is where it should be."""
    path = data_dir.parent / "own"
    path.write_text("no directory")
    status = {
        "type": "workspace.status",
        "environmentId": "env_own",
        "workspaceContext": unmanaged_context(path),
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            await refuse(server, status, "path_not_found")
            path.unlink()
            git(repo, "clone", "-q", str(repo), str(path))
            await succeed(server, status)


async def test_killed_while_attaching(server: StockServer, data_dir: Path, repo: Path) -> None:
    """The command is answered by the next daemon, as if nothing had happened."""
    server.environments["env_own"] = "ready"
    status = {
        "type": "workspace.status",
        "environmentId": "env_own",
        "workspaceContext": unmanaged_context(repo),
    }
    fault = {"BBHOST_FAULT": "kill:journal.provisioned"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=fault) as daemon:
            row = await server.queue(status)
            assert await daemon.wait() == -signal.SIGKILL
        async with run_daemon_process(server, data_dir):
            report = await server.wait_result(row)
            assert report["ok"], report
