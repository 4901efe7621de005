"""What is done to the journal's tables, as plain functions that run in the journal's thread.

Each function is one piece of work: it runs whole or not at all.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation, ThreadId
from bbhost.journal.values import (
    InboxEntry,
    OutboxEntry,
    SpooledEvent,
    SpoolSize,
)
from bbhost.processes.records import ProcessRecord

SETTLED_LIMIT = 10_000
"""Ids of finished commands that are remembered, to know them when they are delivered again. The
server hands a command out a second time after one to twenty minutes; this many take hours."""
REFUSED_LIMIT = 1_000
"""Refused events that are kept for diagnosis; the oldest go first."""
PAGE_BYTES = 4 * 1024**2
"""A page of rows ends when it holds this much text."""

# --- environments ---------------------------------------------------------------------------


def save_environment(
    db: sqlite3.Connection, environment_id: EnvironmentId, incarnation: Incarnation, text: str
) -> bool:
    cursor = db.execute(
        "INSERT INTO environments VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
        "SET incarnation = excluded.incarnation, record = excluded.record "
        "WHERE excluded.incarnation >= incarnation",
        (environment_id, incarnation, text),
    )
    return cursor.rowcount == 1


def environments(db: sqlite3.Connection) -> list[str]:
    return [text for (text,) in db.execute("SELECT record FROM environments")]


def environment(db: sqlite3.Connection, environment_id: EnvironmentId) -> str | None:
    row = db.execute(
        "SELECT record FROM environments WHERE environment_id = ?", (environment_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def forget_environment(db: sqlite3.Connection, environment_id: EnvironmentId) -> None:
    db.execute("DELETE FROM environments WHERE environment_id = ?", (environment_id,))


# --- inbox and outbox -----------------------------------------------------------------------


def accept_commands(db: sqlite3.Connection, entries: Sequence[InboxEntry]) -> list[CommandId]:
    new: list[CommandId] = []
    for entry in entries:
        known = db.execute(
            "SELECT 1 FROM settled WHERE command_id = :id UNION ALL "
            "SELECT 1 FROM outbox WHERE command_id = :id UNION ALL "
            "SELECT 1 FROM inbox WHERE command_id = :id LIMIT 1",
            {"id": entry.command_id},
        ).fetchone()
        if known is None:
            db.execute(
                "INSERT INTO inbox (command_id, cursor, payload) VALUES (?, ?, ?)",
                (entry.command_id, entry.cursor, entry.payload_json),
            )
            new.append(entry.command_id)
    return new


def pending_commands(db: sqlite3.Connection) -> list[InboxEntry]:
    rows = db.execute("SELECT command_id, cursor, payload FROM inbox ORDER BY seq")
    return [InboxEntry(CommandId(command), cursor, text) for command, cursor, text in rows]


def settle_command(db: sqlite3.Connection, command_id: CommandId, report: str) -> int:
    db.execute("DELETE FROM inbox WHERE command_id = ?", (command_id,))
    marked = db.execute("INSERT OR IGNORE INTO settled (command_id) VALUES (?)", (command_id,))
    added = db.execute(
        "INSERT OR IGNORE INTO outbox (command_id, report) SELECT ?, ? WHERE ?",
        (command_id, report, marked.rowcount),
    )
    db.execute(
        "DELETE FROM settled WHERE seq <= (SELECT max(seq) FROM settled) - ?", (SETTLED_LIMIT,)
    )
    return int(added.lastrowid or 0) if added.rowcount == 1 else 0


def outbox(db: sqlite3.Connection, limit: int, after: int) -> list[OutboxEntry]:
    rows = db.execute(
        "SELECT seq, command_id, report FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    page: list[OutboxEntry] = []
    size = 0
    for seq, command_id, report in rows:
        page.append(OutboxEntry(seq, CommandId(command_id), report))
        size += len(report)
        if size >= PAGE_BYTES:
            break
    return page


def replace_report(db: sqlite3.Connection, seq: int, report: str) -> None:
    db.execute("UPDATE outbox SET report = ? WHERE seq = ?", (report, seq))


def acknowledge(db: sqlite3.Connection, seqs: Iterable[int]) -> None:
    db.executemany("DELETE FROM outbox WHERE seq = ?", ((seq,) for seq in seqs))


# --- event spool ----------------------------------------------------------------------------


def append_events(db: sqlite3.Connection, events: Sequence[SpooledEvent]) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO spool (producer_event_id, thread_id, event) VALUES (?, ?, ?)",
        ((event.producer_event_id, event.thread_id, event.event_json) for event in events),
    )
    for event in events:
        for key, value in event.facts:
            set_fact(db, key, value)


def spooled_events(db: sqlite3.Connection, limit: int, after: str | None) -> list[SpooledEvent]:
    rows = db.execute(
        "SELECT producer_event_id, thread_id, event FROM spool WHERE seq > "
        "coalesce((SELECT seq FROM spool WHERE producer_event_id = ?), 0) ORDER BY seq LIMIT ?",
        (after, limit),
    )
    page: list[SpooledEvent] = []
    size = 0
    for event_id, thread_id, text in rows:
        page.append(SpooledEvent(event_id, ThreadId(thread_id), text))
        size += len(text)
        if size >= PAGE_BYTES:
            break
    return page


def drop_events(db: sqlite3.Connection, event_ids: Sequence[str]) -> None:
    db.executemany(
        "DELETE FROM spool WHERE producer_event_id = ?", ((event_id,) for event_id in event_ids)
    )


def refuse_event(db: sqlite3.Connection, event_id: str, reason: str) -> None:
    db.execute(
        "INSERT INTO refused_events (producer_event_id, thread_id, event, reason) "
        "SELECT producer_event_id, thread_id, event, ? FROM spool WHERE producer_event_id = ?",
        (reason, event_id),
    )
    db.execute("DELETE FROM spool WHERE producer_event_id = ?", (event_id,))
    db.execute(
        "DELETE FROM refused_events WHERE seq <= (SELECT max(seq) FROM refused_events) - ?",
        (REFUSED_LIMIT,),
    )


def spool_size(db: sqlite3.Connection) -> SpoolSize:
    events, size = db.execute(
        "SELECT count(*), coalesce(sum(length(event)), 0) FROM spool"
    ).fetchone()
    return SpoolSize(events, size)


# --- processes ------------------------------------------------------------------------------


def record_process(db: sqlite3.Connection, record: ProcessRecord) -> None:
    db.execute(
        "INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?, ?)",
        (
            record.pid,
            record.start_time,
            record.environment_id,
            record.incarnation,
            record.boot_id,
            record.marker,
        ),
    )


def forget_process(db: sqlite3.Connection, pid: int, start_time: int) -> None:
    db.execute("DELETE FROM processes WHERE pid = ? AND start_time = ?", (pid, start_time))


def forget_processes(db: sqlite3.Connection, environment_id: EnvironmentId) -> None:
    db.execute("DELETE FROM processes WHERE environment_id = ?", (environment_id,))


def processes(db: sqlite3.Connection) -> list[ProcessRecord]:
    rows = db.execute(
        "SELECT environment_id, incarnation, pid, start_time, boot_id, marker FROM processes"
    )
    return [
        ProcessRecord(EnvironmentId(environment_id), Incarnation(number), *rest)
        for environment_id, number, *rest in rows
    ]


# --- facts ----------------------------------------------------------------------------------


def get_fact(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def set_fact(db: sqlite3.Connection, key: str, value: str | None) -> None:
    if value is None:
        db.execute("DELETE FROM facts WHERE key = ?", (key,))
    else:
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))


def facts(db: sqlite3.Connection, prefix: str) -> dict[str, str]:
    rows = db.execute(
        "SELECT key, value FROM facts WHERE substr(key, 1, length(?)) = ?", (prefix, prefix)
    )
    return dict(rows.fetchall())
