"""What the daemon's answers to provision and destroy do to environments."""

import json
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bbhost.contract.commands import EnvironmentDestroy, EnvironmentProvision
from bbhost.hub.clock import now_ms
from bbhost.hub.config import HubTimings
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.environments import tell_state
from bbhost.hub.services.queue import Settler
from bbhost.hub.services.thread_outcomes import environment_became_ready, environment_is_gone
from bbhost.hub.storage import environments as table
from bbhost.hub.storage.commands import CommandRecord, Outcome


def environment_settlers(timings: HubTimings) -> Mapping[str, Settler]:
    """Return what settles the commands of environments."""

    def provisioned(
        db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
    ) -> None:
        command = json.loads(record.payload)
        if outcome.ok:
            _note_provisioned(db, after, command, outcome)
        else:
            _note_provision_failed(db, after, command, outcome)

    def destroyed(
        db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
    ) -> None:
        environment_id = json.loads(record.payload)["environmentId"]
        if outcome.ok:
            changed = table.note_destroyed(db, environment_id, now_ms())
            if changed:
                environment_is_gone(
                    db, after, environment_id, "environment_destroyed",
                    "The environment is destroyed",
                )  # fmt: skip
        else:
            changed = _note_destroy_failed(db, environment_id, outcome, timings)
        if changed:
            tell_state(db, after, environment_id)

    return MappingProxyType(
        {EnvironmentProvision.TYPE: provisioned, EnvironmentDestroy.TYPE: destroyed}
    )


def _is_current(db: sqlite3.Connection, command: dict[str, Any]) -> bool:
    """Whether ``command`` is the latest provisioning of its environment."""
    row = table.find_environment(db, command["environmentId"])
    return row is not None and row.provisioning_id == command["initiator"]["provisioningId"]


def _note_provisioned(
    db: sqlite3.Connection, after: Aftermath, command: dict[str, Any], outcome: Outcome
) -> None:
    environment_id = command["environmentId"]
    result: Any = outcome.result
    entries = result.pop("transcript")
    if not _is_current(db, command):
        return
    provisioning_id = command["initiator"]["provisioningId"]
    if not table.transcript(db, environment_id, provisioning_id):
        # Streamed entries are the same and came first; a daemon need not have streamed any.
        table.add_transcript(db, environment_id, provisioning_id, entries)
    discovered = json.dumps(result)
    if table.note_provisioned(db, environment_id, discovered=discovered, now=now_ms()):
        tell_state(db, after, environment_id)
        environment_became_ready(db, after, environment_id)


def _note_provision_failed(
    db: sqlite3.Connection, after: Aftermath, command: dict[str, Any], outcome: Outcome
) -> None:
    environment_id = command["environmentId"]
    if _is_current(db, command) and table.note_provision_failed(
        db,
        environment_id,
        code=outcome.error_code,
        message=outcome.error_message,
        now=now_ms(),
    ):
        tell_state(db, after, environment_id)
        environment_is_gone(db, after, environment_id, outcome.error_code, outcome.error_message)


def _note_destroy_failed(
    db: sqlite3.Connection, environment_id: str, outcome: Outcome, timings: HubTimings
) -> bool:
    row = table.find_environment(db, environment_id)
    if row is None:
        return False
    now = now_ms()
    wait = min(
        timings.destroy_retry_seconds * 2 ** min(row.destroy_attempts, 16),
        timings.destroy_retry_longest_seconds,
    )
    return table.note_destroy_failed(
        db,
        environment_id,
        code=outcome.error_code,
        message=outcome.error_message,
        again_at=now + int(wait * 1000),
        now=now,
    )
