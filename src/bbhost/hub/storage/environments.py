"""Environments as the server sees them. Every function is a step of one transaction.

    provisioning -> ready | error        by the outcome of environment.provision
    any but destroyed -> destroying      by a request
    destroying -> destroyed | ready      by the outcome of environment.destroy

A failed destroy goes back to ``ready`` with the time of the next attempt; what failed is kept and
shown. An outcome that arrives in any other state changes nothing.
"""

import json
import sqlite3

from attrs import frozen

from bbhost.domain.ids import EnvironmentId, HostId
from bbhost.hub.api.environments import ServerState


@frozen
class EnvironmentRow:
    """One environment as it is remembered. Times are milliseconds since the epoch."""

    id: EnvironmentId
    host_id: HostId
    name: str
    kind: str
    state: ServerState
    spec: str
    """JSON of the workspace's specification, as in the provision command."""
    workspace_path: str
    discovered: str | None
    """JSON of what the daemon found there."""
    provisioning_id: str
    progress_thread_id: str
    """Stands in for a thread in provisioning events of an environment that no thread asked for."""
    error_code: str | None
    error_message: str | None
    destroy_attempts: int
    destroy_again_at: int | None
    created_at: int
    updated_at: int


_COLUMNS = (
    "id, host_id, name, kind, state, spec, workspace_path, discovered, provisioning_id,"
    " progress_thread_id, error_code, error_message, destroy_attempts, destroy_again_at,"
    " created_at, updated_at"
)


def _row(values: sqlite3.Row) -> EnvironmentRow:
    fields = list(values)
    fields[4] = ServerState(fields[4])
    return EnvironmentRow(*fields)


def add_environment(db: sqlite3.Connection, row: EnvironmentRow) -> None:
    """Remember a new environment."""
    db.execute(
        f"INSERT INTO environments ({_COLUMNS})"  # noqa: S608 - constant columns
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.id, row.host_id, row.name, row.kind, row.state.value, row.spec,
            row.workspace_path, row.discovered, row.provisioning_id, row.progress_thread_id,
            row.error_code, row.error_message, row.destroy_attempts, row.destroy_again_at,
            row.created_at, row.updated_at,
        ),
    )  # fmt: skip


def find_environment(db: sqlite3.Connection, environment_id: str) -> EnvironmentRow | None:
    """Return the environment, or None."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM environments WHERE id = ?",  # noqa: S608 - constant columns
        (environment_id,),
    ).fetchone()
    return None if row is None else _row(row)


def find_by_progress_thread(db: sqlite3.Connection, thread_id: str) -> EnvironmentRow | None:
    """Return the environment whose provisioning reports under ``thread_id``, or None."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM environments WHERE progress_thread_id = ?",  # noqa: S608 - constant columns
        (thread_id,),
    ).fetchone()
    return None if row is None else _row(row)


def list_environments(
    db: sqlite3.Connection, *, host_id: str | None, include_destroyed: bool
) -> list[EnvironmentRow]:
    """Return environments, oldest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM environments"  # noqa: S608 - constant columns
        " WHERE (? IS NULL OR host_id = ?) AND (? OR state <> 'destroyed')"
        " ORDER BY created_at, id",
        (host_id, host_id, include_destroyed),
    )
    return [_row(row) for row in rows]


def is_name_taken(db: sqlite3.Connection, name: str) -> bool:
    """Whether an environment that is not destroyed has this name, on whatever host."""
    found = db.execute(
        "SELECT 1 FROM environments WHERE name = ? AND state <> 'destroyed' LIMIT 1", (name,)
    )
    return found.fetchone() is not None


def live_environment_ids(db: sqlite3.Connection, host_id: str) -> list[EnvironmentId]:
    """Return the ids of all environments of a host that are not destroyed."""
    rows = db.execute(
        "SELECT id FROM environments WHERE host_id = ? AND state <> 'destroyed'"
        " ORDER BY created_at, id",
        (host_id,),
    )
    return [EnvironmentId(row[0]) for row in rows]


def begin_provisioning(
    db: sqlite3.Connection, environment_id: str, *, provisioning_id: str, spec: str, now: int
) -> None:
    """Begin (again) to provision an environment; what an earlier attempt left is cleared."""
    db.execute(
        "UPDATE environments SET state = 'provisioning', provisioning_id = ?, spec = ?,"
        " error_code = NULL, error_message = NULL, destroy_attempts = 0, destroy_again_at = NULL,"
        " updated_at = ? WHERE id = ?",
        (provisioning_id, spec, now, environment_id),
    )


def note_provisioned(
    db: sqlite3.Connection, environment_id: str, *, discovered: str, now: int
) -> bool:
    """Mark a provisioning environment ready. False where it is in another state by now."""
    cursor = db.execute(
        "UPDATE environments SET state = 'ready', discovered = ?, updated_at = ?"
        " WHERE id = ? AND state = 'provisioning'",
        (discovered, now, environment_id),
    )
    return cursor.rowcount == 1


def note_provision_failed(
    db: sqlite3.Connection, environment_id: str, *, code: str, message: str, now: int
) -> bool:
    """Mark a provisioning environment failed. False where it is in another state by now."""
    cursor = db.execute(
        "UPDATE environments SET state = 'error', error_code = ?, error_message = ?,"
        " updated_at = ? WHERE id = ? AND state = 'provisioning'",
        (code, message, now, environment_id),
    )
    return cursor.rowcount == 1


def begin_destroying(db: sqlite3.Connection, environment_id: str, now: int) -> bool:
    """Mark an environment as being destroyed. False where it is or was already."""
    cursor = db.execute(
        "UPDATE environments SET state = 'destroying', destroy_again_at = NULL, updated_at = ?"
        " WHERE id = ? AND state NOT IN ('destroying', 'destroyed')",
        (now, environment_id),
    )
    return cursor.rowcount == 1


def note_destroyed(db: sqlite3.Connection, environment_id: str, now: int) -> bool:
    """Mark an environment destroyed. False where it was not being destroyed."""
    cursor = db.execute(
        "UPDATE environments SET state = 'destroyed', error_code = NULL, error_message = NULL,"
        " destroy_again_at = NULL, updated_at = ? WHERE id = ? AND state = 'destroying'",
        (now, environment_id),
    )
    return cursor.rowcount == 1


def note_destroy_failed(
    db: sqlite3.Connection,
    environment_id: str,
    *,
    code: str,
    message: str,
    again_at: int,
    now: int,
) -> bool:
    """Put an environment whose destroy failed back to ready, to be tried again at ``again_at``."""
    cursor = db.execute(
        "UPDATE environments SET state = 'ready', error_code = ?, error_message = ?,"
        " destroy_attempts = destroy_attempts + 1, destroy_again_at = ?, updated_at = ?"
        " WHERE id = ? AND state = 'destroying'",
        (code, message, again_at, now, environment_id),
    )
    return cursor.rowcount == 1


def due_destroys(db: sqlite3.Connection, now: int) -> list[EnvironmentRow]:
    """Return ready environments whose failed destroy is due to be tried again."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM environments"  # noqa: S608 - constant columns
        " WHERE destroy_again_at <= ? AND state = 'ready'",
        (now,),
    )
    return [_row(row) for row in rows]


def add_transcript(
    db: sqlite3.Connection, environment_id: str, provisioning_id: str, entries: list[object]
) -> None:
    """Append entries to the transcript of one provisioning."""
    first = db.execute(
        "SELECT count(*) FROM transcript_entries WHERE environment_id = ? AND provisioning_id = ?",
        (environment_id, provisioning_id),
    ).fetchone()[0]
    db.executemany(
        "INSERT INTO transcript_entries VALUES (?, ?, ?, ?)",
        [
            (environment_id, provisioning_id, first + index, json.dumps(entry))
            for index, entry in enumerate(entries)
        ],
    )


def transcript(db: sqlite3.Connection, environment_id: str, provisioning_id: str) -> list[object]:
    """Return the transcript of one provisioning, in order, as JSON values."""
    rows = db.execute(
        "SELECT entry FROM transcript_entries WHERE environment_id = ? AND provisioning_id = ?"
        " ORDER BY number",
        (environment_id, provisioning_id),
    )
    return [json.loads(row[0]) for row in rows]
