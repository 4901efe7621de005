"""Runs commands: in their lanes, at most 32 at a time, each answered exactly once.

What delivers the commands is none of this module's business; it is given envelopes that are in the
journal already. A command that is cancelled because the daemon stops stays in the journal and runs
again in the next daemon, which is why every handler must be idempotent.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from logging import getLogger
from typing import Any, Protocol

import trio
from attrs import frozen

from bbhost.contract.codec import encode_json
from bbhost.contract.reports import report_failure, report_success
from bbhost.contract.table import CommandEnvelope, Lane, lane_key
from bbhost.domain.ids import CommandId
from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.session.clock import Clock, wall_clock_ms
from bbhost.session.errors import EventsNotDeliveredError
from bbhost.session.faults import Fault, fault_of
from bbhost.session.lanes import Lanes, Ticket
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)

Handler = Callable[[Any], Awaitable[object]]
"""Runs one command and returns the result object that the table names for it."""

RUNNING_LIMIT = 32
"""Commands that run at a time. Those that wait in a lane do not count, so that a queue behind one
slow environment does not stop the others."""
ADMITTED_LIMIT = 256
"""Commands that run or wait. At the bound no more are fetched."""
SETTLE_FIRST_SECONDS, SETTLE_LONGEST_SECONDS = 0.2, 10.0
"""Delays between attempts to journal a result while the disk refuses it. The result is kept in
memory meanwhile and the command counts as running."""


@frozen
class RunningCommand:
    """What a handler may ask about the command it runs."""

    command_id: CommandId
    resumed: bool
    """An earlier daemon accepted it and may have done part of it."""


current_command: ContextVar[RunningCommand] = ContextVar("current_command")
"""The command of this task. For handlers that key their own facts in the journal by command."""


class Outbox(Protocol):
    """Where results go (``reports.ReportSender``)."""

    def hold(self, command_id: CommandId) -> None:
        """Do not send this command's result yet."""

    def release(self, command_id: CommandId) -> None:
        """The result may go."""

    def wake(self) -> None:
        """There is something to send."""


@frozen
class DispatchStatistics:
    """Snapshot of the dispatcher."""

    running: int
    admitted: int
    finished: int


class Dispatcher:
    """Runs envelopes through handlers and puts their outcomes in the outbox."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        journal: Journal,
        outbox: Outbox,
        flush_events: Callable[[], Awaitable[None]],
        *,
        while_waiting: Mapping[str, Handler] | None = None,
        clock: Clock = wall_clock_ms,
    ) -> None:
        self._handlers = handlers
        self._while_waiting = while_waiting or {}
        self._journal = journal
        self._outbox = outbox
        self._flush_events = flush_events
        self._clock = clock
        self._lanes = Lanes()
        self._slots = trio.CapacityLimiter(RUNNING_LIMIT)
        self._admitted = AsyncValue(0)
        self._freed = AsyncValue(0)
        self._finished = 0
        self._commands: trio.Nursery | None = None
        self._has_ended = False

    def statistics(self) -> DispatchStatistics:
        """How many commands run, are admitted and have finished."""
        return DispatchStatistics(
            int(self._slots.borrowed_tokens), self._admitted.value, self._finished
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the tasks of all commands. Never returns.

        Cancellation: running commands are cancelled; they stay in the journal.
        """
        async with trio.open_nursery() as commands:
            self._commands = commands
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._commands = None
                self._has_ended = True

    def dispatch(self, envelope: CommandEnvelope, *, resumed: bool = False) -> None:
        """Admit a journalled command to its lane and start it when its turn comes.

        After the end nothing is started: a batch that arrived just then is the next daemon's to run.
        """
        if self._has_ended:
            log.info("%s is left to the next daemon", envelope.id)
            return
        assert self._commands is not None, "the dispatcher runs"
        lane = envelope.spec.lane
        key = (lane is Lane.FILE, lane_key(envelope.command))
        # A command without a lane is alone in a lane of its own.
        ticket = self._lanes.admit(
            object() if lane is Lane.NONE else key, write=lane is not Lane.READ
        )
        self._admitted.value += 1
        self._commands.start_soon(
            self._run_one, envelope, ticket, resumed, name=f"command {envelope.command.TYPE}"
        )
        forerunner = self._while_waiting.get(envelope.spec.type)
        if forerunner is not None and not ticket.is_ready:
            self._commands.start_soon(self._run_ahead, forerunner, envelope)

    @property
    def room(self) -> int:
        """How many more commands may be fetched now: none while all places are taken."""
        if self._slots.available_tokens < 1 or self._slots.statistics().tasks_waiting:
            return 0
        return max(0, ADMITTED_LIMIT - self._admitted.value)

    async def wait_room(self) -> None:
        """Wait until ``room`` may have changed for the better."""
        freed = self._freed.value
        await self._freed.wait_value(lambda now: now > freed)

    async def wait_idle(self) -> None:
        """Wait until every admitted command has its outcome in the outbox."""
        await self._admitted.wait_value(lambda admitted: admitted == 0)

    async def answer_failure(self, type_: str, command_id: CommandId, fault: Fault) -> None:
        """Answer a command that cannot be run."""
        await self._settle(command_id, self._failure(type_, command_id, fault))

    def _failure(self, type_: str, command_id: CommandId, fault: Fault) -> str:
        return encode_json(
            report_failure(command_id, type_, fault.code, fault.message, self._clock())
        )

    # --- one command ------------------------------------------------------------------------

    async def _run_one(self, envelope: CommandEnvelope, ticket: Ticket, resumed: bool) -> None:
        current_command.set(RunningCommand(envelope.id, resumed))
        flushes = envelope.spec.flush_events(envelope.command)
        try:
            await ticket.wait_ready()
            async with self._slots:
                report = await self._outcome(envelope)
                if flushes:
                    self._outbox.hold(envelope.id)
                await self._settle(envelope.id, report)
            ticket.release()
            self._freed.value += 1
            if flushes:
                await self._flush_then_release(envelope)
        finally:
            ticket.release()
            self._finished += 1
            self._admitted.value -= 1
            self._freed.value += 1

    async def _run_ahead(self, forerunner: Handler, envelope: CommandEnvelope) -> None:
        """Do what can be done for a command whose turn has not come; its own run answers for it."""
        try:
            await forerunner(envelope.command)
        except Exception as error:
            log.info("%s %s waits for its turn: %s", envelope.spec.type, envelope.id, error)

    async def _outcome(self, envelope: CommandEnvelope) -> str:
        """Run the handler; whatever happens, except cancellation, is an outcome."""
        type_ = envelope.spec.type
        handler = self._handlers.get(type_)
        if handler is None:
            fault = Fault("command_failed", f"this daemon does not support {type_}")
            return self._failure(type_, envelope.id, fault)
        fault_point("command.before_handler")
        try:
            result = await handler(envelope.command)
            report = encode_json(report_success(envelope.id, type_, result, self._clock()))
        except Exception as error:
            fault = fault_of(error, f"{type_} {envelope.id}")
            report = self._failure(type_, envelope.id, fault)
        fault_point("command.before_settle")
        return report

    async def _settle(self, command_id: CommandId, report: str) -> None:
        """Make the outcome durable; as long as the disk refuses, keep trying."""
        for delay in backoff_delays(SETTLE_FIRST_SECONDS, SETTLE_LONGEST_SECONDS):
            try:
                await self._journal.settle_command(command_id, report)
            except JournalError as error:
                log.error("the result of %s cannot be kept yet: %s", command_id, error)
                await trio.sleep(delay)
            else:
                self._outbox.wake()
                return

    async def _flush_then_release(self, envelope: CommandEnvelope) -> None:
        """The server must have the events of this command before its result."""
        try:
            await self._flush_events()
        except EventsNotDeliveredError as error:
            log.warning("the result of %s goes before its events: %s", envelope.id, error)
        finally:
            self._outbox.release(envelope.id)
