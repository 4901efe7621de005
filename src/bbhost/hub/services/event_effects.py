"""What an event that was stored changes: the state of its thread, a transcript, open questions."""

import sqlite3

from bbhost.contract.codec import unstructure
from bbhost.contract.events import (
    SystemErrorEvent,
    ThreadEvent,
    ThreadIdentity,
    ThreadNameUpdated,
    ThreadProvisioning,
    TurnCompleted,
    TurnStarted,
)
from bbhost.hub.api.notifications import ProvisioningProgress
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.interactions import interrupt
from bbhost.hub.services.thread_values import change
from bbhost.hub.storage import environments as environment_table
from bbhost.hub.storage import interactions as interaction_table
from bbhost.hub.storage import threads as thread_table
from bbhost.hub.storage.threads import ThreadRow

PROVIDER_EXITED = "provider_process_exited"


def apply_event(
    db: sqlite3.Connection, after: Aftermath, owner: ThreadRow, event: ThreadEvent
) -> None:
    """Change the thread as its new event tells."""
    # Earlier events of the same batch may have changed it since it was looked up.
    thread = thread_table.find_thread(db, owner.id) or owner
    match event:
        case TurnStarted(scope=scope):
            _turn_started(db, after, thread, scope.turn_id)
        case TurnCompleted():
            _turn_completed(db, after, thread, event)
        case SystemErrorEvent(code=code, message=message) if code == PROVIDER_EXITED:
            change(
                db, after, thread.id,
                state="error", active_turn_id=None, error_code=code, error_message=message,
            )  # fmt: skip
        case ThreadNameUpdated(thread_name=name):
            change(db, after, thread.id, title=name.removeprefix("[bb] "))
        case ThreadIdentity(provider_thread_id=provider_thread_id):
            change(db, after, thread.id, provider_thread_id=provider_thread_id)
        case _:
            pass


def _turn_started(
    db: sqlite3.Connection, after: Aftermath, thread: ThreadRow, turn_id: str
) -> None:
    state = thread.state if thread.stop_requested else "active"
    change(
        db, after, thread.id,
        state=state, active_turn_id=turn_id, last_interruption=None,
        error_code=None, error_message=None,
    )  # fmt: skip


def _turn_completed(
    db: sqlite3.Connection, after: Aftermath, thread: ThreadRow, event: TurnCompleted
) -> None:
    turn_id = event.scope.turn_id
    for row in interaction_table.open_of_turn(db, thread.id, turn_id):
        interrupt(db, after, row, "The turn has ended")
    if thread.active_turn_id not in {None, turn_id}:
        return  # another turn runs by now
    failed = event.status == "failed"
    message = event.error.message if event.error is not None else "The turn failed"
    change(
        db, after, thread.id,
        state="error" if failed else "idle",
        active_turn_id=None,
        error_code="turn_failed" if failed else None,
        error_message=message if failed else None,
    )  # fmt: skip


def apply_progress(
    db: sqlite3.Connection, after: Aftermath, event: ThreadEvent, host_id: str
) -> None:
    """Add the entries of a provisioning event to its environment's transcript."""
    if not isinstance(event, ThreadProvisioning):
        return
    row = environment_table.find_environment(db, event.environment_id)
    if row is None or row.host_id != host_id or row.provisioning_id != event.provisioning_id:
        return
    entries = [unstructure(entry) for entry in event.entries]
    environment_table.add_transcript(db, row.id, row.provisioning_id, entries)
    after.tell(ProvisioningProgress(row.id, row.provisioning_id, tuple(entries)))
