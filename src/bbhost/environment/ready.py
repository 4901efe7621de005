"""The work of ``ready``: watch the files, keep the status cache, host what others run here."""

import logging
from functools import partial

import trio

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId
from bbhost.environment.ports import (
    ChangeLike,
    EnvironmentServices,
    OwnedWatch,
)
from bbhost.environment.status_cache import StatusCache, StatusCacheStatistics
from bbhost.errors import BbhostError, NotGitRepoError, PathNotFoundError
from bbhost.toolkit.backoff import backoff_delays
from bbhost.workspace.status import StatusReading

log = logging.getLogger(__name__)

MAX_WATCH_ATTEMPTS = 60
"""Failures in a row after which watching is given up until something asks again."""
FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 30.0
PUT_OFF_SECONDS = 2.0
"""How long a batch that doubts everything is put off while the kernel's watches are being set."""
UNKNOWN = ""
"""A fingerprint that differs from every other: a status that could not be computed."""


class ReadyWork:
    """Watching one workspace and noticing what is worth telling."""

    def __init__(
        self,
        record: EnvironmentRecord,
        services: EnvironmentServices,
        statistics: StatusCacheStatistics,
        *,
        tell_first: bool = False,
    ) -> None:
        self._tell_first = tell_first
        """Nobody knows what happened before the watch began (a restart): tell when it has."""
        self._record = record
        self._services = services
        # Not a method of this object, which would then be a cycle: see ``Machine.release``.
        read_status = partial(services.workspaces.read_status, record.path)
        self.cache = StatusCache(read_status, statistics)
        self._last_status: str | None = None
        self._last_news: int | None = None
        """See ``OwnedWatch.read_news``."""
        self._watch: OwnedWatch | None = None
        self._put_off = False
        """A batch that doubted everything came while the kernel's watches were still being set, and they
        still are: the next batches are taken to doubt everything, whatever they say."""
        self._put_off_until = 0.0
        self._followed = False
        """The present watch has been good for something: opening it alone is no success."""
        self._trouble = "not started yet"
        self.baseline = trio.Event()
        """Set once the first status after a watch began is known."""
        self._asked = trio.Event()

    @property
    def _environment_id(self) -> EnvironmentId:
        return self._record.environment_id

    @property
    def watch_trouble(self) -> str:
        """Why the files are not watched, or not in full; empty when all is well."""
        return self._trouble if self._watch is None else self._watch.describe()

    def ask_to_watch(self) -> None:
        """Something wants the environment: try again if watching was given up."""
        self._asked.set()

    def note_answered(self, reading: StatusReading) -> None:
        """The server was told this before a watch could take a baseline: it is the baseline."""
        if not self._last_status:
            self._last_status = reading.fingerprint

    def note_everything_changed(self) -> None:
        """Tell of both kinds of change, as after a branch switch that the server asked for."""
        self._services.note_change(self._environment_id, EnvironmentChange.WORK_STATUS)
        self._services.note_change(self._environment_id, EnvironmentChange.GIT_REFS)

    async def run(self) -> None:
        """Watch until cancelled. Failures are retried, then given up until somebody asks.

        Cancellation: every kernel watch is gone when this returns.
        """
        attempts = 0
        delays = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            self._asked = trio.Event()
            self._followed = False
            try:
                async with self._services.workspaces.open_watch(self._record.path) as watch:
                    await self._follow(watch)
            except (PathNotFoundError, NotGitRepoError) as error:
                # Nothing to watch; asking again is the only thing that can change that.
                self._give_up(str(error), "not watching until a command asks for it")
                await self._asked.wait()
                attempts = 0
            except Exception as error:
                # A fault of the watch must not end the terminals and threads beside it.
                if not isinstance(error, BbhostError | OSError):
                    log.exception("watch failed unexpectedly")
                if self._followed:
                    attempts = 0
                    delays = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                attempts += 1
                if attempts >= MAX_WATCH_ATTEMPTS:
                    self._give_up(str(error), f"gave up after {attempts} attempts")
                    await self._asked.wait()
                    attempts = 0
                else:
                    delay = next(delays)
                    self._give_up(str(error), f"trying again in {delay:.1f} s")
                    await trio.sleep(delay)

    def _give_up(self, reason: str, what_next: str) -> None:
        self._trouble = f"{reason}; {what_next}"
        log.info(
            "watch ended: %s; %s", reason, what_next, extra={"environment": self._environment_id}
        )

    async def _follow(self, watch: OwnedWatch) -> None:
        """Compare after each batch of changes and note what differs. The first batch is a baseline."""
        self._watch = watch
        self._put_off = False
        self.cache.attach(watch)
        try:
            while True:
                await self._take_batch(watch, await watch.wait_changes())
        finally:
            self._watch = None
            self.cache.attach(None)

    async def _take_batch(self, watch: OwnedWatch, batch: ChangeLike) -> None:
        unknown = batch.unknown or self._put_off
        refs_differ = False
        # Siblings may rely on this owner to read the refs, so that is not put off.
        if batch.refs or unknown:
            news = await watch.read_news()
            refs_differ = self._last_news is not None and self._last_news != news
            self._last_news = news
        if refs_differ:
            self._services.note_change(self._environment_id, EnvironmentChange.GIT_REFS)
        if self._must_wait(batch, watch):
            return
        # The cache knows whether the moved refs matter here; where they do not, this costs no git.
        if batch.workspace or unknown or refs_differ:
            await self._compare_status(at_any_age=not (batch.workspace or unknown))
            self.baseline.set()
        self._followed = True
        if self._tell_first:
            self._tell_first = False
            self.note_everything_changed()

    def _must_wait(self, batch: ChangeLike, watch: OwnedWatch) -> bool:
        """Whether to leave comparing to the batch that comes when the watches are set.

        What would be computed before could not be kept. But where somebody makes directories all the
        time they are never set: so a batch that tells of a change is not put off, and one that doubts
        everything, of which there is no end either where the kernel drops events, not for long.
        """
        was_put_off = self._put_off
        self._put_off = (batch.unknown or was_put_off) and watch.is_settling
        if not self._put_off:
            return False
        now = trio.current_time()
        if not was_put_off:
            self._put_off_until = now + PUT_OFF_SECONDS
        return batch.unknown and now < self._put_off_until

    async def _compare_status(self, *, at_any_age: bool) -> None:
        try:
            reading = await self.cache.read(at_any_age=at_any_age)
        except (NotGitRepoError, PathNotFoundError):
            raise
        except BbhostError as error:
            # Unknown is told as a change: whoever looks will see the error itself.
            log.info(
                "status could not be computed after a change: %s",
                error,
                extra={"environment": self._environment_id},
            )
            self._last_status = UNKNOWN
            self._services.note_change(self._environment_id, EnvironmentChange.WORK_STATUS)
            return
        previous, self._last_status = self._last_status, reading.fingerprint
        if _is_worth_telling(previous, reading):
            self._services.note_change(self._environment_id, EnvironmentChange.WORK_STATUS)


def _is_worth_telling(previous: str | None, reading: StatusReading) -> bool:
    """Whether a status differs from the one before.

    Where there is none before, a change that came before this look can only be known by what it finds.
    """
    if previous is None:
        return reading.status.working_tree.has_uncommitted_changes
    return previous != reading.fingerprint
