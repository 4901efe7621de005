"""Killed with SIGKILL at any step, the daemon and its successor answer every command once."""

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import HOST, rename_command

ROOT = Path(__file__).parents[3]

STEPS = [
    "fetch.received",
    "fetch.accepted",
    "command.before_handler",
    "command.before_settle",
    "journal.before_commit",
    "journal.committed",
    "report.before_post",
    "report.posted",
    "events.posted",
]

ONLY_THE_SERVER_KNOWS = {"fetch.received", "journal.before_commit"}
"""Killed there, the commands come back only when the server hands them out again."""


async def start_child(server: StockServer, key: str, journal: Path, fault: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.integration.session.child", server.url, key, str(journal)],
        cwd=ROOT,
        env={**os.environ, "BBHOST_FAULT": fault},
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_step(server: StockServer, journal_path: Path, step: str) -> None:
    if step in ONLY_THE_SERVER_KNOWS:
        server.redelivery_seconds = 1.0
    server.threads = {f"thr_{number}": "env_1" for number in range(3)}
    key = server.host_key(HOST)
    rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(3)]

    first = await start_child(server, key, journal_path, f"kill:{step}")
    assert await first.wait() == -signal.SIGKILL
    second = await start_child(server, key, journal_path, "")
    try:
        for row in rows:
            assert (await server.wait_result(row))["ok"]
        await server.wait(
            lambda: {event["threadId"] for event in server.events} == {*server.threads}
        )
    finally:
        second.kill()
        await second.wait()
    if step not in ONLY_THE_SERVER_KNOWS:
        assert all(row.deliveries == 1 for row in rows)


@pytest.mark.slow
async def test_a_daemon_that_was_suspended_comes_back(
    server: StockServer, journal_path: Path
) -> None:
    """Its lease runs out meanwhile; awake again it opens a session and runs what has piled up."""
    server.heartbeat_interval_ms, server.lease_timeout_ms = 100, 1500
    child = await start_child(server, server.host_key(HOST), journal_path, "")
    try:
        first = await server.wait_connected()
        child.send_signal(signal.SIGSTOP)
        await server.wait(lambda: first.status == "expired")
        row = await server.queue(rename_command("thr_1"))
        child.send_signal(signal.SIGCONT)
        await server.wait_connected(other_than=first)
        assert (await server.wait_result(row))["ok"]
    finally:
        child.kill()
        await child.wait()
