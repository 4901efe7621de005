"""The command queue: pending, fetched, settled. Every function is a step of one transaction.

A command is handed out once, once more if it stays unanswered, and then settled for good. The first
outcome stands; whatever comes later is ignored.
"""

import json
import sqlite3
from collections.abc import Iterable

from attrs import frozen

from bbhost.domain.ids import CommandId, HostId


@frozen
class CommandRecord:
    """One command on its way to a host and back."""

    id: CommandId
    host_id: HostId
    cursor: int
    type: str
    payload: str
    """JSON of the command, with its type."""
    state: str
    """``pending``, ``fetched`` or ``settled``."""
    created_at: int
    fetched_at: int | None
    retry_count: int


@frozen
class Outcome:
    """What became of a command."""

    ok: bool
    result: object = None
    """JSON value of the result, where ``ok``."""
    error_code: str = ""
    error_message: str = ""

    def to_json(self) -> str:
        """Return the form that is stored."""
        if self.ok:
            return json.dumps({"result": self.result}, separators=(",", ":"))
        return json.dumps({"code": self.error_code, "message": self.error_message})


_COLUMNS = "id, host_id, cursor, type, payload, state, created_at, fetched_at, retry_count"


def add_command(
    db: sqlite3.Connection, *, command_id: str, host_id: str, payload: str, kind: str, now: int
) -> int:
    """Queue a command and return its cursor, which only grows."""
    row = db.execute(
        "UPDATE hosts SET last_cursor = last_cursor + 1 WHERE id = ? RETURNING last_cursor",
        (host_id,),
    ).fetchone()
    cursor = int(row[0])
    db.execute(
        "INSERT INTO commands (id, host_id, cursor, type, payload, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (command_id, host_id, cursor, kind, payload, now),
    )
    return cursor


def fetch_commands(
    db: sqlite3.Connection, host_id: str, limit: int, now: int
) -> list[CommandRecord]:
    """Hand out the oldest pending commands; they are not handed out again by this function."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM commands WHERE host_id = ? AND state = 'pending'"  # noqa: S608 - constant columns
        " ORDER BY cursor LIMIT ?",
        (host_id, limit),
    ).fetchall()
    records = [CommandRecord(*row) for row in rows]
    db.executemany(
        "UPDATE commands SET state = 'fetched', fetched_at = ? WHERE id = ?",
        [(now, record.id) for record in records],
    )
    return records


def find_command(db: sqlite3.Connection, command_id: str) -> CommandRecord | None:
    """Return the command, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE id = ?", (command_id,)).fetchone()  # noqa: S608 - constant columns
    return None if row is None else CommandRecord(*row)


def settle_command(db: sqlite3.Connection, command_id: str, outcome: Outcome, now: int) -> bool:
    """Store the outcome unless there is one already.

    A stored result is dropped at once: whoever waits for it gets it from memory, and what it means
    for environments and threads is stored with them.

    Returns:
        Whether this outcome is the one that stands.
    """
    stored = None if outcome.ok else outcome.to_json()
    cursor = db.execute(
        "UPDATE commands SET state = 'settled', settled_at = ?, outcome = ?, payload = ''"
        " WHERE id = ? AND state <> 'settled'",
        (now, stored, command_id),
    )
    return cursor.rowcount == 1


def withdraw_command(db: sqlite3.Connection, command_id: str) -> bool:
    """Take back a command that nobody waits for any more, if it has not been handed out."""
    cursor = db.execute("DELETE FROM commands WHERE id = ? AND state = 'pending'", (command_id,))
    return cursor.rowcount == 1


def overdue_commands(
    db: sqlite3.Connection, *, before: int, provision_before: int
) -> list[CommandRecord]:
    """Return commands fetched before those times and not answered, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM commands WHERE state = 'fetched' AND fetched_at <"  # noqa: S608 - constant columns
        " CASE type WHEN 'environment.provision' THEN ? ELSE ? END ORDER BY fetched_at",
        (provision_before, before),
    )
    return [CommandRecord(*row) for row in rows]


def redeliver_commands(db: sqlite3.Connection, command_ids: Iterable[str]) -> None:
    """Put commands back to pending, to be handed out once more."""
    db.executemany(
        "UPDATE commands SET state = 'pending', fetched_at = NULL, retry_count = retry_count + 1"
        " WHERE id = ? AND state = 'fetched'",
        [(command_id,) for command_id in command_ids],
    )


def forget_settled(db: sqlite3.Connection, before: int) -> None:
    """Forget settled commands older than ``before``."""
    db.execute("DELETE FROM commands WHERE state = 'settled' AND settled_at < ?", (before,))
