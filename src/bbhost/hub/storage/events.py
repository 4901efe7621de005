"""Events of threads, numbered from 1 in each. Every function is a step of one transaction."""

import json
import sqlite3

from attrs import frozen


@frozen
class NewEvent:
    """An event about to be stored."""

    thread_id: str
    type: str
    turn_id: str | None
    """The turn of its scope; None for the whole thread."""
    event: object
    """Its JSON value, as it came."""
    producer_event_id: str | None = None
    """Unique over all events; None for those the server writes."""
    payload_hash: str | None = None


@frozen
class KnownEvent:
    """What is remembered of a producer's event."""

    sequence: int
    payload_hash: str | None


def find_known(db: sqlite3.Connection, producer_event_id: str) -> KnownEvent | None:
    """Return what is stored under a producer's id, or None."""
    row = db.execute(
        "SELECT sequence, payload_hash FROM events WHERE producer_event_id = ?",
        (producer_event_id,),
    ).fetchone()
    return None if row is None else KnownEvent(*row)


def turn_started(db: sqlite3.Connection, thread_id: str, turn_id: str) -> bool:
    """Whether the beginning of a turn is stored."""
    row = db.execute(
        "SELECT 1 FROM events WHERE thread_id = ? AND type = 'turn/started' AND turn_id = ?",
        (thread_id, turn_id),
    ).fetchone()
    return row is not None


def last_sequence(db: sqlite3.Connection, thread_id: str) -> int:
    """Return the number of the newest event, 0 where there is none."""
    row = db.execute(
        "SELECT max(sequence) FROM events WHERE thread_id = ?", (thread_id,)
    ).fetchone()
    return int(row[0] or 0)


def append_event(db: sqlite3.Connection, new: NewEvent, now: int) -> int:
    """Store an event and return its number."""
    sequence = last_sequence(db, new.thread_id) + 1
    db.execute(
        "INSERT INTO events (thread_id, sequence, producer_event_id, payload_hash, type, turn_id,"
        " event, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.thread_id, sequence, new.producer_event_id, new.payload_hash, new.type,
            new.turn_id, json.dumps(new.event, separators=(",", ":")), now,
        ),
    )  # fmt: skip
    return sequence


def list_events(
    db: sqlite3.Connection, thread_id: str, after: int, limit: int
) -> list[tuple[int, int, object]]:
    """Return (number, time, event) of the events after ``after``, oldest first."""
    rows = db.execute(
        "SELECT sequence, created_at, event FROM events WHERE thread_id = ? AND sequence > ?"
        " ORDER BY sequence LIMIT ?",
        (thread_id, after, limit),
    )
    return [(row[0], row[1], json.loads(row[2])) for row in rows]


def forget_events(db: sqlite3.Connection, thread_id: str) -> None:
    """Forget all events of a thread."""
    db.execute("DELETE FROM events WHERE thread_id = ?", (thread_id,))
