"""The journal over the simulated disk: durable when it returns, not interruptible once it writes.

It keeps the promises of ``bbhost.journal``: one writer, in the order of the calls; a call is cancelled
before it writes or not at all; what was refused has left no trace.
"""

from collections.abc import Sequence
from typing import TypeVar

import trio

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import CommandId, EnvironmentId
from bbhost.errors import JournalError
from bbhost.journal.values import InboxEntry, OutboxEntry
from tests.simulation.disk import Rows
from tests.simulation.life import Life

T = TypeVar("T")


class SimJournal:
    """The part of ``Journal`` that environments and commands use."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._order = trio.Lock()

    @property
    def _rows(self) -> Rows:
        return self._life.host.disk.rows

    async def save_environment(self, record: EnvironmentRecord) -> None:
        subject = f"{record.environment_id}.{record.incarnation} {record.state}"
        self._life.host.laws.asked_to_save(record)
        async with self._order:
            await self._life.seam("journal.save", subject)
            before = self._rows.environments.get(record.environment_id)
            if before is not None and before.incarnation > record.incarnation:
                raise JournalError("a later incarnation is on record")
            with trio.CancelScope(shield=True):
                await self._life.beat("journal.write", subject)
                self._life.host.disk.sync()
                self._rows.environments[record.environment_id] = record
                self._life.host.laws.saved(before, record)
                await self._life.beat("journal.written", subject)

    async def forget_environment(self, environment_id: EnvironmentId) -> None:
        async with self._order:
            await self._life.seam("journal.forget", environment_id)
            with trio.CancelScope(shield=True):
                await self._life.beat("journal.write", f"{environment_id} forgotten")
                self._life.host.laws.forgotten(self._rows.environments.pop(environment_id))
                self._life.host.disk.sync()
                await self._life.beat("journal.written", f"{environment_id} forgotten")

    async def accept_commands(self, entries: Sequence[InboxEntry]) -> list[CommandId]:
        await self._life.seam("journal.accept", "")
        rows = self._rows
        new = []
        for entry in entries:
            if entry.command_id not in rows.inbox and entry.command_id not in rows.settled:
                rows.inbox[entry.command_id] = entry
                new.append(entry.command_id)
        self._life.host.disk.sync()
        return new

    async def pending_commands(self) -> list[InboxEntry]:
        await self._life.beat("journal.read", "")
        return list(self._rows.inbox.values())

    async def settle_command(self, command_id: CommandId, report_json: str) -> int:
        await self._life.seam("journal.settle", command_id)
        rows = self._rows
        if command_id in rows.settled:
            return 0
        entry = rows.inbox.pop(command_id)
        rows.settled[command_id] = report_json
        seq, rows.next_seq = rows.next_seq, rows.next_seq + 1
        rows.outbox[seq] = OutboxEntry(seq, command_id, report_json)
        self._life.host.disk.sync()
        self._life.host.laws.settled(entry, report_json)
        with trio.CancelScope(shield=True):
            await self._life.beat("journal.settled", command_id)
        return seq

    async def outbox(self, limit: int, *, after: int = 0) -> list[OutboxEntry]:
        await self._life.beat("journal.read", "")
        return [entry for seq, entry in self._rows.outbox.items() if seq > after][:limit]

    async def acknowledge(self, *seqs: int) -> None:
        await self._life.seam("journal.acknowledge", "")
        for seq in seqs:
            self._rows.outbox.pop(seq, None)
        self._life.host.disk.sync()
