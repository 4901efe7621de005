"""Threads at session open: what a daemon says is running against what is remembered (section 21)."""

import sqlite3

from bbhost.contract.commands import ThreadStop
from bbhost.contract.session import SessionOpenRequest
from bbhost.hub.api.notifications import ThreadEventsAppended
from bbhost.hub.clock import now_ms
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.interactions import Interactions
from bbhost.hub.services.queue import queue_command
from bbhost.hub.services.thread_values import change
from bbhost.hub.storage import events as event_table
from bbhost.hub.storage import threads as table
from bbhost.hub.storage.events import NewEvent
from bbhost.hub.storage.hosts import HostRecord
from bbhost.hub.storage.threads import RESTARTED, ThreadRow

RECONNECTED = "host-daemon-reconnected"


class ThreadReconciler:
    """Compares, and puts right, when a daemon opens a session."""

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions

    def opening(
        self,
        db: sqlite3.Connection,
        after: Aftermath,
        host: HostRecord,
        request: SessionOpenRequest,
    ) -> None:
        """Put every thread of the host into the state that follows from the daemon's list."""
        active = {one.thread_id for one in request.active_threads}
        restarted = host.last_instance_id != request.instance_id
        for row in table.list_threads(db, host_id=host.id, include_deleted=True):
            if row.id in active:
                _listed(db, after, row)
            else:
                _not_listed(db, after, row, RESTARTED if restarted else RECONNECTED)

    def abandoned(self, db: sqlite3.Connection, after: Aftermath, session_id: str) -> None:
        """End the questions of a session that is over."""
        self._interactions.abandoned(db, after, session_id)


def _listed(db: sqlite3.Connection, after: Aftermath, row: ThreadRow) -> None:
    if row.deleted or row.stop_requested:
        queue_command(db, after, row.host_id, ThreadStop(row.environment_id, row.id))
    elif row.state == "error":
        change(db, after, row.id, state="active", error_code=None, error_message=None)
    elif row.state in {"starting", "idle"} and row.last_interruption != RESTARTED:
        change(db, after, row.id, state="active")


def _not_listed(db: sqlite3.Connection, after: Aftermath, row: ThreadRow, reason: str) -> None:
    if row.deleted:
        return
    if row.stop_requested:
        change(db, after, row.id, state="idle", stop_requested=0, active_turn_id=None)
    elif row.state == "active":
        event = {
            "type": "system/thread/interrupted",
            "threadId": row.id,
            "scope": {"kind": "thread"},
            "reason": reason,
        }
        new = NewEvent(row.id, "system/thread/interrupted", None, event)
        sequence = event_table.append_event(db, new, now_ms())
        after.appended_threads.add(row.id)
        after.tell(ThreadEventsAppended(row.id, sequence))
        change(db, after, row.id, state="idle", active_turn_id=None, last_interruption=reason)
