"""Records of processes: kept while the process lives, and not much longer."""

import os
import subprocess
from pathlib import Path

import pytest
import trio

from bbhost.daemon.process_journal import PRUNE_EVERY, ProcessJournal
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.journal.journal import open_journal
from bbhost.processes.proc import boot_id, read_stat
from bbhost.processes.records import ProcessRecord


def record(pid: int, start_time: int) -> ProcessRecord:
    return ProcessRecord(EnvironmentId("env_1"), Incarnation(1), pid, start_time, boot_id(), "m")


@pytest.mark.slow
async def test_the_table_is_bounded_by_what_lives(tmp_path: Path) -> None:
    """Of many processes that came and went no record stays; of those that live every one does."""
    child = subprocess.Popen(["sleep", "60"])
    stat, own = read_stat(child.pid), read_stat(os.getpid())
    assert stat is not None
    assert own is not None
    try:
        async with open_journal(tmp_path / "journal") as journal, trio.open_nursery() as nursery:
            processes = ProcessJournal(journal)
            await nursery.start(processes.run)
            processes.note_started(record(child.pid, stat.identity.start_time))
            for number in range(2 * PRUNE_EVERY - 1):
                # The same pid at other times: pids are used again, and this one is alive.
                processes.note_started(record(os.getpid(), own.identity.start_time + 1 + number))
            with trio.fail_after(20):
                while len(await journal.processes()) != 1:  # noqa: ASYNC110 - the table tells nobody
                    await trio.sleep(0.01)
            (left,) = await journal.processes()
            assert left.pid == child.pid
            await processes.forget_all()
            assert await journal.processes() == []
            nursery.cancel_scope.cancel()
    finally:
        child.kill()
        child.wait()
