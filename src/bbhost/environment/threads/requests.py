"""Requests of users: a command that is delivered twice, or over a crash, acts once."""

from collections.abc import Awaitable, Callable
from logging import getLogger

import trio

from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.ledger import RequestLedger
from bbhost.environment.threads.mail import Submitted
from bbhost.errors import JournalError

log = getLogger(__name__)


class RequestMemory:
    """Outcomes by request. One that failed is forgotten, and may be tried again."""

    def __init__(self, ledger: RequestLedger) -> None:
        self._ledger = ledger
        self._running: dict[tuple[ThreadId, str], trio.Event] = {}

    async def once(
        self, thread_id: ThreadId, request_id: str, run: Callable[[], Awaitable[Submitted]]
    ) -> Submitted:
        """Run, or wait for the run that is under way, or return what is known to have become of it.

        Cancellation: of the one that runs, it; those that wait run it anew, unless an agent has it.
        """
        key = (thread_id, request_id)
        while (running := self._running.get(key)) is not None:
            await running.wait()
        known = self._ledger.find(thread_id, request_id)
        if known is not None:
            return known
        self._running[key] = trio.Event()
        failure: Exception
        try:
            try:
                return await run()
            except Exception as error:
                failure = error
            await self._forget(key)
            raise failure
        finally:
            self._running.pop(key).set()

    async def _forget(self, key: tuple[ThreadId, str]) -> None:
        try:
            await self._ledger.forget(*key)
        except JournalError as error:
            log.error("a request that failed is still on record: %s", error)
