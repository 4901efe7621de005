"""With the intervals of a stock server: 5 s heartbeats, 30 s lease, 60 s until a command comes again."""

import signal
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import run_stock_server
from tests.system.daemon.harness import (
    git,
    run_daemon_process,
    succeed,
    unmanaged_context,
    wrapped_git,
)

pytestmark = pytest.mark.long


async def test_a_lease_of_thirty_seconds(data_dir: Path) -> None:
    """Kept for longer than it lasts, lost by a daemon that is stopped, and followed by a new session."""
    async with run_stock_server() as server:
        assert (server.heartbeat_interval_ms, server.lease_timeout_ms) == (5000, 30_000)
        with trio.fail_after(180):
            async with run_daemon_process(server, data_dir) as daemon:
                session = server.session
                assert session is not None
                await server.wait(lambda: session.heartbeats >= 8)
                assert server.session is session
                daemon.process.send_signal(signal.SIGSTOP)
                await server.wait(lambda: session.status == "expired")
                daemon.process.send_signal(signal.SIGCONT)
                await server.wait_connected(other_than=session)
                await succeed(server, {"type": "replay.capture_list"})
                assert await daemon.terminate() == 0


async def test_a_command_of_more_than_a_minute(data_dir: Path, repo: Path) -> None:
    """It is handed out again without a hint, goes on all the same, and is done and answered once."""
    go = data_dir.parent / "go"
    waits = f'for a in "$@"; do [ "$a" = add ] && while [ ! -e {go} ]; do sleep 0.2; done; done'
    environ = wrapped_git(data_dir.parent / "bin", waits)
    (repo / "new.txt").write_text("x")
    commit = {
        "type": "workspace.commit",
        "environmentId": "env_own",
        "workspaceContext": unmanaged_context(repo),
        "message": "slowly",
    }
    async with run_stock_server() as server:
        assert (server.redelivery_seconds, server.sweep_seconds) == (60.0, 10.0)
        with trio.fail_after(180):
            async with run_daemon_process(server, data_dir, environ=environ) as daemon:
                row = await server.queue(commit)
                await server.wait(lambda: row.deliveries == 2)
                assert row.retry_count == 1
                go.touch()
                report = await server.wait_result(row)
                assert report["ok"], report
                assert git(repo, "log", "-2", "--format=%s") == "slowly\ninitial"
                assert report["result"]["commitSha"] == git(repo, "rev-parse", "HEAD")
                assert await daemon.terminate() == 0
