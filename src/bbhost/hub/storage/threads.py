"""Threads as the server sees them. Every function is a step of one transaction."""

import sqlite3

from bbhost.contract.session import ThreadTarget
from bbhost.domain.ids import EnvironmentId, ThreadId


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
