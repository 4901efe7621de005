"""Delivers thread events: in order, durable, in batches, each as often as needed and stored once.

Events go through a short buffer in memory into the journal's spool and from there to the server.
An event that people wait for (``is_urgent``) is on disk when :meth:`EventReporter.publish` returns
and is sent at once; the others are gathered for a moment, and a crash may lose that moment's worth
of them (pieces of text whose whole follows in the completed item).

The head of the spool is always what is sent next, so no work is done twice: when a batch is refused,
ever smaller ones are tried until the event at fault is alone; it is set aside in the journal, and
everyone who required the events before going on is told that they did not arrive.
"""

from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Any

import trio
from attrs import evolve, frozen

from bbhost.contract.codec import dump_json, structure, unstructure
from bbhost.contract.events import ThreadEvent, is_urgent
from bbhost.contract.ids import new_producer_event_id
from bbhost.contract.reports import encode_event_batch
from bbhost.contract.session import EventBatchResponse
from bbhost.domain.ids import ThreadId
from bbhost.errors import JournalError, WireError
from bbhost.journal.journal import Journal
from bbhost.journal.turns import facts_of
from bbhost.journal.values import SpooledEvent
from bbhost.session.current import CurrentSession
from bbhost.session.errors import (
    EventsNotDeliveredError,
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
)
from bbhost.session.event_spool import EventSpool
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.tick import Tick
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)

QUIET_SECONDS, GATHER_SECONDS = 0.1, 0.5
"""Events that nobody waits for are sent after this much quiet, or at the latest after this long."""
BATCH_EVENTS, BATCH_BYTES = 200, 1024 * 1024
"""Most of one post."""
REFUSAL_LIMIT = 3
"""Times that a single event is refused before it is set aside."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0
REQUIRED_ATTEMPTS, REQUIRED_PAUSE_SECONDS = 5, 0.1

PostEvents = Callable[[str], Awaitable[EventBatchResponse]]
"""Posts the JSON of a batch (``ServerClient.post_events``)."""
_THREAD_EVENT: Any = ThreadEvent
_REFUSALS = frozenset({400, 409, 413, 422})
"""HTTP statuses that are about the events themselves."""
_HOPELESS = "producer_event_payload_mismatch"


@frozen
class _Progress:
    """What those who flush wait for."""

    failures: int = 0
    """Posts that failed, and events that were set aside."""
    why: str = ""
    """The last of them."""


class EventReporter:
    """Takes events of all threads and gets them to the server."""

    def __init__(self, journal: Journal, current: CurrentSession, post: PostEvents) -> None:
        self._journal = journal
        self._current = current
        self._post = post
        self._spool = EventSpool(journal)
        self._progress = AsyncValue(_Progress())
        self._tick = Tick()
        self._hurry = False
        self._batch = BATCH_EVENTS
        self._refusals = 0
        self._set_aside_threads: set[ThreadId] = set()
        self._told_foreign: set[ThreadId] = set()
        self._refused_of: dict[ThreadId, int] = {}

    @property
    def waiting(self) -> int:
        """Events that are not delivered."""
        return self._spool.waiting

    async def publish(self, event: ThreadEvent) -> None:
        """Take ``event``; urgent ones are durable on return.

        Waits while the spool is full, which holds up the agent that produces the events.
        Cancellation: the event is taken or not, never half.
        """
        data = unstructure(event)
        try:
            structure(_THREAD_EVENT, data)
        except WireError as error:
            # The server would refuse the whole batch over it.
            log.error("dropped an event that breaks the contract: %s: %r", error, event)
            return
        urgent = is_urgent(event)
        text = dump_json(data)
        row = SpooledEvent(new_producer_event_id(), event.thread_id, text, facts_of(event))
        if not await self._spool.add(row, event, durable=urgent):
            return
        if urgent:
            self._hurry = True
        self._tick.set()

    async def flush(self) -> None:
        """Send everything that was published so far, now; one attempt.

        Raises:
            EventsNotDeliveredError: some of it did not get through. It is kept and sent later,
                except what the server refuses for good.
        """
        target = self._spool.published
        if self._spool.removed.value >= target:
            return
        if self._current.value.value is None:
            raise EventsNotDeliveredError("no session to the server is open")
        before = self._progress.value.failures
        self.wake()
        async with trio.open_nursery() as nursery:

            async def wait_failure() -> None:
                await self._progress.wait_value(lambda now: now.failures > before)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_failure)
            await self._spool.removed.wait_value(lambda removed: removed >= target)
            nursery.cancel_scope.cancel()
        if self._progress.value.failures > before:
            raise EventsNotDeliveredError(f"events did not arrive: {self._progress.value.why}")

    async def flush_required(self, thread_id: ThreadId) -> None:
        """Send everything that was published so far; several attempts.

        For what the server only understands after the events of ``thread_id`` (tool calls,
        questions): where one of these is refused for good meanwhile, nothing may follow it.

        Raises:
            EventsNotDeliveredError: as :meth:`flush`, after all attempts.
        """
        refused_before = self._refused_of.get(thread_id, 0)
        for attempt in range(1, REQUIRED_ATTEMPTS + 1):
            try:
                await self.flush()
                break
            except EventsNotDeliveredError:
                if attempt == REQUIRED_ATTEMPTS:
                    raise
            await trio.sleep(REQUIRED_PAUSE_SECONDS)
        if self._refused_of.get(thread_id, 0) > refused_before:
            why = self._progress.value.why
            raise EventsNotDeliveredError(f"the server refuses events of {thread_id}: {why}")

    def wake(self) -> None:
        """Send what there is without gathering more; also ends a pause after a failure."""
        self._hurry = True
        self._tick.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Spool and send for ever.

        Cancellation: what is in the buffer is spooled, if the disk is quick; nothing else is lost.
        """
        await self._spool.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spool.run)
            task_status.started()
            await self._send_for_ever()

    # --- sending ------------------------------------------------------------------------------

    async def _send_for_ever(self) -> None:
        retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            await self._gather()
            await self._current.wait_open()
            self._hurry = False
            try:
                await self._send_all()
            except NoSessionError as error:
                self._failed(error.message)
            except (ServerUnreachableError, ServerRefusedError, ServerAnswerError) as error:
                log.info("events wait: %s", error)
                self._failed(error.message)
                await self._pause(next(retries))
            except JournalError as error:
                log.error("the event spool cannot be read or written: %s", error)
                self._failed(error.message)
                await self._pause(next(retries))
            else:
                retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)

    async def _gather(self) -> None:
        """Wait until there is something to send and it is time to."""
        while not self._spool.waiting and not self._hurry:
            await self._tick.wait()
        latest = trio.current_time() + GATHER_SECONDS
        while not self._hurry:
            seen = self._spool.published
            with trio.move_on_at(min(trio.current_time() + QUIET_SECONDS, latest)):
                while not self._hurry:
                    await self._tick.wait()
            if self._spool.published == seen or trio.current_time() >= latest:
                return

    async def _pause(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while not self._hurry:
                await self._tick.wait()

    async def _send_all(self) -> None:
        """Send batches until the spool is empty."""
        await self._spool.settle_buffer()
        while page := await self._journal.spooled_events(self._batch):
            page = _within_bytes(page)
            try:
                response = await self._current.request(
                    lambda session, page=page: self._post(  # type: ignore[misc] # bound at once
                        encode_event_batch(
                            [(e.producer_event_id, e.thread_id, e.event_json) for e in page],
                            session,
                        )
                    )
                )
            except ServerRefusedError as error:
                if error.status not in _REFUSALS or error.retryable:
                    raise
                await self._refused(page, error)
                continue
            fault_point("events.posted")
            await self._answered(page, response)

    async def _answered(self, page: list[SpooledEvent], response: EventBatchResponse) -> None:
        answered = {event.producer_event_id for event in response.accepted_events}
        for event in response.rejected_events:
            answered.add(event.producer_event_id)
            if event.thread_id not in self._told_foreign:
                self._told_foreign.add(event.thread_id)
                log.warning("events of %s are not wanted: %s", event.thread_id, event.reason)
        done = [event for event in page if event.producer_event_id in answered]
        if not done:
            raise ServerAnswerError("the server said nothing of any event of a batch")
        await self._spool.drop(done)
        self._refusals = 0
        self._batch = min(BATCH_EVENTS, self._batch * 2)
        self._set_aside_threads -= {event.thread_id for event in response.accepted_events}

    # --- refusals -----------------------------------------------------------------------------

    async def _refused(self, page: list[SpooledEvent], error: ServerRefusedError) -> None:
        """Narrow a refusal down to one event and set that aside."""
        if len(page) > 1:
            self._batch = len(page) // 2
            return
        (event,) = page
        self._refusals += 1
        hopeless = error.server_code == _HOPELESS or event.thread_id in self._set_aside_threads
        if self._refusals < REFUSAL_LIMIT and not hopeless:
            self._failed(error.message)
            await trio.sleep(REQUIRED_PAUSE_SECONDS * self._refusals)
            return
        log.error(
            "event %s of %s is set aside, the server refuses it: %s: %.300s",
            event.producer_event_id,
            event.thread_id,
            error.message,
            event.event_json,
        )
        # What follows in the same turn will be refused too; it need not be tried thrice each.
        self._set_aside_threads.add(event.thread_id)
        self._refused_of[event.thread_id] = self._refused_of.get(event.thread_id, 0) + 1
        self._refusals = 0
        self._failed(error.message)
        await self._spool.refuse(event, error.message)

    def _failed(self, why: str) -> None:
        progress = self._progress.value
        self._progress.value = evolve(progress, failures=progress.failures + 1, why=why)


def _within_bytes(page: list[SpooledEvent]) -> list[SpooledEvent]:
    size = 0
    for place, event in enumerate(page):
        size += len(event.event_json)
        if size > BATCH_BYTES and place:
            return page[:place]
    return page
