"""Threads as the server sees them. Every function is a step of one transaction.

States: ``starting`` until the first turn is accepted, then ``active`` while a turn runs and ``idle``
between turns; ``stopping`` after a stop was asked for; ``error`` after a failure, which the next turn
ends. A deleted thread keeps its row, so that late events of it are recognised.
"""

import sqlite3

from attrs import frozen

from bbhost.contract.session import ThreadTarget
from bbhost.domain.ids import EnvironmentId, HostId, ThreadId

RESTARTED = "host-daemon-restarted"
"""Reason of an interruption after which a daemon's word that a thread is active is not taken."""


@frozen
class ThreadRow:
    """One thread as it is remembered. Times are milliseconds since the epoch."""

    id: ThreadId
    environment_id: EnvironmentId
    host_id: HostId
    project_id: str
    provider_id: str
    title: str | None
    state: str
    provider_thread_id: str | None
    active_turn_id: str | None
    stop_requested: int
    archived: int
    deleted: int
    last_interruption: str | None
    error_code: str | None
    error_message: str | None
    execution: str
    """JSON of the execution options of the latest turn."""
    context: str
    """JSON of what does not change from turn to turn."""
    first_request: str | None
    """JSON of the first turn, until its start was queued."""
    created_at: int
    updated_at: int


_COLUMNS = (
    "id, environment_id, host_id, project_id, provider_id, title, state, provider_thread_id,"
    " active_turn_id, stop_requested, archived, deleted, last_interruption, error_code,"
    " error_message, execution, context, first_request, created_at, updated_at"
)
_CHANGEABLE = frozenset(
    {
        "title", "state", "provider_thread_id", "active_turn_id", "stop_requested", "archived",
        "deleted", "last_interruption", "error_code", "error_message", "execution",
        "first_request",
    }
)  # fmt: skip


def add_thread(db: sqlite3.Connection, row: ThreadRow) -> None:
    """Remember a new thread."""
    places = ", ".join("?" * len(_COLUMNS.split(",")))
    values = [getattr(row, name.strip()) for name in _COLUMNS.split(",")]
    db.execute(f"INSERT INTO threads ({_COLUMNS}) VALUES ({places})", values)  # noqa: S608 - constant columns


def find_thread(db: sqlite3.Connection, thread_id: str) -> ThreadRow | None:
    """Return the thread, deleted or not, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM threads WHERE id = ?", (thread_id,)).fetchone()  # noqa: S608 - constant columns
    return None if row is None else ThreadRow(*row)


def list_threads(
    db: sqlite3.Connection,
    *,
    environment_id: str | None = None,
    host_id: str | None = None,
    include_deleted: bool = False,
) -> list[ThreadRow]:
    """Return threads, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM threads WHERE (? IS NULL OR environment_id = ?)"  # noqa: S608 - constant columns
        " AND (? IS NULL OR host_id = ?) AND (? OR NOT deleted) ORDER BY created_at, id",
        (environment_id, environment_id, host_id, host_id, include_deleted),
    )
    return [ThreadRow(*row) for row in rows]


def change_thread(
    db: sqlite3.Connection, thread_id: str, now: int, **changes: str | int | None
) -> None:
    """Change columns of a thread."""
    assert changes.keys() <= _CHANGEABLE
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(
        f"UPDATE threads SET {names}, updated_at = ? WHERE id = ?",  # noqa: S608 - names checked above
        (*changes.values(), now, thread_id),
    )


def tracked_threads(db: sqlite3.Connection, host_id: str) -> tuple[ThreadTarget, ...]:
    """Return the threads of a host whose storage is to be watched."""
    rows = db.execute(
        "SELECT threads.environment_id, threads.id FROM threads"
        " JOIN environments ON environments.id = threads.environment_id"
        " WHERE threads.host_id = ? AND NOT threads.deleted AND NOT threads.archived"
        " AND environments.state <> 'destroyed' ORDER BY threads.created_at, threads.id",
        (host_id,),
    )
    return tuple(ThreadTarget(EnvironmentId(row[0]), ThreadId(row[1])) for row in rows)
