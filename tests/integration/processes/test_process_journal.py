"""What the journal keeps of the processes that were started."""

from pathlib import Path
from typing import cast

import pytest
import trio
from attrs import define, field

from bbhost.daemon import process_journal
from bbhost.daemon.process_journal import ProcessJournal
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.journal.journal import Journal, open_journal
from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.records import ProcessRecord
from bbhost.toolkit.value import AsyncValue

ONE = EnvironmentId("env_one")


def record(pid: int) -> ProcessRecord:
    return ProcessRecord(ONE, Incarnation(1), pid, 1, "boot", "marker")


@define(eq=False)
class Kept:
    """A journal's processes, and how many were ever recorded."""

    records: dict[tuple[int, int], ProcessRecord] = field(factory=dict)
    recorded: AsyncValue[int] = field(factory=lambda: AsyncValue(0))

    async def record_process(self, record: ProcessRecord) -> None:
        await trio.lowlevel.checkpoint()
        self.records[record.pid, record.start_time] = record
        self.recorded.value += 1

    async def forget_process(self, pid: int, start_time: int) -> None:
        await trio.lowlevel.checkpoint()
        del self.records[pid, start_time]


async def test_the_dead_are_forgotten(tmp_path: Path) -> None:
    """A daemon that runs for weeks keeps records of what lives, and not of all it ever started."""
    kept = Kept()
    processes = ProcessJournal(cast("Journal", kept))
    keeper = ProcessKeeper(tmp_path, use_cgroup=False, on_started=processes.note_started)
    boundary = keeper.open_boundary(ONE, Incarnation(1))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(processes.run)
            child = await boundary.open_process(["sleep", "60"], cwd=tmp_path)
            ended = 2 * process_journal.GROWTH + 20
            for number in range(ended):
                processes.note_started(record(40_000_000 + number))
            await kept.recorded.wait_value(lambda recorded: recorded == ended + 1)
            nursery.cancel_scope.cancel()
        await boundary.end(0.1)
        await child.wait()
    assert child.pid in {one.pid for one in kept.records.values()}
    assert len(kept.records) <= process_journal.GROWTH


@pytest.mark.slow
async def test_all_are_forgotten_in_few_transactions(tmp_path: Path) -> None:
    """The next daemon does not wait for the disk once for every process of the last one."""
    async with open_journal(tmp_path / "journal.sqlite") as journal:
        for pid in range(100):
            await journal.record_process(record(pid + 1))
        before = journal.statistics().transactions
        await ProcessJournal(journal).forget_all()
        assert await journal.processes() == []
        assert journal.statistics().transactions - before <= 5
