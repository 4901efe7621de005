"""Fetches commands: on a hint and every ten seconds, as long as there is room to run them.

A fetched command is gone from the server's queue and is handed out a second time, once, without any
hint, when it stays unanswered. Hence the polling, and hence every batch is in the journal before
anything of it runs: what was fetched by a daemon that was killed is run by the next one.
"""

from logging import getLogger

import trio

from bbhost.contract.codec import dump_json, parse_json
from bbhost.contract.table import BadEnvelope, CommandEnvelope, parse_envelope
from bbhost.domain.ids import CommandId
from bbhost.errors import JournalError, WireError
from bbhost.journal.journal import Journal
from bbhost.journal.values import InboxEntry
from bbhost.session.client import ServerClient
from bbhost.session.current import CurrentSession
from bbhost.session.dispatch import Dispatcher
from bbhost.session.errors import (
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
)
from bbhost.session.faults import Fault
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.tick import Tick

log = getLogger(__name__)

POLL_SECONDS = 10.0
"""Fetch at least this often: the server gives no hint when it hands a command out again."""
BATCH_LIMIT = 100
"""Commands in one fetch."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 2.0, 30.0
JOURNAL_FIRST_RETRY_SECONDS, JOURNAL_LONGEST_RETRY_SECONDS = 0.2, 10.0


class CommandFetcher:
    """Moves commands from the server to the journal and the dispatcher."""

    def __init__(
        self,
        client: ServerClient,
        current: CurrentSession,
        journal: Journal,
        dispatcher: Dispatcher,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._client = client
        self._current = current
        self._journal = journal
        self._dispatcher = dispatcher
        self._poll_seconds = poll_seconds
        self._tick = Tick()
        self._stopped = False
        self._batch = BATCH_LIMIT

    def hint(self) -> None:
        """There may be commands to fetch."""
        self._tick.set()

    def stop(self) -> None:
        """Fetch nothing more; a fetch that is under way is still taken in."""
        self._stopped = True

    async def resume(self) -> None:
        """Dispatch what an earlier daemon had accepted and not answered.

        Raises:
            JournalError: the journal cannot be read.
        """
        for entry in await self._journal.pending_commands():
            envelope = _read(entry)
            log.info("resuming %s, accepted by an earlier daemon", entry.command_id)
            if isinstance(envelope, CommandEnvelope):
                self._dispatcher.dispatch(envelope, resumed=True)
            else:
                await self._answer_bad(envelope, entry.command_id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch for ever, whenever a session is open.

        Cancellation: a batch that has arrived is taken in first, as far as the journal lets.
        """
        task_status.started()
        retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            session = await self._current.wait_ready()
            try:
                await self._fetch_all()
            except NoSessionError:
                continue
            except (ServerUnreachableError, ServerRefusedError, ServerAnswerError) as error:
                log.info("commands could not be fetched: %s", error)
                if isinstance(error, ServerAnswerError):
                    # Perhaps too large an answer; what it held is handed out once more.
                    self._batch = max(1, self._batch // 2)
                with trio.move_on_after(next(retries)):
                    await self._current.wait_other(session.session_id)
                continue
            retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
            with trio.move_on_after(self._poll_seconds):
                await self._tick.wait()

    async def _fetch_all(self) -> None:
        """Fetch until the server has nothing left."""
        while not self._stopped:
            while not self._dispatcher.room:
                await self._dispatcher.wait_room()
            if self._stopped:
                return
            limit = min(self._batch, self._dispatcher.room)
            batch = await self._current.request(
                lambda session, limit=limit: self._client.fetch_commands(session, limit)  # type: ignore[misc] # bound at once
            )
            if not batch:
                return
            self._batch = min(BATCH_LIMIT, self._batch * 2)
            await self._take_in(batch)
            if len(batch) < limit:
                # There were no more. Of any that came since there is a hint, which was kept.
                return

    async def _take_in(self, batch: tuple[object, ...]) -> None:
        fault_point("fetch.received")
        envelopes = [parse_envelope(raw) for raw in batch]
        entries = [entry for envelope in envelopes if (entry := _entry(envelope)) is not None]
        new = await self._accept(entries)
        fault_point("fetch.accepted")
        known = {entry.command_id for entry in entries} - new
        if known:
            log.info("delivered again, and known already: %s", ", ".join(sorted(known)))
        # Those that cannot be run are answered first, as the contract has it.
        for envelope in envelopes:
            if isinstance(envelope, BadEnvelope):
                if envelope.id is None:
                    log.warning("dropped a command without an id: %s", envelope.message)
                elif envelope.id in new:
                    await self._answer_bad(envelope, envelope.id)
        for envelope in envelopes:
            # Each id once, also when one batch holds it twice.
            if isinstance(envelope, CommandEnvelope) and envelope.id in new:
                new.discard(envelope.id)
                self._dispatcher.dispatch(envelope)

    async def _accept(self, entries: list[InboxEntry]) -> set[CommandId]:
        """Journal the batch; as long as the disk refuses, keep it in memory and keep trying."""
        delays = backoff_delays(JOURNAL_FIRST_RETRY_SECONDS, JOURNAL_LONGEST_RETRY_SECONDS)
        for delay in delays:
            try:
                # Shielded: the server hands out only once more, a minute later, what it gave away.
                with trio.CancelScope(shield=True):  # bounded by the disk, which is local
                    return set(await self._journal.accept_commands(entries))
            except JournalError as error:
                log.error("fetched commands cannot be kept yet: %s", error)
                await trio.sleep(delay)
        raise AssertionError("the delays never end")

    async def _answer_bad(self, envelope: BadEnvelope, command_id: CommandId) -> None:
        log.warning("cannot run %s %s: %s", envelope.type, command_id, envelope.message)
        fault = Fault(envelope.error_code, envelope.message or "it cannot be run")
        await self._dispatcher.answer_failure(envelope.type, command_id, fault)


def _entry(envelope: CommandEnvelope | BadEnvelope) -> InboxEntry | None:
    if isinstance(envelope, CommandEnvelope):
        return InboxEntry(envelope.id, envelope.cursor, dump_json(envelope.raw))
    if envelope.id is None:
        return None
    # Kept only until it is answered, which is at once; the type is all that is needed for it.
    payload = dump_json({"id": envelope.id, "command": {"type": envelope.type}})
    return InboxEntry(envelope.id, 0, payload)


def _read(entry: InboxEntry) -> CommandEnvelope | BadEnvelope:
    try:
        return parse_envelope(parse_json(entry.payload_json))
    except WireError as error:
        return BadEnvelope(entry.command_id, "unknown", error.code, error.message)
