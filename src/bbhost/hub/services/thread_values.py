"""Threads as the public sees them, and what every service about threads needs."""

import sqlite3
from typing import cast

from bbhost.hub.api.environments import Fault
from bbhost.hub.api.notifications import ThreadChanged
from bbhost.hub.api.threads import Thread, ThreadState
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import invalid_request, not_found
from bbhost.hub.services.core import Aftermath
from bbhost.hub.storage import events as event_table
from bbhost.hub.storage import threads as table
from bbhost.hub.storage.threads import ThreadRow
from bbhost.hub.text import storable


def public_thread(db: sqlite3.Connection, row: ThreadRow) -> Thread:
    """Return a thread as the public API shows it."""
    fault = None
    if row.error_code is not None:
        fault = Fault(row.error_code, row.error_message or row.error_code)
    return Thread(
        id=row.id,
        environment_id=row.environment_id,
        host_id=row.host_id,
        project_id=row.project_id,
        provider_id=row.provider_id,
        title=row.title,
        state=cast("ThreadState", row.state),
        provider_thread_id=row.provider_thread_id,
        active_turn_id=row.active_turn_id,
        archived=bool(row.archived),
        error=fault,
        last_sequence=event_table.last_sequence(db, row.id),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def require_thread(db: sqlite3.Connection, thread_id: str) -> ThreadRow:
    """Return a thread that is not deleted.

    Raises:
        ApiError: 404.
    """
    row = table.find_thread(db, thread_id)
    if row is None or row.deleted:
        raise not_found("thread", thread_id)
    return row


def require_thread_of_host(db: sqlite3.Connection, thread_id: str, host_id: str) -> ThreadRow:
    """Return a thread of a host that is not deleted.

    Raises:
        ApiError: 404 unknown, 403 another host's.
    """
    row = require_thread(db, thread_id)
    if row.host_id != host_id:
        raise invalid_request("The thread belongs to another host", 403)
    return row


def change(
    db: sqlite3.Connection, after: Aftermath, thread_id: str, **changes: str | int | None
) -> Thread:
    """Change a thread, announce it, and return it."""
    for name in ("title", "error_code", "error_message"):
        value = changes.get(name)
        if isinstance(value, str):
            changes[name] = storable(value)
    table.change_thread(db, thread_id, now_ms(), **changes)
    row = table.find_thread(db, thread_id)
    assert row is not None
    shown = public_thread(db, row)
    if not row.deleted:
        after.tell(ThreadChanged(shown))
    return shown
