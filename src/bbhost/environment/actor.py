"""The owner of one incarnation: a loop with one nursery per state.

Leaving a state cancels its nursery and waits until everything in it has finished; only then does the
next state's work begin. Whatever lives in ``ready`` therefore cannot exist in any other state. Events
come through one mailbox, are decided by the pure core, and are journalled before their effects begin.
Nothing outside this module moves an environment.
"""

import logging
from functools import partial

import trio
from attrs import define, evolve, field, frozen

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.domain.workspace import DiscoveredWorkspace, TranscriptEntry
from bbhost.environment.destroying import TeardownContext, TeardownProgress, tear_down
from bbhost.environment.ports import EnvironmentServices, OwnedBoundary
from bbhost.environment.provisioning import ProvisionProgress, provision
from bbhost.environment.ready import ReadyWork
from bbhost.environment.status_cache import StatusCacheStatistics
from bbhost.environment.stay import ReadyStay
from bbhost.errors import BbhostError, JournalError
from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.environment import Decision, EnvironmentCore, EnvironmentEvent
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.groups import split_cancelled
from bbhost.toolkit.value import AsyncValue

log = logging.getLogger(__name__)


@frozen
class Provisioned:
    """The outcome of a provisioning that succeeded."""

    discovered: DiscoveredWorkspace
    transcript: tuple[TranscriptEntry, ...]


@define(eq=False)
class _Mail:
    event: EnvironmentEvent
    stay: int | None = None
    provisioned: Provisioned | None = None
    error: BbhostError | None = None
    workspace_intact: bool = False
    files_remain: bool = False
    accepted: bool | None = None
    refusal: Exception | None = None
    answered: trio.Event = field(factory=trio.Event)

    def answer(self, accepted: bool, refusal: Exception | None = None) -> None:
        self.accepted, self.refusal = accepted, refusal
        self.answered.set()


@frozen
class EnvironmentView:
    """What the outside may see of an environment at one moment."""

    record: EnvironmentRecord
    provision_error: BbhostError | None = None
    provisioned: Provisioned | None = None
    teardown_trouble: BbhostError | None = None
    is_abandoned: bool = False
    """Its owner crashed: nothing will come of waiting for it."""

    @property
    def state(self) -> EnvironmentState:
        """The state at that moment."""
        return self.record.state


class EnvironmentActor:
    """Owns one incarnation from its first state to its tombstone."""

    def __init__(
        self,
        record: EnvironmentRecord,
        services: EnvironmentServices,
        cache_statistics: StatusCacheStatistics,
        boundary: OwnedBoundary | None = None,
    ) -> None:
        self._services = services
        self._cache_statistics = cache_statistics
        self._core = EnvironmentCore(record.state, record.cause)
        # Capacity 0: whoever sends waits until the owner takes it, so nothing queues up.
        self._mail_in, self._mail_out = trio.open_memory_channel[_Mail](0)
        # What an owner that crashed has started belongs to this one.
        self.boundary = boundary or services.open_boundary(
            record.environment_id, record.incarnation
        )
        # Two writes of one record must not overtake each other: the later state is to stay.
        self._writing = trio.Lock()
        self._restored = record.state is EnvironmentState.READY
        self.durable = record
        """The record as the journal has it."""
        self._arriving: EnvironmentView | None = None
        """What will be shown when the stay in ``ready`` exists, so that who sees it can enter."""
        shown = record
        if record.state is EnvironmentState.READY:
            self._arriving = EnvironmentView(record)
            shown = evolve(record, state=EnvironmentState.PROVISIONING)
        self.view = AsyncValue(EnvironmentView(shown))
        """The present state; wait on it by level."""
        self.progress = ProvisionProgress()
        self.teardown = TeardownProgress()
        self.stay: ReadyStay | None = None
        """The present visit to ``ready``, if any."""
        self.ready_work: ReadyWork | None = None

    def __repr__(self) -> str:
        record = self.record
        return f"<EnvironmentActor {record.environment_id}.{record.incarnation} {record.state}>"

    @property
    def record(self) -> EnvironmentRecord:
        """The journal record as it stands."""
        return self.view.value.record

    async def ask(self, event: EnvironmentEvent) -> bool:
        """Send an event from outside and wait until it is accepted (journalled) or refused.

        Returns:
            True when accepted; False when the table or a guard says no, or the owner has ended.

        Raises:
            JournalError: the event could not be made durable and was not accepted.

        Cancellation: the event may have been accepted nevertheless.
        """
        mail = _Mail(event)
        try:
            await self._mail_in.send(mail)
        except trio.BrokenResourceError:
            return False
        await mail.answered.wait()
        if isinstance(mail.refusal, JournalError):
            raise mail.refusal
        return bool(mail.accepted)

    async def run(self) -> None:
        """Live until tombstoned. Cancellation: ends the present state; the journal keeps it."""
        async with self._mail_out:
            while not self._core.is_terminated:
                await self._run_stay()

    def abandon(self) -> None:
        """The owner crashed: whoever waits for it is to know."""
        self.view.value = evolve(self.view.value, is_abandoned=True)

    async def _run_stay(self) -> None:
        number = self._core.stay
        try:
            await self._live()
        except Exception as fault:
            if self._core.stay == number:
                raise
            # It was on its way out, and everything in it has ended: what comes next can begin.
            self._log_left(fault)
        except BaseExceptionGroup as group:
            cancelled, faults = split_cancelled(group)
            if faults is not None:
                self._log_left(faults)
            if cancelled is not None:
                raise cancelled  # noqa: B904 - not because of the faults
        finally:
            if self.stay is not None:
                self.stay.is_closing = True  # also where a defect ended it: handles on it are void
            self.stay = self.ready_work = None

    def _log_left(self, fault: Exception) -> None:
        log.error(
            "something failed while its environment was being left",
            exc_info=fault,
            extra={"environment": self.record.environment_id},
        )

    async def _live(self) -> None:
        """One stay, from its work's beginning to its end."""
        number, state = self._core.stay, self._core.state
        async with trio.open_nursery() as state_work:
            match state:
                case EnvironmentState.PROVISIONING:
                    state_work.start_soon(self._work_provisioning, number)
                case EnvironmentState.READY:
                    self._enter_ready(state_work)
                case EnvironmentState.DESTROYING:
                    state_work.start_soon(self._work_destroying, number)
            await self._accept_next()
            state_work.cancel_scope.cancel(reason=f"environment leaves {state}")

    # --- events ---------------------------------------------------------------------------

    async def _accept_next(self) -> None:
        """Take mail until one event moves the environment; it is durable when this returns."""
        while True:
            mail = await self._mail_out.receive()
            try:
                decision = self._decide(mail)
                if decision is not None and await self._make_durable(decision, mail):
                    return
            finally:
                if not mail.answered.is_set():
                    mail.answer(False)

    def _decide(self, mail: _Mail) -> Decision | None:
        try:
            return self._core.decide(
                mail.event,
                stay=mail.stay,
                idle=self.stay is not None and self.stay.is_idle,
                workspace_intact=mail.workspace_intact,
            )
        except IllegalEventError as refusal:
            mail.answer(False, refusal)
            return None

    async def _make_durable(self, decision: Decision, mail: _Mail) -> bool:
        """Journal ``decision`` and move. An outcome of our own work is tried until it is durable."""
        if self.stay is not None:
            self.stay.is_closing = True  # nothing new starts while the decision is being written
        async with self._writing:
            return await self._write(decision, mail)

    async def _write(self, decision: Decision, mail: _Mail) -> bool:
        left = self.record
        view = self._view_after(decision, mail)
        delays = backoff_delays(0.1, 10.0)
        while True:
            try:
                fault_point(f"journal.{decision.event}")
                await self._services.journal.save_environment(view.record)
                break
            except JournalError as error:
                log.error("cannot journal %s of %r: %s", decision.event, self, error)
                if mail.stay is None:
                    if self.stay is not None:
                        self.stay.is_closing = False
                    mail.answer(False, error)
                    return False
                await trio.sleep(next(delays))
        self._core.commit(decision)
        self.durable = view.record
        if decision.target is EnvironmentState.READY:
            self._arriving = view
        else:
            self.view.value = view
        mail.answer(True)
        log.info(
            "%s -> %s",
            decision.source,
            decision.target,
            extra={
                "environment": view.record.environment_id,
                "incarnation": view.record.incarnation,
                "event": str(decision.event),
                "cause": str(decision.cause) if decision.cause else None,
                # How long it was in the state that it leaves, over restarts of the daemon.
                "duration_ms": max(0, view.record.changed_at - left.changed_at),
            },
        )
        self._services.note_transition(
            view.record.environment_id,
            str(decision.source),
            str(decision.target),
            str(decision.event),
        )
        return True

    def _view_after(self, decision: Decision, mail: _Mail) -> EnvironmentView:
        old = self.view.value
        detail = mail.error.message if mail.error is not None else ""
        record = evolve(
            old.record,
            state=decision.target,
            cause=decision.cause,
            changed_at=self._services.now_ms(),
            detail=detail or (old.record.detail if decision.cause else ""),
            files_remain=mail.files_remain,
        )
        failed = decision.event is EnvironmentEvent.PROVISION_FAILED
        unmade = decision.event is EnvironmentEvent.TEARDOWN_FAILED
        return EnvironmentView(
            record,
            provision_error=mail.error if failed else old.provision_error,
            provisioned=mail.provisioned or old.provisioned,
            teardown_trouble=mail.error if unmade else None,
        )

    # --- the work of each state -----------------------------------------------------------

    async def _work_provisioning(self, number: int) -> None:
        try:
            discovered = await provision(
                self.record,
                self._services,
                self.boundary,
                self.progress,
                partial(self._note_creating, number),
            )
        except BbhostError as error:
            mail = _Mail(EnvironmentEvent.PROVISION_FAILED, number, error=error)
        else:
            outcome = Provisioned(discovered, tuple(self.progress.entries))
            mail = _Mail(EnvironmentEvent.PROVISIONED, number, provisioned=outcome)
        await self._mail_in.send(mail)

    async def _note_creating(self, number: int) -> None:
        """From here on a rollback may remove what is at the path: this incarnation makes it."""
        async with self._writing:
            if self._core.stay != number:
                # Its end has been decided meanwhile; the cancellation is on its way.
                await trio.sleep_forever()
            record = evolve(self.record, created_workspace=True)
            await self._services.journal.save_environment(record)
            self.durable = record
            self.view.value = evolve(self.view.value, record=record)

    def _enter_ready(self, state_work: trio.Nursery) -> None:
        record = self.record if self._arriving is None else self._arriving.record
        if self.teardown.attempts:
            # A boundary that was ended takes no more processes; a teardown that failed ended it.
            self.boundary = self._services.open_boundary(record.environment_id, record.incarnation)
        self.stay = ReadyStay(
            record.environment_id,
            state_work,
            lambda: self._services.note_idle(record.environment_id),
        )
        self.ready_work = ReadyWork(
            record,
            self._services,
            self._cache_statistics,
            tell_first=self._restored,
        )
        state_work.start_soon(self.ready_work.run)
        if self._arriving is not None:
            self.view.value, self._arriving = self._arriving, None
        # Fresh and idle: a reconciler that found it on its way here may look again.
        self._services.note_idle(record.environment_id)

    async def _work_destroying(self, number: int) -> None:
        self.teardown = TeardownProgress()
        context = TeardownContext(self.record, self._services, self.boundary)
        if await tear_down(context, self.teardown, self._tell_trouble):
            try:
                remain = await self._services.workspaces.exists(self.record.path)
            except BbhostError as error:
                log.warning("whether files remain cannot be told: %s", error.message)
                remain = True
            mail = _Mail(EnvironmentEvent.TORN_DOWN, number, files_remain=remain)
        else:
            mail = _Mail(
                EnvironmentEvent.TEARDOWN_FAILED,
                number,
                error=self.teardown.trouble,
                workspace_intact=True,
            )
        await self._mail_in.send(mail)

    def _tell_trouble(self) -> None:
        self.view.value = evolve(self.view.value, teardown_trouble=self.teardown.trouble)
