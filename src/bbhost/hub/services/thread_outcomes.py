"""What the daemon's answers to thread commands do to threads."""

import json
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bbhost.contract.commands import InteractiveResolve, ThreadStart, ThreadStop
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.interactions import settle_resolution
from bbhost.hub.services.queue import Settler
from bbhost.hub.services.thread_values import change
from bbhost.hub.services.threads import queue_start
from bbhost.hub.storage import threads as table
from bbhost.hub.storage.commands import CommandRecord, Outcome
from bbhost.hub.storage.threads import ThreadRow


def thread_settlers() -> Mapping[str, Settler]:
    """Return what settles the commands of threads."""
    return MappingProxyType(
        {
            ThreadStart.TYPE: _started,
            ThreadStop.TYPE: _stopped,
            InteractiveResolve.TYPE: settle_resolution,
        }
    )


def _row(db: sqlite3.Connection, record: CommandRecord) -> ThreadRow | None:
    row = table.find_thread(db, json.loads(record.payload)["threadId"])
    return None if row is None or row.deleted else row


def _started(
    db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
) -> None:
    row = _row(db, record)
    if row is None:
        return
    if outcome.ok:
        result: Any = outcome.result
        changes: dict[str, str | None] = {"provider_thread_id": result["providerThreadId"]}
        if row.state == "starting":
            # The events of the turn, which tell more, are on their way.
            changes["state"] = "active"
        change(db, after, row.id, **changes)
    elif row.state in {"starting", "stopping"}:
        change(
            db,
            after,
            row.id,
            state="error",
            stop_requested=0,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
        )


def _stopped(
    db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
) -> None:
    """A stop that failed found nothing to stop, or a daemon that is gone: both end the turn here."""
    del outcome
    row = _row(db, record)
    if row is not None and row.stop_requested:
        change(db, after, row.id, state="idle", stop_requested=0, active_turn_id=None)


def environment_became_ready(
    db: sqlite3.Connection, after: Aftermath, environment_id: str
) -> None:
    """Queue the threads that waited for an environment."""
    for row in table.list_threads(db, environment_id=environment_id):
        if row.first_request is not None:
            queue_start(db, after, row)


def environment_is_gone(
    db: sqlite3.Connection, after: Aftermath, environment_id: str, code: str, message: str
) -> None:
    """Fail the threads that wait for, or work in, an environment that failed or is destroyed."""
    for row in table.list_threads(db, environment_id=environment_id):
        if row.state in {"starting", "active", "stopping"}:
            change(
                db,
                after,
                row.id,
                state="error",
                stop_requested=0,
                active_turn_id=None,
                first_request=None,
                error_code=code,
                error_message=message,
            )
