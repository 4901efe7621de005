"""Tasks that bring areas up to date: one per area, only while there is work, with retries."""

import errno
import logging
from collections.abc import Callable

import trio
from attrs import define, field

from bbhost.errors import BbhostError, NotGitRepoError, PathNotFoundError
from bbhost.watch.areas import Area
from bbhost.watch.attempts import Attempts
from bbhost.watch.kernel import NoRoomError
from bbhost.watch.places import SilentFileSystemError, identify
from bbhost.watch.survey import Surveyor
from bbhost.watch.values import WatchBackend, WatchSettings

logger = logging.getLogger(__name__)

FIRST_GATHER_SECONDS = 0.005
LONGEST_GATHER_SECONDS = 0.1
"""Pause between two looks at an area that keeps changing, doubled each time: a checkout or an
install makes directories by the thousand, and git is to be asked about many at once."""
MOST_SETTLING = 32
"""Areas brought up to date at the same time; others wait their turn."""


@define(eq=False)
class Settler:
    """Starts and runs the tasks."""

    _settings: WatchSettings
    _surveyor: Surveyor
    _nursery: trio.Nursery
    """Owns the tasks."""
    _move_away: Callable[[Area, str, bool], None]
    """The watches of an area cannot be kept here, for this reason; whether more room would help."""
    _stop: Callable[[Area, str], None]
    """The watches of an area are given up, for this reason."""
    _slots: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(MOST_SETTLING), init=False
    )

    def wake(self, area: Area) -> None:
        """Have the work of an area done; a task that is at it already goes on to what is new."""
        if not area.busy:
            area.busy = True
            self._nursery.start_soon(self._settle, area, name=f"watch {area.root_path}")

    async def _settle(self, area: Area) -> None:
        try:
            with trio.CancelScope() as area.scope:
                await self._work(area)
        finally:
            if area.given_up:
                # A survey that ended without meeting its cancellation has set its root.
                area.release()
            area.quiet()
        if area.given_up:
            return
        if area.has_work:
            area.request()
        elif area.root is not None:
            area.announce()
            for watch in area.watches:
                if watch.reason:
                    watch.covered_by(WatchBackend.INOTIFY)

    async def _work(self, area: Area) -> None:
        settings = self._settings
        attempts = Attempts(
            settings.start_attempts, settings.first_retry_seconds, settings.longest_retry_seconds
        )
        gather = FIRST_GATHER_SECONDS
        await area.wait_prerequisites()
        while area.has_work and not area.given_up:
            try:
                async with self._slots:
                    await self._surveyor.advance(area)
            except (NoRoomError, SilentFileSystemError) as error:
                self._move_away(area, _reason(error), isinstance(error, NoRoomError))
            except (OSError, BbhostError) as error:
                await self._failed(area, attempts, error)
            else:
                attempts.succeeded()
                if area.has_work:
                    await trio.sleep(gather)
                    gather = min(gather * 2, LONGEST_GATHER_SECONDS)

    async def _failed(self, area: Area, attempts: Attempts, error: OSError | BbhostError) -> None:
        """Wait for the next attempt, or give up."""
        reason = _reason(error)
        if _is_final(area, error):
            if not area.dispense():
                self._stop(area, reason)
            return
        delay = attempts.failed()
        if delay is None:
            self._stop(area, f"given up after {attempts.failures} failed attempts: {reason}")
            return
        for watch in area.watches:
            watch.covered_by(WatchBackend.INOTIFY, f"trying again: {reason}")
        logger.log(
            logging.WARNING if attempts.failures == 1 else logging.DEBUG,
            "watch of %s failed: %s; attempt %d of %d in %.2f s",
            area.root_path,
            reason,
            attempts.failures + 1,
            attempts.limit,
            delay,
            extra={"root": area.root_path, "attempt": attempts.failures, "reason": reason},
        )
        await trio.sleep(delay)


def _is_final(area: Area, error: OSError | BbhostError) -> bool:
    """Whether trying again cannot help: the directory is not there, or no repository."""
    if isinstance(error, BbhostError):
        return isinstance(error, NotGitRepoError | PathNotFoundError)
    absent = error.errno in {errno.ENOENT, errno.ENOTDIR}
    return absent and identify(area.root_path) is None


def _reason(error: Exception) -> str:
    if isinstance(error, BbhostError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
