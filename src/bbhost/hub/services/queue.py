"""Commands on their way to daemons: queueing, handing out, waiting, giving up.

A step (``queue_command``, ``settle``) is part of somebody's transaction; :class:`CommandQueue` is
what routes and the sweeper use.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from operator import ne

import trio

from bbhost.contract.codec import encode_json, structure, unstructure
from bbhost.contract.ids import new_id
from bbhost.contract.session import CommandFailure, CommandSuccess
from bbhost.contract.table import COMMANDS
from bbhost.contract.wire import shape_of
from bbhost.domain.ids import CommandId, HostId
from bbhost.errors import WireError
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, host_disconnected, invalid_request, not_found
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.storage import commands as table
from bbhost.hub.storage.commands import CommandRecord, Outcome
from bbhost.hub.text import storable

Settler = Callable[[sqlite3.Connection, Aftermath, CommandRecord, Outcome], None]
"""What the outcome of a kind of command means; a step of the transaction that settles it."""

COMMAND_EXPIRED = "command_expired"
WITHDRAW_SECONDS = 2.0


def queue_command(
    db: sqlite3.Connection,
    after: Aftermath,
    host_id: str,
    command: object,
    *,
    command_id: str | None = None,
) -> CommandId:
    """Queue a command for a host; its daemon gets a hint once this is committed."""
    chosen = CommandId(command_id or new_id("hcmd"))
    table.add_command(
        db,
        command_id=chosen,
        host_id=host_id,
        payload=encode_json(command),
        kind=str(shape_of(type(command)).tag),
        now=now_ms(),
    )
    after.hinted_hosts.add(host_id)
    return chosen


class CommandQueue:
    """The queue of every host.

    Args:
        settlers: by command type; types without one concern nobody but the waiting request.
    """

    def __init__(self, core: Core, settlers: Mapping[str, Settler]) -> None:
        self._core = core
        self._settlers = settlers

    # --- asking a daemon --------------------------------------------------------------------

    async def ask(self, host_id: str, command: object) -> object:
        """Send a command to a connected daemon and return the JSON value of its result.

        Raises:
            ApiError: 503 the daemon is not connected; 504 it did not answer in time; 502 with the
                daemon's code, it answered with an error.

        Cancellation: a command that was not handed out yet is withdrawn.
        """
        if self._core.sessions.of_host(host_id) is None:
            raise host_disconnected(host_id)
        command_id = new_id("hcmd")
        with self._core.waiters.expect(command_id) as answer:
            try:
                await self._core.transact(
                    lambda db, after: queue_command(
                        db, after, host_id, command, command_id=command_id
                    )
                )
                with trio.move_on_after(self._core.config.timings.request_seconds):
                    await answer.arrived.wait()
            finally:
                if answer.outcome is None:
                    # Nobody waits any more; a daemon that comes back later should not be kept
                    # busy by it. A few milliseconds of SQLite.
                    with trio.move_on_after(WITHDRAW_SECONDS, shield=True):
                        await self._core.database.run(
                            lambda db: table.withdraw_command(db, command_id)
                        )
        if answer.outcome is None:
            raise ApiError(
                504, "command_timeout", "The daemon did not answer in time", retryable=True
            )
        return _result_or_raise(answer.outcome)

    # --- the daemon's side ------------------------------------------------------------------

    async def fetch(self, host_id: str, limit: int, wait_seconds: float) -> list[CommandRecord]:
        """Hand out pending commands, waiting up to ``wait_seconds`` for the first.

        Cancellation: safe while waiting; once handed out, a lost answer is made good by redelivery.
        """
        deadline = trio.current_time() + wait_seconds
        with self._core.waiters.watch_commands(host_id) as queued:
            while True:
                seen = queued.value
                records = await self._core.database.run(
                    lambda db: table.fetch_commands(db, host_id, limit, now_ms())
                )
                remaining = deadline - trio.current_time()
                if records or remaining <= 0:
                    return records
                with trio.move_on_after(remaining):
                    await queued.wait_value(partial(ne, seen))

    async def report(self, host_id: HostId, report: CommandSuccess | CommandFailure) -> None:
        """Take a daemon's report of an outcome; the first report of a command stands.

        Raises:
            ApiError: 404 the command is unknown or another host's; 400 the report does not fit it.
        """

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            record = table.find_command(db, report.command_id)
            if record is None or record.host_id != host_id:
                raise not_found("command", report.command_id)
            if record.state != "settled":
                self.settle(db, after, record, _outcome(record, report))

        # Results that nothing is remembered of need not survive the loss of power.
        await self._core.transact(step, durable=report.type in self._settlers)

    def settle(
        self, db: sqlite3.Connection, after: Aftermath, record: CommandRecord, outcome: Outcome
    ) -> None:
        """Settle a command unless it is settled, with all that follows from it."""
        if not table.settle_command(db, record.id, outcome, now_ms()):
            return
        after.outcomes.append((record.id, outcome))
        settler = self._settlers.get(record.type)
        if settler is not None:
            settler(db, after, record, outcome)

    async def sweep(self) -> None:
        """Hand overdue commands out once more, give up those that were, forget old ones.

        No hint is sent: a daemon finds a redelivered command at its next fetch.
        """
        timings = self._core.config.timings

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            now = now_ms()
            overdue = table.overdue_commands(
                db,
                before=now - int(timings.redelivery_seconds * 1000),
                provision_before=now - int(timings.provision_redelivery_seconds * 1000),
            )
            table.redeliver_commands(db, [one.id for one in overdue if one.retry_count == 0])
            for record in overdue:
                if record.retry_count > 0:
                    self.settle(db, after, record, _expired())
            table.forget_settled(db, now - int(timings.settled_retention_seconds * 1000))

        await self._core.transact(step)


def _expired() -> Outcome:
    return Outcome(
        ok=False,
        error_code=COMMAND_EXPIRED,
        error_message="The daemon took the command twice and never answered",
    )


def _outcome(record: CommandRecord, report: CommandSuccess | CommandFailure) -> Outcome:
    if report.type != record.type:
        raise invalid_request(f"type: must be {record.type}")
    if isinstance(report, CommandFailure):
        return Outcome(
            ok=False,
            error_code=storable(report.error_code),
            error_message=storable(report.error_message),
        )
    try:
        result = structure(COMMANDS[record.type].result, report.result)
    except WireError as error:
        raise invalid_request(f"result.{error.message}") from error
    return Outcome(ok=True, result=unstructure(result))


def _result_or_raise(outcome: Outcome) -> object:
    if outcome.ok:
        return outcome.result
    raise ApiError(502, outcome.error_code, outcome.error_message)


def command_of(record: CommandRecord) -> object:
    """Return the JSON object of a stored command."""
    return json.loads(record.payload)
