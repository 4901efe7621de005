"""``bbhost status``: the exit code says how the daemon is, and comes in time."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from bbhost.daemon import logs
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import DaemonProcess, run_daemon_process
from tests.system.daemon.test_local_api import ask, free_port

pytestmark = pytest.mark.slow


async def status(data_dir: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Run it; return its exit code and what it printed."""
    done = await trio.run_process(
        [sys.executable, "-m", "bbhost", "status", "--json", "--data-dir", str(data_dir), *words],
        capture_stdout=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


async def becomes(data_dir: Path, code: int) -> dict[str, Any]:
    """Ask until it is so: the daemon finds out in its own time."""
    while True:
        got, answer = await status(data_dir)
        if got == code:
            return answer


async def test_dead_healthy_degraded_stalled(server: StockServer, data_dir: Path) -> None:
    """3, 0, 69, 75; a socket that a killed daemon has left is a dead daemon."""
    with trio.fail_after(120):
        data_dir.mkdir(mode=0o700)
        code, answer = await status(data_dir)
        assert (code, answer["health"]) == (3, "dead")
        async with run_daemon_process(server, data_dir) as daemon:
            answer = await becomes(data_dir, 0)
            assert (answer["health"], answer["troubles"]) == ("healthy", [])
            server.refuses_sockets = True
            await server.drop_socket()
            answer = await becomes(data_dir, 69)
            assert answer["health"] == "degraded"
            (trouble,) = answer["troubles"]
            assert trouble.startswith("no session with")
            daemon.process.send_signal(signal.SIGSTOP)
            code, answer = await status(data_dir, "--deadline", "1")
            assert (code, answer["health"]) == (75, "stalled")
            daemon.process.send_signal(signal.SIGCONT)
            await daemon.kill()
        code, answer = await status(data_dir)
        assert (code, answer["health"]) == (3, "dead")


async def test_a_journal_that_cannot_be_written_is_degraded(
    server: StockServer, data_dir: Path
) -> None:
    """Found out by writing, not by hoping."""
    fails = ",".join(f"raise:journal.before_commit#{number}" for number in range(40, 3000))
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ={"BBHOST_FAULT": fails}) as daemon:

            async def is_found_out() -> bool:
                return not (await daemon.control("GET", "/health"))["journalWritable"]

            await daemon.poll(is_found_out)
            code, answer = await status(data_dir, "--deadline", "30")
            assert (code, answer["health"]) == (69, "degraded")
            assert any("journal" in trouble for trouble in answer["troubles"]), answer


async def test_metrics_on_loopback_only_where_asked_for(
    server: StockServer, data_dir: Path
) -> None:
    """Off by default; on, it is behind the same checks as the rest of the local HTTP API."""
    with trio.fail_after(90):
        port = free_port()
        flags = ("--local-port", str(port))
        async with run_daemon_process(server, data_dir, *flags):
            assert (await ask(port, "GET", "/metrics")).status == 404
        async with run_daemon_process(server, data_dir, *flags, "--local-metrics", "true"):
            answer = await ask(port, "GET", "/metrics")
            assert answer.status == 200
            assert b"\nbbhost_loop_lag_seconds " in answer.body
            assert (await ask(port, "POST", "/metrics")).status == 405
            assert (await ask(port, "GET", "/metrics", host="evil.invalid")).status == 403
            foreign = await ask(port, "GET", "/metrics", origin="http://evil.invalid")
            assert foreign.status == 403


async def test_the_log_file_is_rotated(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """So many old files are kept and no more; every line is whole."""
    small = "import bbhost.daemon.logs as logs; logs.ROTATE_BYTES = 2000; logs.ROTATE_FILES = 2\n"
    run = "import sys; from bbhost.daemon.__main__ import main; sys.exit(main(sys.argv[4:]))"
    file = tmp_path / "logs" / "bbhost.log"
    with trio.fail_after(90):
        async with run_daemon_process(
            server,
            data_dir,
            "--log-file",
            str(file),
            "--log-level",
            "debug",
            wrapper=(sys.executable, "-c", small + run),
        ) as daemon:
            await daemon.poll(lambda: len(list(file.parent.iterdir())) == 3 or _reload(daemon))
            for _ in range(5):
                _reload(daemon)
            assert await daemon.terminate() == 0
        names = {path.name for path in file.parent.iterdir()}
        assert names == {"bbhost.log", "bbhost.log.1", "bbhost.log.2"}
        for path in file.parent.iterdir():
            assert path.stat().st_size <= 2000 + 2000
            assert path.stat().st_mode & 0o077 == 0
            for line in path.read_text().splitlines():
                json.loads(line)
    assert logs.ROTATE_FILES > 2


def _reload(daemon: DaemonProcess) -> bool:
    """Make it write a line."""
    daemon.process.send_signal(signal.SIGHUP)
    return False
