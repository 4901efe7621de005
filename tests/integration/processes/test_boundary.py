"""A boundary's ordinary life: started, listed, closed, counted."""

import subprocess
from pathlib import Path

import pytest
import trio

from bbhost.errors import BoundaryClosedError
from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.records import ProcessRecord
from tests.integration.processes.conftest import Token


async def test_processes_are_listed_and_counted(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """processes() names exactly the living ones of this boundary."""
    one, two = keeper.open_boundary("one", 1), keeper.open_boundary("two", 1)
    argv = ["bash", "-c", "sleep 300; :", token.text]
    child = await one.open_process(argv, cwd=tmp_path)
    await two.open_process(argv, cwd=tmp_path)
    assert child.pid in {process.pid for process in one.processes()}
    assert not {p.pid for p in one.processes()} & {p.pid for p in two.processes()}
    assert keeper.statistics().boundaries == 2
    assert keeper.statistics().children == 2
    ended = len((await one.end()).ended) + len((await two.end()).ended)
    statistics = keeper.statistics()
    assert (statistics.boundaries, statistics.children) == (0, 0)
    assert (statistics.ended, statistics.survivors) == (ended, 0)


async def test_an_unused_boundary_costs_nothing_to_end(keeper: ProcessKeeper):
    """No walk, no wait."""
    boundary = keeper.open_boundary("env", 1)
    report = await boundary.end()
    assert report.ended == ()
    assert boundary.processes() == []


async def test_nothing_starts_after_the_end(keeper: ProcessKeeper, tmp_path: Path):
    """A late start is refused with an error that the server understands."""
    boundary = keeper.open_boundary("env", 1)
    await boundary.end()
    with pytest.raises(BoundaryClosedError) as caught:
        await boundary.open_process(["true"], cwd=tmp_path)
    assert caught.value.code == "environment_destroyed"


async def test_a_start_during_the_end_is_refused_or_ended(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """There is no gap between the last look and the closing of the door."""
    boundary = keeper.open_boundary("env", 1)
    refused = 0

    async def start() -> None:
        nonlocal refused
        try:
            await boundary.open_process(["bash", "-c", "sleep 300; :", token.text], cwd=tmp_path)
        except BoundaryClosedError:
            refused += 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(start)
            nursery.start_soon(boundary.end)
    assert token.alive() == []
    assert 0 <= refused <= 10


async def test_a_cancelled_end_can_be_finished_later(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """Cancelled in its grace, the boundary stays closed and known, and the next end completes it."""
    boundary = keeper.open_boundary("env", 1)
    child = await boundary.open_process(
        ["bash", "-c", "trap '' TERM; echo; while :; do sleep 1; done", token.text],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    await child.stdout.receive_some(1)
    with trio.move_on_after(0.05) as scope:
        await boundary.end(10)
    assert scope.cancelled_caught
    assert keeper.statistics().boundaries == 1
    with pytest.raises(BoundaryClosedError):
        await boundary.open_process(["true"], cwd=tmp_path)
    report = await boundary.end(0)
    assert child.pid in {process.pid for process in report.ended}
    assert child.returncode is not None
    child.close_streams()


async def test_starts_are_reported_for_the_journal(tmp_path: Path, use_cgroup: bool):
    """Each start yields a record that names the process for good."""
    records: list[ProcessRecord] = []
    keeper = ProcessKeeper(tmp_path, use_cgroup=use_cgroup, on_started=records.append)
    boundary = keeper.open_boundary("env", 4)
    child = await boundary.open_process(["sleep", "300"], cwd=tmp_path)
    (record,) = records
    assert (record.environment_id, record.incarnation, record.pid) == ("env", 4, child.pid)
    assert record.marker == str(boundary.marker)
    assert record.start_time > 0
    await boundary.end()
