"""Hosts and the keys that let them in. Every function is a step of one transaction."""

import sqlite3

from attrs import frozen

from bbhost.domain.ids import HostId
from bbhost.hub.keys import key_hash


@frozen
class HostRecord:
    """One host as it is remembered. Times are milliseconds since the epoch."""

    id: HostId
    name: str
    type: str
    data_dir: str | None
    """None until the host has opened a session."""
    last_instance_id: str | None
    last_seen_at: int | None
    created_at: int
    updated_at: int


_COLUMNS = "id, name, type, data_dir, last_instance_id, last_seen_at, created_at, updated_at"


def find_host(db: sqlite3.Connection, host_id: str) -> HostRecord | None:
    """Return the host, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM hosts WHERE id = ?", (host_id,)).fetchone()  # noqa: S608 - constant columns
    return None if row is None else HostRecord(*row)


def list_hosts(db: sqlite3.Connection) -> list[HostRecord]:
    """Return all hosts, oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM hosts ORDER BY created_at, id")  # noqa: S608 - constant columns
    return [HostRecord(*row) for row in rows]


def add_enroll_key(
    db: sqlite3.Connection, *, host_id: str, host_type: str, key: str, expires_at: int, now: int
) -> None:
    """Remember a new enroll key; the host is made where missing, its older enroll keys are spent."""
    db.execute(
        "INSERT INTO hosts (id, name, type, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT(id) DO NOTHING",
        (host_id, f"pending-{host_id[-8:]}", host_type, now, now),
    )
    db.execute("UPDATE enroll_keys SET spent = 1 WHERE host_id = ?", (host_id,))
    db.execute(
        "INSERT INTO enroll_keys (key_hash, host_id, host_type, expires_at) VALUES (?, ?, ?, ?)",
        (key_hash(key), host_id, host_type, expires_at),
    )


def cancel_join(db: sqlite3.Connection, host_id: str) -> bool:
    """Spend the enroll keys of a host; delete a host that never opened a session.

    Returns:
        Whether the host was known.
    """
    host = find_host(db, host_id)
    if host is None:
        return False
    db.execute("UPDATE enroll_keys SET spent = 1 WHERE host_id = ?", (host_id,))
    if host.data_dir is None:
        db.execute("DELETE FROM hosts WHERE id = ?", (host_id,))
    return True


def enroll_host(
    db: sqlite3.Connection,
    *,
    enroll_key: str,
    host_id: str,
    host_name: str,
    host_type: str,
    host_key: str,
    now: int,
) -> bool:
    """Trade an enroll key for ``host_key``; the host's older keys stop working.

    Returns:
        False where the enroll key is unknown, spent, expired or of another host; nothing changed.
    """
    cursor = db.execute(
        "UPDATE enroll_keys SET spent = 1 WHERE key_hash = ? AND host_id = ? AND host_type = ?"
        " AND spent = 0 AND expires_at > ?",
        (key_hash(enroll_key), host_id, host_type, now),
    )
    if cursor.rowcount != 1:
        return False
    db.execute("UPDATE host_keys SET disabled = 1 WHERE host_id = ?", (host_id,))
    db.execute(
        "INSERT INTO host_keys (key_hash, host_id) VALUES (?, ?)", (key_hash(host_key), host_id)
    )
    db.execute("UPDATE hosts SET name = ?, updated_at = ? WHERE id = ?", (host_name, now, host_id))
    return True


def authenticate_host(db: sqlite3.Connection, host_key: str) -> HostRecord | None:
    """Return the host that ``host_key`` belongs to, or None.

    The look-up is by hash: how long it takes says nothing about any key that exists.
    """
    row = db.execute(
        "SELECT host_id FROM host_keys WHERE key_hash = ? AND disabled = 0", (key_hash(host_key),)
    ).fetchone()
    return None if row is None else find_host(db, row["host_id"])


def note_session(
    db: sqlite3.Connection,
    host_id: str,
    *,
    name: str,
    data_dir: str,
    instance_id: str,
    now: int,
) -> None:
    """Remember what a host says of itself as it opens a session."""
    db.execute(
        "UPDATE hosts SET name = ?, data_dir = ?, last_instance_id = ?, last_seen_at = ?,"
        " updated_at = ? WHERE id = ?",
        (name, data_dir, instance_id, now, now, host_id),
    )


def note_seen(db: sqlite3.Connection, host_id: str, now: int) -> None:
    """Remember when a host was last heard."""
    db.execute("UPDATE hosts SET last_seen_at = ? WHERE id = ?", (now, host_id))
