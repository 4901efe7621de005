"""The way of events into the journal: a bounded buffer, and a bound on what waits on disk.

At the lower bound, pieces of progress (deltas, usage, intermediate plans) are dropped: the
completed item or turn that follows holds the whole. At the upper bound nothing is dropped, but
whoever publishes waits, which stops the agent until the server takes events again.
"""

from logging import getLogger

import trio

from bbhost.contract import events as e
from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.journal.values import SpooledEvent
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.tick import Tick
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)

BUFFER_EVENTS = 1000
"""Events in memory that are not on disk yet; at the bound, publishing waits for the disk."""
DROP_EVENTS, DROP_BYTES = 50_000, 64 * 1024 * 1024
"""Lower bound: beyond it progress is dropped."""
FULL_EVENTS, FULL_BYTES = 100_000, 128 * 1024 * 1024
"""Upper bound: beyond it publishing waits."""
_RETRY_FIRST_SECONDS, _RETRY_LONGEST_SECONDS = 0.2, 10.0
_LAST_SECONDS = 2.0
"""For writing the buffer when the daemon stops."""

_PROGRESS = (
    e.AgentMessageDelta,
    e.FileChangeOutputDelta,
    e.ReasoningSummaryDelta,
    e.ReasoningTextDelta,
    e.PlanDelta,
    e.CommandOutputDelta,
    e.McpToolCallProgress,
    e.ToolCallProgress,
    e.TokenUsageUpdated,
    e.ContextWindowUsageUpdated,
    e.TurnDiffUpdated,
    e.TurnPlanUpdated,
)


class EventSpool:
    """Counts and stores what waits to be sent."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._buffer: list[SpooledEvent] = []
        self._tick = Tick()
        self._written = AsyncValue(0)
        self.published = 0
        """Events that were ever here, counted from those an earlier daemon left."""
        self.removed = AsyncValue(0)
        """Events that are gone again: delivered, or set aside. In the same order."""
        self._bytes = 0
        self._dropped = 0

    @property
    def waiting(self) -> int:
        """Events in the buffer and on disk."""
        return self.published - self.removed.value

    async def open(self) -> None:
        """Count what an earlier daemon left.

        Raises:
            JournalError: the journal cannot be read.
        """
        left = await self._journal.spool_size()
        self.published += left.events
        self._written.value += left.events
        self._bytes += left.event_bytes
        if left.events:
            log.info("%d events of an earlier daemon wait to be sent", left.events)

    async def add(self, row: SpooledEvent, event: e.ThreadEvent, *, durable: bool) -> bool:
        """Take an event; False where it was dropped because too much waits.

        Args:
            row: the event as it is stored.
            event: the same, to see what kind it is.
            durable: return only when it is on disk.
        """
        if self._exceeds(DROP_EVENTS, DROP_BYTES) and isinstance(event, _PROGRESS):
            self._dropped += 1
            if self._dropped == 1:
                log.warning("%d events wait for the server: progress is dropped", self.waiting)
            return False
        while self._exceeds(FULL_EVENTS, FULL_BYTES):
            log.warning("%d events wait for the server: agents are held up", self.waiting)
            await _wait_growth(self.removed)
        if len(self._buffer) >= BUFFER_EVENTS:
            await _wait_growth(self._written)
        self._buffer.append(row)
        self.published += 1
        self._bytes += len(row.event_json)
        number = self.published
        self._tick.set()
        if durable:
            await self._written.wait_value(lambda written: written >= number)
        return True

    async def settle_buffer(self) -> None:
        """Wait until everything that was published is on disk."""
        number = self.published
        await self._written.wait_value(lambda written: written >= number)

    async def drop(self, events: list[SpooledEvent]) -> None:
        """Forget events that were answered.

        Raises:
            JournalError: they will be sent again, which does no harm.
        """
        await self._journal.drop_events([event.producer_event_id for event in events])
        self._gone(events)

    async def refuse(self, event: SpooledEvent, reason: str) -> None:
        """Set an event aside.

        Raises:
            JournalError: it will be tried again.
        """
        await self._journal.refuse_event(event.producer_event_id, reason)
        self._gone([event])

    async def run(self) -> None:
        """Write the buffer to disk, for ever. Everything that gathers during one write shares
        the next."""
        try:
            while True:
                await self._tick.wait()
                await self._write()
        finally:
            with trio.move_on_after(_LAST_SECONDS, shield=True):
                await self._write()

    async def _write(self) -> None:
        delays = backoff_delays(_RETRY_FIRST_SECONDS, _RETRY_LONGEST_SECONDS)
        while self._buffer:
            batch = self._buffer[:BUFFER_EVENTS]
            try:
                await self._journal.append_events(batch)
            except JournalError as error:
                log.error("events cannot be kept yet: %s", error)
                await trio.sleep(next(delays))
                continue
            del self._buffer[: len(batch)]
            self._written.value += len(batch)

    def _gone(self, events: list[SpooledEvent]) -> None:
        self._bytes -= sum(len(event.event_json) for event in events)
        self.removed.value += len(events)
        if self._dropped and not self._exceeds(DROP_EVENTS, DROP_BYTES):
            log.warning("%d pieces of progress were dropped meanwhile", self._dropped)
            self._dropped = 0

    def _exceeds(self, events: int, size: int) -> bool:
        return self.waiting >= events or self._bytes >= size


async def _wait_growth(value: AsyncValue[int]) -> None:
    seen = value.value
    await value.wait_value(lambda now: now > seen)
