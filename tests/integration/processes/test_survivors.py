"""Whatever a process does to outlive its environment, it is gone when the boundary has been ended."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from bbhost.processes.boundary import GRACE_SECONDS, Boundary
from bbhost.processes.child import run_child
from bbhost.processes.keeper import ProcessKeeper
from tests.integration.processes.conftest import Token, read_lines
from tests.integration.processes.survivors import NAMES, survivor_argv

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
END_SECONDS = 2.0
IGNORES_TERM = {"ignores_term", "supervisor", "many", "stopped_orphan_that_ignores_term"}


async def _start(boundary: Boundary, name: str, token: Token, cwd: Path) -> list[bytes]:
    child = await boundary.open_process(
        survivor_argv(name, sys.executable, token.text), cwd=cwd, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with trio.fail_after(10):
        lines = await read_lines(child.stdout, 1)
    child.close_streams()
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
async def test_nothing_survives_the_end(
    name: str, rounds: int, keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """Time after time, none is left, within two seconds, and each was told TERM first."""
    for round_number in range(rounds):
        boundary = keeper.open_boundary("env", round_number)
        await _start(boundary, name, token, tmp_path)
        # Whoever ignores TERM uses up the grace: once the default one, then a short one.
        grace = 0.05 if name in IGNORES_TERM and round_number else GRACE_SECONDS
        started = time.monotonic()
        with trio.fail_after(10):
            report = await boundary.end(grace)
        assert time.monotonic() - started < END_SECONDS
        assert token.alive() == []
        assert report.survivors == ()
        assert report.ended != ()
        assert boundary.processes() == []
    assert keeper.statistics().boundaries == 0
    assert keeper.statistics().children == 0


@pytest.mark.slow
async def test_all_survivors_together(keeper: ProcessKeeper, token: Token, tmp_path: Path):
    """A boundary that holds every kind at once is ended as well, and its neighbour is not touched."""
    bystanding = Token()
    neighbour = keeper.open_boundary("neighbour", 1)
    for name in ("cleared_environment", "setsid_nohup", "double_fork"):
        (line,) = await _start(neighbour, name, bystanding, tmp_path)
        bystanding.pids.add(int(line.split()[1]))
    boundary = keeper.open_boundary("env", 1)
    for name in NAMES:
        await _start(boundary, name, token, tmp_path)
    started = time.monotonic()
    with trio.fail_after(10):
        await boundary.end(0.3)
    assert time.monotonic() - started < END_SECONDS
    assert token.alive() == []
    assert bystanding.pids <= set(bystanding.alive())
    await neighbour.end()
    assert bystanding.alive() == []


async def test_the_port_of_a_server_is_free_after_the_end(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """A server that left its session does not keep its port."""
    boundary = keeper.open_boundary("env", 1)
    (line,) = await _start(boundary, "server", token, tmp_path)
    port = int(line.split()[1])
    await boundary.end()
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_what_a_hook_left_running_belongs_to_the_boundary(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """A background process of a finished hook lives on until the boundary ends."""
    boundary = keeper.open_boundary("env", 1)
    script = "setsid bash -c 'sleep 300; :' \"$1\" >/dev/null 2>&1 & echo done"
    argv = ["bash", "-c", script, "bash", token.text]
    completed = await run_child(argv, cwd=tmp_path, boundary=boundary)
    assert completed.stdout == b"done\n"
    assert token.alive() != []
    report = await boundary.end()
    assert len(report.ended) >= 1
    assert token.alive() == []
