"""What apps of threads wrote, and what people uploaded. Every function is a step of one transaction."""

import json
import sqlite3

from attrs import frozen

from bbhost.hub.api.threads import AppDataEntry


@frozen
class AttachmentRow:
    """One uploaded file; its bytes are in a file of its id."""

    id: str
    project_id: str
    name: str
    mime_type: str
    size_bytes: int
    created_at: int


def put_app_data(db: sqlite3.Connection, thread_id: str, entry: AppDataEntry) -> None:
    """Remember the latest value at a path; a deletion is remembered as one."""
    db.execute(
        "INSERT INTO app_data VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id, app_id, path)"
        " DO UPDATE SET value = excluded.value, version = excluded.version,"
        " updated_at = excluded.updated_at",
        (
            thread_id, entry.app_id, entry.path, json.dumps(entry.value), entry.version,
            entry.updated_at,
        ),
    )  # fmt: skip


def list_app_data(db: sqlite3.Connection, thread_id: str) -> list[AppDataEntry]:
    """Return all values of a thread's apps, by app and path."""
    rows = db.execute(
        "SELECT app_id, path, value, version, updated_at FROM app_data WHERE thread_id = ?"
        " ORDER BY app_id, path",
        (thread_id,),
    )
    return [AppDataEntry(row[0], row[1], json.loads(row[2]), row[3], row[4]) for row in rows]


def forget_app_data(db: sqlite3.Connection, thread_id: str) -> None:
    """Forget all values of a thread's apps."""
    db.execute("DELETE FROM app_data WHERE thread_id = ?", (thread_id,))


def add_attachment(db: sqlite3.Connection, row: AttachmentRow) -> None:
    """Remember an upload."""
    db.execute(
        "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?)",
        (row.id, row.project_id, row.name, row.mime_type, row.size_bytes, row.created_at),
    )


def find_attachment(
    db: sqlite3.Connection, project_id: str, attachment_id: str
) -> AttachmentRow | None:
    """Return an upload of a project, or None."""
    row = db.execute(
        "SELECT * FROM attachments WHERE id = ? AND project_id = ?", (attachment_id, project_id)
    ).fetchone()
    return None if row is None else AttachmentRow(*row)
