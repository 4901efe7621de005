"""The journal: what the daemon must still know after it was killed.

Every method that changes something returns when the change is durable. Methods that return many
rows are read in pages, so that a journal that grew during a long absence of the server does not
have to fit into memory.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import CommandId, EnvironmentId
from bbhost.errors import JournalError
from bbhost.journal import kept_terminals, tables
from bbhost.journal.records import decode_environment, encode_environment
from bbhost.journal.schema import SIZE_LIMIT_BYTES, open_database
from bbhost.journal.values import (
    InboxEntry,
    KeptTerminal,
    OutboxEntry,
    SpooledEvent,
    SpoolSize,
)
from bbhost.journal.writer import Writer, WriterStatistics
from bbhost.processes.records import ProcessRecord

CLOSE_SECONDS = 20.0
"""Wait for the last writes when the journal is closed."""


@asynccontextmanager
async def open_journal(
    path: Path, *, size_limit_bytes: int = SIZE_LIMIT_BYTES
) -> AsyncIterator["Journal"]:
    """Open the journal at ``path``, making it where there is none.

    What is queued when the body ends is written before this returns; cancellation does not shorten
    that (milliseconds).

    Args:
        path: of the file; its directory must exist.
        size_limit_bytes: bound of the file; a write beyond it is refused like on a full disk.

    Raises:
        JournalError: the file cannot be used; it was not changed.
    """
    connection = await trio.to_thread.run_sync(
        lambda: open_database(path, size_limit_bytes=size_limit_bytes)
    )
    writer = Writer(path, connection)
    writer.start()
    try:
        yield Journal(path, writer)
    finally:
        # Shielded: what was accepted is written even when the daemon is being cancelled. The bound
        # is for a disk that hangs; the thread then ends with the process.
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await writer.close()


class Journal:
    """Durable memory of one daemon. Made by :func:`open_journal`."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path = path
        self._writer = writer

    def statistics(self) -> WriterStatistics:
        """How much work was done in how many transactions since the journal was opened."""
        return self._writer.statistics()

    # --- environments -----------------------------------------------------------------------

    async def save_environment(self, record: EnvironmentRecord) -> None:
        """Remember ``record`` in place of what was known of this environment.

        Raises:
            JournalError: not written; or a later incarnation is known already.
        """
        text = encode_environment(record)
        saved = await self._writer.run(
            lambda db: tables.save_environment(db, record.environment_id, record.incarnation, text)
        )
        if not saved:
            raise JournalError(
                f"{record.environment_id}: incarnation {record.incarnation} is older than the "
                "one on record"
            )

    async def environments(self) -> list[EnvironmentRecord]:
        """The latest incarnation of every environment, tombstones included, by id."""
        texts = await self._writer.run(tables.environments)
        return [decode_environment(text) for text in texts]

    async def environment(self, environment_id: EnvironmentId) -> EnvironmentRecord | None:
        """The latest incarnation of one environment."""
        text = await self._writer.run(lambda db: tables.environment(db, environment_id))
        return None if text is None else decode_environment(text)

    async def forget_environment(self, environment_id: EnvironmentId) -> None:
        """Drop the record of an environment. For tombstones that are old enough."""
        await self._writer.run(lambda db: tables.forget_environment(db, environment_id))

    # --- commands and their results ---------------------------------------------------------

    async def accept_commands(self, entries: Sequence[InboxEntry]) -> list[CommandId]:
        """Take fetched commands in, in order.

        Returns:
            The ids that are new. The others are running, or have a result that the server has or
            will get: they must not be run again.
        """
        return await self._writer.run(lambda db: tables.accept_commands(db, entries))

    async def pending_commands(self) -> list[InboxEntry]:
        """Accepted commands without a result, in the order they were accepted."""
        return await self._writer.run(tables.pending_commands)

    async def settle_command(self, command_id: CommandId, report_json: str) -> int:
        """Put the result of a command in the outbox and take the command out of the inbox.

        A command that has a result already keeps it: the first one wins.

        Returns:
            The place of the report in the outbox; 0 where an earlier result won.
        """
        return await self._writer.run(
            lambda db: tables.settle_command(db, command_id, report_json)
        )

    async def outbox(self, limit: int, *, after: int = 0) -> list[OutboxEntry]:
        """At most ``limit`` unacknowledged reports behind place ``after``, oldest first.

        A page ends early, but not before its first report, when it holds
        :data:`tables.PAGE_BYTES` of text.
        """
        return await self._writer.run(lambda db: tables.outbox(db, limit, after))

    async def replace_report(self, seq: int, report_json: str) -> None:
        """Send ``report_json`` in place of a report that the server refuses."""
        await self._writer.run(lambda db: tables.replace_report(db, seq, report_json))

    async def acknowledge(self, *seqs: int) -> None:
        """Drop reports that the server has, or does not want."""
        await self._writer.run(lambda db: tables.acknowledge(db, seqs))

    # --- thread events ----------------------------------------------------------------------

    async def append_events(self, events: Sequence[SpooledEvent]) -> None:
        """Add events behind those that wait. An id that is there already is left as it is."""
        await self._writer.run(lambda db: tables.append_events(db, events))

    async def spooled_events(self, limit: int, *, after: str | None = None) -> list[SpooledEvent]:
        """At most ``limit`` waiting events, oldest first, behind the one with id ``after``.

        A page ends early, but not before its first event, when it holds
        :data:`tables.PAGE_BYTES` of text.
        """
        return await self._writer.run(lambda db: tables.spooled_events(db, limit, after))

    async def drop_events(self, producer_event_ids: Sequence[str]) -> None:
        """Drop events that the server has, or does not want."""
        await self._writer.run(lambda db: tables.drop_events(db, producer_event_ids))

    async def refuse_event(self, producer_event_id: str, reason: str) -> None:
        """Set an event aside that the server refuses for good, so that it blocks no other.

        The last :data:`tables.REFUSED_LIMIT` are kept for diagnosis.
        """
        await self._writer.run(lambda db: tables.refuse_event(db, producer_event_id, reason))

    async def spool_size(self) -> SpoolSize:
        """How much waits in the spool. Counts every row: for start-up, not for every event."""
        return await self._writer.run(tables.spool_size)

    # --- processes --------------------------------------------------------------------------

    async def record_process(self, record: ProcessRecord) -> None:
        """Remember a process that must not outlive its environment."""
        await self._writer.run(lambda db: tables.record_process(db, record))

    async def forget_process(self, pid: int, start_time: int) -> None:
        """Forget a process that has ended."""
        await self._writer.run(lambda db: tables.forget_process(db, pid, start_time))

    async def forget_processes(self, environment_id: EnvironmentId) -> None:
        """Forget all processes of an environment whose boundary is empty."""
        await self._writer.run(lambda db: tables.forget_processes(db, environment_id))

    async def processes(self) -> list[ProcessRecord]:
        """All processes on record."""
        return await self._writer.run(tables.processes)

    # --- terminals that outlive a restart ----------------------------------------------------

    async def keep_terminals(self, terminals: Sequence[KeptTerminal]) -> None:
        """Leave terminals to the next daemon, in place of what was left before."""
        await self._writer.run(lambda db: kept_terminals.keep_terminals(db, terminals))

    async def take_terminals(self) -> list[KeptTerminal]:
        """What the daemon before has left. It is forgotten here: nobody takes it twice."""
        return await self._writer.run(kept_terminals.take_terminals)

    # --- small facts ------------------------------------------------------------------------

    async def get_fact(self, key: str) -> str | None:
        """The fact stored under ``key``."""
        return await self._writer.run(lambda db: tables.get_fact(db, key))

    async def set_fact(self, key: str, value: str | None) -> None:
        """Store a fact; None forgets it."""
        await self._writer.run(lambda db: tables.set_fact(db, key, value))

    async def facts(self, prefix: str) -> dict[str, str]:
        """All facts whose key begins with ``prefix``."""
        return await self._writer.run(lambda db: tables.facts(db, prefix))
