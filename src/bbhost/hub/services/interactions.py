"""Questions of agents: asked by a daemon, shown to people, answered through a command."""

import json
import sqlite3
from typing import cast

from bbhost.contract.codec import encode_json, structure
from bbhost.contract.commands import InteractiveResolve
from bbhost.contract.ids import new_id
from bbhost.contract.interactions import Resolution
from bbhost.contract.session import (
    InteractionRegistered,
    InteractionRejected,
    InteractiveInterrupt,
    InteractiveResponse,
    PendingInteraction,
)
from bbhost.contract.session import InteractionStatus as Status
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.hub.api.notifications import InteractionChanged
from bbhost.hub.api.threads import Interaction, InteractionList, InteractionStatus
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, not_found
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.queue import queue_command
from bbhost.hub.services.thread_values import require_thread, require_thread_of_host
from bbhost.hub.storage import events as event_table
from bbhost.hub.storage import interactions as table
from bbhost.hub.storage.commands import CommandRecord, Outcome
from bbhost.hub.storage.interactions import InteractionRow
from bbhost.hub.text import storable

MOOT = frozenset({"stale_interactive_request", "interactive_request_mismatch"})
"""Codes after which the question is not open any more."""


def public_interaction(row: InteractionRow) -> Interaction:
    """Return a question as the public API shows it."""
    return Interaction(
        id=row.id,
        thread_id=row.thread_id,
        turn_id=row.turn_id,
        provider_id=row.provider_id,
        status=cast("InteractionStatus", row.status),
        payload=json.loads(row.payload),
        resolution=None if row.resolution is None else json.loads(row.resolution),
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def tell(db: sqlite3.Connection, after: Aftermath, interaction_id: str) -> Interaction:
    """Announce how a question stands now, and return it."""
    row = table.find_interaction(db, interaction_id)
    assert row is not None
    shown = public_interaction(row)
    after.tell(InteractionChanged(shown))
    return shown


def interrupt(db: sqlite3.Connection, after: Aftermath, row: InteractionRow, reason: str) -> None:
    """End a question that nobody can answer any more."""
    table.change_interaction(
        db,
        row.id,
        status="interrupted",
        now=now_ms(),
        resolution=row.resolution,
        reason=storable(reason),
    )
    tell(db, after, row.id)


def settle_resolution(
    db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
) -> None:
    """Take the daemon's answer to a resolution."""
    row = table.find_by_command(db, record.id)
    if row is None or row.status != "resolving":
        return
    if outcome.ok:
        status, reason, resolution = "resolved", None, row.resolution
    elif outcome.error_code in MOOT:
        status, reason, resolution = "interrupted", outcome.error_message, row.resolution
    else:
        status, reason, resolution = "pending", outcome.error_message, None
    table.change_interaction(
        db, row.id, status=status, now=now_ms(), resolution=resolution, reason=reason
    )
    tell(db, after, row.id)


class Interactions:
    """Registers, shows and resolves questions."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # --- the daemon's side ------------------------------------------------------------------

    async def register(
        self, host_id: str, session_id: str, asked: PendingInteraction
    ) -> InteractiveResponse:
        """Register a question, or find it registered; from then on it is the session's.

        Raises:
            ApiError: 404, 403; 503 its turn's beginning is not stored yet, so try again.
        """

        def step(db: sqlite3.Connection, after: Aftermath) -> InteractiveResponse:
            thread = require_thread_of_host(db, asked.thread_id, host_id)
            key = (
                asked.thread_id, asked.provider_id, asked.provider_thread_id,
                asked.provider_request_id,
            )  # fmt: skip
            known = table.find_by_request(db, key)
            if known is not None:
                # The daemon has come back and still waits: the end of the old session is not its end.
                table.move_to_session(db, known.id, session_id)
                return InteractionRegistered("existing", known.id, Status(known.status))
            if not event_table.turn_started(db, asked.thread_id, asked.turn_id):
                raise ApiError(
                    503, "turn_start_not_ready", "The turn is not known yet", retryable=True
                )
            if thread.stop_requested:
                return InteractionRejected("The thread is being stopped")
            now = now_ms()
            row = InteractionRow(
                id=new_id("pint"),
                thread_id=asked.thread_id,
                turn_id=asked.turn_id,
                provider_id=asked.provider_id,
                provider_thread_id=asked.provider_thread_id,
                provider_request_id=asked.provider_request_id,
                session_id=session_id,
                status="pending",
                payload=encode_json(asked.payload),
                resolution=None,
                reason=None,
                command_id=None,
                created_at=now,
                updated_at=now,
            )
            table.add_interaction(db, row)
            tell(db, after, row.id)
            return InteractionRegistered("created", row.id, Status.PENDING)

        return await self._core.transact(step)

    async def interrupt(self, host_id: str, request: InteractiveInterrupt) -> tuple[str, ...]:
        """End the open questions of a provider that is gone; unknown threads are skipped."""

        def step(db: sqlite3.Connection, after: Aftermath) -> tuple[str, ...]:
            ended: list[str] = []
            for thread_id in request.thread_ids:
                try:
                    require_thread_of_host(db, thread_id, host_id)
                except ApiError:
                    continue
                for row in table.list_interactions(db, thread_id=thread_id, open_only=True):
                    if row.provider_id == request.provider_id:
                        interrupt(db, after, row, request.reason)
                        ended.append(row.id)
            return tuple(ended)

        return await self._core.transact(step)

    def abandoned(self, db: sqlite3.Connection, after: Aftermath, session_id: str) -> None:
        """End the open questions of a session that is over."""
        for row in table.open_of_session(db, session_id):
            interrupt(db, after, row, "The daemon that asked is gone")

    # --- the public's side ------------------------------------------------------------------

    async def list(self, thread_id: str | None, *, open_only: bool) -> InteractionList:
        """Return questions, oldest first."""

        def work(db: sqlite3.Connection) -> InteractionList:
            if thread_id is not None:
                require_thread(db, thread_id)
            rows = table.list_interactions(db, thread_id=thread_id, open_only=open_only)
            return InteractionList(tuple(public_interaction(row) for row in rows))

        return await self._core.read(work)

    async def resolve(self, interaction_id: str, resolution: object) -> Interaction:
        """Send a person's answer to the daemon.

        Raises:
            WireError: it is no resolution.
            ApiError: 404; 409 the question is not pending any more.
        """
        answer: Resolution = structure(Resolution, resolution)

        def step(db: sqlite3.Connection, after: Aftermath) -> Interaction:
            row = table.find_interaction(db, interaction_id)
            if row is None:
                raise not_found("interaction", interaction_id)
            if row.status != "pending":
                raise ApiError(409, "interaction_not_pending", f"The question is {row.status}")
            thread = require_thread(db, row.thread_id)
            command = InteractiveResolve(
                environment_id=EnvironmentId(thread.environment_id),
                thread_id=ThreadId(row.thread_id),
                interaction_id=row.id,
                provider_id=row.provider_id,
                provider_thread_id=row.provider_thread_id,
                provider_request_id=row.provider_request_id,
                resolution=answer,
            )
            command_id = queue_command(db, after, thread.host_id, command)
            table.change_interaction(
                db,
                row.id,
                status="resolving",
                now=now_ms(),
                resolution=json.dumps(resolution),
                command_id=command_id,
            )
            return tell(db, after, row.id)

        return await self._core.transact(step)
