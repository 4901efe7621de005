"""Writes down which processes were started, so that the next daemon can end what a crash leaves."""

import logging

import trio

from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.processes.records import ProcessRecord

log = logging.getLogger(__name__)

WAITING_RECORDS = 1_000
"""Records that wait to be written. Beyond it they are left out: the sweep finds processes by their
marker as well."""


class ProcessJournal:
    """Takes records from the event loop and journals them, in order."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._send, self._receive = trio.open_memory_channel[ProcessRecord](WAITING_RECORDS)

    def note_started(self, record: ProcessRecord) -> None:
        """Remember a process. Never blocks."""
        try:
            self._send.send_nowait(record)
        except trio.WouldBlock:
            log.warning("too many processes at once to journal them all")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write records until cancelled."""
        task_status.started()
        async for record in self._receive:
            try:
                await self._journal.record_process(record)
            except JournalError as error:
                log.warning("a process could not be journalled: %s", error)

    async def forget_all(self) -> None:
        """Forget what earlier daemons started; they have been swept."""
        for record in await self._journal.processes():
            await self._journal.forget_process(record.pid, record.start_time)
