"""Writes down which processes were started, so that the next daemon can end what a crash leaves."""

import logging
from collections.abc import Awaitable, Callable, Iterable

import trio

from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.processes.records import ProcessRecord
from bbhost.processes.table import system_table

log = logging.getLogger(__name__)

WAITING_RECORDS = 1_000
"""Records that wait to be written. Beyond it they are left out: the sweep finds processes by their
marker as well."""
GROWTH = 256
"""So many more records than processes live, and those of the dead are forgotten."""


class ProcessJournal:
    """Takes records from the event loop and journals them, in order."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._send, self._receive = trio.open_memory_channel[ProcessRecord](WAITING_RECORDS)
        self._kept: list[ProcessRecord] = []
        self._look_at = GROWTH
        """Number of records kept at which the dead are looked for."""

    def note_started(self, record: ProcessRecord) -> None:
        """Remember a process. Never blocks."""
        try:
            self._send.send_nowait(record)
        except trio.WouldBlock:
            log.warning("too many processes at once to journal them all")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write records until cancelled, and forget those of processes that have ended."""
        task_status.started()
        async for record in self._receive:
            try:
                await self._journal.record_process(record)
                self._kept.append(record)
                if len(self._kept) >= self._look_at:
                    await self._forget_ended()
            except JournalError as error:
                log.warning("a process could not be journalled: %s", error)

    async def forget_all(self) -> None:
        """Forget what earlier daemons started; they have been swept."""
        environments = {record.environment_id for record in await self._journal.processes()}
        await _together(self._journal.forget_processes, [(key,) for key in environments])

    async def _forget_ended(self) -> None:
        """A daemon that runs for weeks starts processes by the thousand; few of them live."""
        kept = self._kept
        alive = await trio.to_thread.run_sync(_alive, kept)
        ended = [(one.pid, one.start_time) for one in kept if one not in alive]
        self._kept = [one for one in kept if one in alive]
        self._look_at = len(self._kept) + GROWTH
        await _together(self._journal.forget_process, ended)


def _alive(records: Iterable[ProcessRecord]) -> frozenset[ProcessRecord]:
    table = system_table()
    found = ((record, table.read_stat(record.pid)) for record in records)
    return frozenset(
        record
        for record, stat in found
        if stat is not None and stat.start_time == record.start_time
    )


async def _together(
    forget: Callable[..., Awaitable[None]], arguments: Iterable[tuple[object, ...]]
) -> None:
    """Side by side, so that they share transactions: each by itself would wait for the disk.

    Raises:
        JournalError: some are still there.
    """
    failed: list[JournalError] = []

    async def one(*args: object) -> None:
        try:
            await forget(*args)
        except JournalError as error:
            failed.append(error)

    async with trio.open_nursery() as forgetting:
        for args in arguments:
            forgetting.start_soon(one, *args)
    if failed:
        raise failed[0]
