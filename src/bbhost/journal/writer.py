"""The journal's one thread. All work on the file happens in it, in the order it was asked for.

Group commit: everything that was queued while a commit was running shares the next transaction, so
that many writers cost one synchronisation of the disk. Each piece of work has a savepoint: one that
fails takes nothing else with it. If the transaction as a whole fails, its pieces are tried again
one by one, so that a large write that does not fit fails alone.

Rule: a writer that was told of success will find its write after a power failure; one that was told
of failure will not find any part of it.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import outcome
import trio
from attrs import define, frozen

from bbhost.errors import JournalError
from bbhost.journal.schema import journal_error
from bbhost.toolkit.faults import fault_point

T = TypeVar("T")

QUEUE_LIMIT = 1024
"""Pieces of work waiting for the thread. At the bound, callers wait for their turn."""
BATCH_LIMIT = 256
"""Pieces of work in one transaction; the rest goes into the next."""


@define(eq=False)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    task: trio.lowlevel.Task
    result: outcome.Outcome[Any] | None = None


@frozen
class WriterStatistics:
    """Counts since the journal was opened."""

    jobs: int
    transactions: int


class Writer:
    """Owns the connection and its thread. Made by ``open_journal``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        # SimpleQueue itself is unbounded; the semaphore keeps it within QUEUE_LIMIT.
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._slots = trio.Semaphore(QUEUE_LIMIT)
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._run, name="bbhost-journal", daemon=True)
        self._closed = False
        self._jobs = 0
        self._transactions = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def statistics(self) -> WriterStatistics:
        """How much work was done in how many transactions."""
        return WriterStatistics(self._jobs, self._transactions)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the thread, in a transaction, and return its result once it is durable.

        Cancellation: before it is queued the work is not done; once it is queued it is waited for
        (milliseconds; as long as the disk takes), so that the caller always knows.

        Raises:
            JournalError: the file cannot be written; no part of the work was done.
        """
        await self._slots.acquire()
        try:
            if self._closed:
                raise JournalError(f"journal {self._path}: closed")
            job = _Job(work, trio.lowlevel.current_task())
            self._queue.put(job)
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        finally:
            self._slots.release()
        assert job.result is not None
        result: T = job.result.unwrap()
        return result

    async def close(self) -> None:
        """Finish what is queued, then close the file.

        Cancellation: the thread is left to finish by itself; what is queued is still written.
        """
        self._closed = True
        self._queue.put(None)
        await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        open_for_work = True
        while open_for_work:
            job = self._queue.get()
            batch: list[_Job] = []
            while job is not None:
                batch.append(job)
                if len(batch) >= BATCH_LIMIT:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            open_for_work = job is not None
            if batch:
                self._jobs += len(batch)
                self._run_batch(batch)
                self._answer(batch)
        self._connection.close()

    def _run_batch(self, batch: list[_Job]) -> None:
        error = self._transact(batch)
        if error is None:
            return
        if len(batch) == 1:
            batch[0].result = outcome.Error(journal_error(self._path, error))
            return
        for job in batch:
            self._run_batch([job])

    def _transact(self, batch: list[_Job]) -> Exception | None:
        """Run the batch in one transaction; return why it failed as a whole, if it did."""
        connection = self._connection
        try:
            # Deferred: a batch that only reads never takes the write lock or touches the disk.
            connection.execute("BEGIN DEFERRED")
            for job in batch:
                self._run_one(job)
            fault_point("journal.before_commit")
            connection.execute("COMMIT")
            fault_point("journal.committed")
        except (sqlite3.Error, OSError) as error:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return error
        self._transactions += 1
        return None

    def _run_one(self, job: _Job) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            job.result = outcome.Value(job.work(connection))
        except sqlite3.IntegrityError as error:
            job.result = outcome.Error(journal_error(self._path, error))
        except sqlite3.Error:
            raise  # the disk or the file: the whole transaction is in doubt
        except Exception as error:
            # A domain error, or a defect of the caller: raised there, and nothing of it is kept.
            job.result = outcome.Error(error)
        if isinstance(job.result, outcome.Error):
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _answer(self, batch: list[_Job]) -> None:
        def reschedule() -> None:
            for job in batch:
                trio.lowlevel.reschedule(job.task)

        self._token.run_sync_soon(reschedule)
