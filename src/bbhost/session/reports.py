"""Delivers results: in order, one at a time, at least once, over reconnects and restarts.

A result leaves the journal when the server has it or says that it does not want it. One that the
server refuses as such is replaced by an error once, because somebody waits for an answer. One that
makes the server fail is set aside for a while, so that it does not keep back the others.
"""

from collections.abc import Awaitable, Callable
from logging import getLogger

import trio
from attrs import frozen

from bbhost.contract.codec import encode_json, parse_json
from bbhost.contract.reports import encode_report_post, report_failure
from bbhost.contract.table import COMMANDS, UNKNOWN_COMMAND
from bbhost.domain.ids import CommandId, SessionId
from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.journal.values import OutboxEntry
from bbhost.session.current import CurrentSession
from bbhost.session.errors import (
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
)
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.tick import Tick
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)

PAGE = 16
"""Reports read from the journal at a time (and acknowledged together)."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.1, 10.0
SERVER_FAULT_LIMIT = 6
"""Failures of the server over one report after which the next report gets its turn."""
SET_ASIDE_SECONDS = 30.0
"""After that long a report that was set aside is tried again."""

PostReport = Callable[[str], Awaitable[None]]
"""Posts the JSON of a report (``ServerClient.report_result``)."""


@frozen
class ReportStatistics:
    """Counts since the start."""

    delivered: int
    stale: int
    replaced: int


class ReportSender:
    """Empties the journal's outbox into the open session."""

    def __init__(self, journal: Journal, current: CurrentSession, post: PostReport) -> None:
        self._journal = journal
        self._current = current
        self._post = post
        self._tick = Tick()
        self._held: set[CommandId] = set()
        self._set_aside: dict[int, float] = {}
        self._server_faults: dict[int, int] = {}
        self._replaced_seqs: set[int] = set()
        self._idle = AsyncValue(False)
        self._wakes = 0
        """Counted, because one that comes while the outbox is read may be about what was not seen."""
        self._delivered = self._stale = self._replaced = 0

    def hold(self, command_id: CommandId) -> None:
        """Keep this result back until :meth:`release`. Not remembered over restarts."""
        self._held.add(command_id)

    def release(self, command_id: CommandId) -> None:
        """Let a result go that was held."""
        self._held.discard(command_id)
        self.wake()

    def wake(self) -> None:
        """Look at the outbox again."""
        self._idle.value = False
        self._wakes += 1
        self._tick.set()

    def statistics(self) -> ReportStatistics:
        """What became of the reports so far."""
        return ReportStatistics(self._delivered, self._stale, self._replaced)

    async def wait_delivered(self) -> None:
        """Wait until nothing that may be sent waits in the outbox."""
        await self._idle.wait_value(bool)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send whatever there is, for ever. Cancellation: at most a repeated delivery later."""
        task_status.started()
        retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            self._idle.value = False
            session = await self._current.wait_ready()
            wakes = self._wakes
            try:
                finished, left = await self._send_page()
            except NoSessionError:
                continue
            except (ServerUnreachableError, ServerRefusedError, ServerAnswerError) as error:
                log.info("results wait: %s", error)
                await self._pause(next(retries), session.session_id)
                continue
            except JournalError as error:
                log.error("the outbox cannot be read or written: %s", error)
                await trio.sleep(next(retries))
                continue
            if finished:
                retries = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                continue
            self._idle.value = left == 0 and wakes == self._wakes
            with trio.move_on_after(SET_ASIDE_SECONDS if self._set_aside else float("inf")):
                await self._tick.wait()

    async def _pause(self, seconds: float, session_id: SessionId) -> None:
        """Wait before the next attempt, but not longer than until there is a new session."""
        with trio.move_on_after(seconds):
            await self._current.wait_other(session_id)

    # --- one page ---------------------------------------------------------------------------

    async def _send_page(self) -> tuple[int, int]:
        """Send the reports that may go.

        Returns:
            How many went or were set aside, so that others have their turn, and how many are left.
        """
        page, left = await self._next_page()
        done: list[int] = []
        try:
            for entry in page:
                if await self._send_one(entry):
                    done.append(entry.seq)  # noqa: PERF401 - kept also where the next one fails
        finally:
            if done:
                # In a shield: what was delivered need not be delivered again.
                with trio.move_on_after(5, shield=True):
                    await self._journal.acknowledge(*done)
        aside = sum(entry.seq in self._set_aside for entry in page)
        return len(done) + aside, left + len(page) - len(done)

    async def _next_page(self) -> tuple[list[OutboxEntry], int]:
        """The next reports that may go, and how many before them are set aside.

        A page of the journal ends early when it holds much text, so it may hold none that may go.
        """
        left = after = 0
        while page := await self._journal.outbox(PAGE, after=after):
            going = [entry for entry in page if self._may_go(entry)]
            left += sum(entry.seq in self._set_aside for entry in page)
            if going:
                return going, left
            after = page[-1].seq
        return [], left

    def _may_go(self, entry: OutboxEntry) -> bool:
        until = self._set_aside.get(entry.seq)
        if until is not None:
            if trio.current_time() < until:
                return False
            del self._set_aside[entry.seq]
        return entry.command_id not in self._held

    async def _send_one(self, entry: OutboxEntry) -> bool:
        """Send one report; True when it can be forgotten.

        Raises:
            ServerUnreachableError, NoSessionError: try this one again.
            ServerRefusedError: the same, when the session is gone or the server is in trouble.
        """
        fault_point("report.before_post")
        try:
            await self._current.request(
                lambda session: self._post(encode_report_post(entry.report_json, session))
            )
        except ServerRefusedError as error:
            return await self._refused(entry, error)
        except ServerAnswerError:
            # It arrived, but the answer makes no sense: the other side is not well.
            if self._gave_trouble(entry):
                return False
            raise
        fault_point("report.posted")
        self._forget(entry)
        self._delivered += 1
        return True

    async def _refused(self, entry: OutboxEntry, error: ServerRefusedError) -> bool:
        if error.status == 401:
            raise error
        if error.retryable:
            if self._gave_trouble(entry):
                return False
            raise error
        if error.status in {403, 404, 410}:
            log.info("the result of %s is not wanted any more: %s", entry.command_id, error)
            self._stale += 1
        elif entry.seq in self._replaced_seqs:
            log.error("the server refuses every result of %s: %s", entry.command_id, error)
            self._stale += 1
        else:
            await self._replace(entry, error)
            return False
        self._forget(entry)
        return True

    async def _replace(self, entry: OutboxEntry, error: ServerRefusedError) -> None:
        """Answer with an error instead, so that nobody waits for a result that cannot come."""
        log.error("the server refused the result of %s: %s", entry.command_id, error)
        report = parse_json(entry.report_json)
        failure = report_failure(
            entry.command_id,
            report["type"],
            # Of a type that the server does not know it accepts this code only.
            UNKNOWN_COMMAND if report["type"] not in COMMANDS else "command_failed",
            f"the server refused the result: {error.server_message}",
            report["completedAt"],
        )
        await self._journal.replace_report(entry.seq, encode_json(failure))
        self._replaced_seqs.add(entry.seq)
        self._replaced += 1
        self.wake()

    def _gave_trouble(self, entry: OutboxEntry) -> bool:
        """Count a failure of the server over this report; True when it is set aside."""
        faults = self._server_faults[entry.seq] = self._server_faults.get(entry.seq, 0) + 1
        if faults < SERVER_FAULT_LIMIT:
            return False
        log.warning("the result of %s is set aside: the server fails over it", entry.command_id)
        self._server_faults[entry.seq] = 0
        self._set_aside[entry.seq] = trio.current_time() + SET_ASIDE_SECONDS
        return True

    def _forget(self, entry: OutboxEntry) -> None:
        self._server_faults.pop(entry.seq, None)
        self._replaced_seqs.discard(entry.seq)
