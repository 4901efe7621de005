"""Events from daemons: stored once, in order, all of a batch or nothing (wire contract, section 9)."""

import hashlib
import json
import sqlite3
from typing import Any

from bbhost.contract.codec import structure
from bbhost.contract.events import TurnScope
from bbhost.contract.session import (
    AcceptedEvent,
    EventBatch,
    EventBatchResponse,
    EventEnvelope,
    RejectedEvent,
)
from bbhost.contract.version import PROTOCOL_VERSION
from bbhost.hub.api.notifications import ThreadEventsAppended
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, invalid_request
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.event_effects import apply_event, apply_progress
from bbhost.hub.storage import environments as environment_table
from bbhost.hub.storage import events as table
from bbhost.hub.storage import threads as thread_table
from bbhost.hub.storage.environments import EnvironmentRow
from bbhost.hub.storage.events import NewEvent
from bbhost.hub.storage.threads import ThreadRow

NOT_OWNED = "thread_not_owned_by_host"


def payload_hash(event: object) -> str:
    """Return the hash by which a repeated event is recognised as the same."""
    canonical = json.dumps([PROTOCOL_VERSION, event], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class EventIntake:
    """Stores batches of events."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def take(self, host_id: str, data: Any) -> EventBatchResponse:  # noqa: ANN401 - JSON
        """Store a batch, synced to disk before it is acknowledged.

        Args:
            data: the JSON value of the batch; events are stored as they came.

        Raises:
            WireError: an event does not follow the contract.
            ApiError: 409, an id repeats with another payload, or a turn's event precedes its turn.
        """
        batch = structure(EventBatch, data)
        raw = [one["event"] for one in data["events"]]

        def step(db: sqlite3.Connection, after: Aftermath) -> EventBatchResponse:
            accepted: list[AcceptedEvent] = []
            rejected: list[RejectedEvent] = []
            for envelope, event in zip(batch.events, raw, strict=True):
                sequence = _take_one(db, after, host_id, envelope, event)
                one = (envelope.producer_event_id, envelope.thread_id)
                if sequence is None:
                    rejected.append(RejectedEvent(*one, NOT_OWNED))
                else:
                    accepted.append(AcceptedEvent(*one, sequence))
            for thread_id in after.appended_threads:
                last = table.last_sequence(db, thread_id)
                after.tell(ThreadEventsAppended(thread_id, last))
            return EventBatchResponse(tuple(accepted), tuple(rejected))

        return await self._core.transact(step, durable=True)


def _take_one(
    db: sqlite3.Connection,
    after: Aftermath,
    host_id: str,
    envelope: EventEnvelope,
    raw: object,
) -> int | None:
    """Store one event and return its number; None where the thread is not this host's."""
    owner = _owner(db, envelope.thread_id, host_id)
    if owner is None:
        return None
    digest = payload_hash(raw)
    known = table.find_known(db, envelope.producer_event_id)
    if known is not None:
        if known.payload_hash != digest:
            raise ApiError(
                409,
                "producer_event_payload_mismatch",
                f"{envelope.producer_event_id} was sent before with another payload",
            )
        return known.sequence
    event = envelope.event
    turn_id = event.scope.turn_id if isinstance(event.scope, TurnScope) else None
    if turn_id is not None and event.TYPE != "turn/started":
        require_turn(db, envelope.thread_id, turn_id, event.TYPE)
    sequence = table.append_event(
        db,
        NewEvent(
            thread_id=envelope.thread_id,
            type=event.TYPE,
            turn_id=turn_id,
            event=raw,
            producer_event_id=envelope.producer_event_id,
            payload_hash=digest,
        ),
        now_ms(),
    )
    after.appended_threads.add(envelope.thread_id)
    if isinstance(owner, ThreadRow):
        apply_event(db, after, owner, event)
    apply_progress(db, after, event, host_id)
    return sequence


def require_turn(db: sqlite3.Connection, thread_id: str, turn_id: str, what: str) -> None:
    """Refuse what belongs to a turn whose beginning is not stored.

    Raises:
        ApiError: 409.
    """
    if not table.turn_started(db, thread_id, turn_id):
        raise invalid_request(f"Cannot append {what} before turn/started is stored", 409)


def _owner(
    db: sqlite3.Connection, thread_id: str, host_id: str
) -> ThreadRow | EnvironmentRow | None:
    """Return the thread, or the environment whose provisioning reports as one, if it is the host's."""
    thread = thread_table.find_thread(db, thread_id)
    if thread is not None:
        return thread if thread.host_id == host_id and not thread.deleted else None
    environment = environment_table.find_by_progress_thread(db, thread_id)
    if environment is not None and environment.host_id == host_id:
        return environment
    return None
