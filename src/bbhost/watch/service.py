"""The watch service: one per daemon. Chooses a backend for each watch, and changes it when due."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from bbhost.errors import NotGitRepoError, PathNotFoundError
from bbhost.watch.budget import watch_budget
from bbhost.watch.debounce import Debounce
from bbhost.watch.places import identify, refuse_broad_root
from bbhost.watch.polling import PollingBackend
from bbhost.watch.rule_files import RuleFiles
from bbhost.watch.values import (
    IgnoreOracle,
    WatchBackend,
    WatchSettings,
    WatchStatistics,
    WatchTarget,
)
from bbhost.watch.watch import Watch

if TYPE_CHECKING:
    from bbhost.watch.inotify import InotifyBackend
    from bbhost.watch.notifier import NotifierBackend

logger = logging.getLogger(__name__)

END_SECONDS = 15.0
"""Budget for letting go of a watch while being cancelled; normally milliseconds."""
SPARE_WATCHES = 16
"""Kernel watches that have to be free, beyond what a polled watch needs, for it to come back."""


def make_watch_service(
    backend: str = "auto", settings: WatchSettings | None = None
) -> "WatchService":
    """Make the service; it works while its ``run`` does.

    Args:
        backend: "inotify" (Linux), "watchfiles", "polling", or "auto": inotify where there is
            inotify, watchfiles elsewhere.
    """
    if backend == "auto":
        backend = "inotify" if sys.platform == "linux" else "watchfiles"
    return WatchService(WatchBackend(backend), settings or WatchSettings())


class WatchService:
    """Watches directories for those who open watches."""

    def __init__(self, preferred: WatchBackend, settings: WatchSettings) -> None:
        self.settings = settings
        self.preferred = preferred
        self._rule_files = RuleFiles(settings.rule_files)
        self._polling = PollingBackend(settings, self._recover)
        self._watches: dict[Watch, None] = {}
        self._nursery: trio.Nursery | None = None
        self._inotify: InotifyBackend | None = None
        self._notifier: NotifierBackend | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the backends until cancelled. Start it before, and end it after, all watches.

        Without an inotify instance (the user's limit is reached) it runs all the same: watches
        poll, and go over to inotify when an instance can be had.

        Cancellation: ends all kernel watches, notifiers and threads.
        """
        try:
            async with trio.open_nursery() as backends:
                self._nursery = backends
                await backends.start(self._polling.run)
                if self.preferred is WatchBackend.INOTIFY:
                    await self._start_inotify(backends)
                elif self.preferred is WatchBackend.WATCHFILES:
                    from bbhost.watch.notifier import NotifierBackend

                    self._notifier = NotifierBackend(self.settings, self._poll_instead)
                    await backends.start(self._notifier.run)
                task_status.started()
        finally:
            self._nursery = None
            for watch in self._watches:
                watch.uncover()
                watch.covered_by(WatchBackend.NONE, "the watch service has ended")

    async def _start_inotify(self, backends: trio.Nursery) -> bool:
        from bbhost.watch.inotify import InotifyBackend

        inotify = InotifyBackend(self.settings, watch_budget(self.settings), self._poll_instead)
        try:
            await backends.start(inotify.run)
        except OSError as error:
            if self._inotify is None and not self._watches:
                logger.warning(
                    "no inotify instance: %s; watches poll, and try again every %.0f s",
                    error,
                    self.settings.recheck_seconds,
                    extra={"reason": str(error)},
                )
            return False
        self._inotify = inotify
        return True

    # --- watches ------------------------------------------------------------------------

    @asynccontextmanager
    async def open_watch(self, target: WatchTarget, oracle: IgnoreOracle) -> AsyncIterator[Watch]:
        """Watch ``target`` while the context is open.

        Does not wait until everything is watched: ``wait_certain`` does, and the first batch of
        ``wait_changes`` says "unknown" when it is. A start that fails is retried in the
        background; ``Watch.coverage`` tells.

        Raises:
            PathNotFoundError: the root is missing.
            NotGitRepoError: the git dir or the common dir is missing.
            WatchRefusedError: the root is the home directory, or one above it.

        Cancellation: leaving removes every kernel watch first, shielded, for up to 15 s where a
        disk does not answer, normally some milliseconds.
        """
        if self._nursery is None:
            raise RuntimeError("start WatchService.run before opening a watch")
        _check(target)
        settings = self.settings
        debounce = Debounce(settings.quiet_ms / 1000, settings.longest_ms / 1000)
        watch = Watch(target, oracle, debounce, self._drain)
        self._watches[watch] = None
        self._begin(watch)
        try:
            yield watch
        finally:
            with trio.move_on_after(END_SECONDS, shield=True):
                await self._end(watch)

    def drain_nowait(self) -> None:
        """Take in all that the kernel has queued, for every watch. Synchronous, no checkpoint."""
        if self._inotify is not None:
            self._inotify.drain_nowait()
        if self._rule_files.changed():
            self._polling.rules_changed()
            if self._inotify is not None:
                self._inotify.doubt_everything()

    def statistics(self) -> WatchStatistics:
        """What the service costs and has seen."""
        inotify, notifier = self._inotify, self._notifier
        instances = int(inotify is not None) + (notifier.instances if notifier else 0)
        return WatchStatistics(
            instances=instances,
            kernel_watches=inotify.kernel_watches if inotify else 0,
            budget=inotify.budget if inotify else 0,
            watches=tuple((watch.target, watch.coverage) for watch in self._watches),
            overflows=inotify.overflows if inotify else 0,
            surveys=inotify.surveys if inotify else 0,
            polls=self._polling.polls,
            running_tasks=inotify.settling if inotify else 0,
        )

    def watched_directories(self) -> dict[int, str]:
        """Return the absolute path of every directory the kernel watches, by watch number.

        For ``bbhost doctor``, beside ``kernel_watches`` of ``kernel_view``.
        """
        return self._inotify.watched_directories() if self._inotify is not None else {}

    def _begin(self, watch: Watch) -> None:
        if self._inotify is not None:
            self._inotify.begin(watch)
        elif self._notifier is not None:
            self._notifier.begin(watch)
        elif self.preferred is WatchBackend.INOTIFY:
            self._poll_instead(watch, "no inotify instance", True)
        else:
            self._polling.begin(watch, "configured", recoverable=False)

    async def _end(self, watch: Watch) -> None:
        watch.closed = True
        del self._watches[watch]
        self._polling.end(watch)
        if self._notifier is not None:
            await self._notifier.end(watch)
        if self._inotify is not None:
            await self._inotify.end(watch)
            self._polling.room_appeared()

    def _drain(self, watch: Watch) -> None:
        if self._nursery is None:
            return  # the service has ended before its watches
        self.drain_nowait()
        if watch.backend is WatchBackend.INOTIFY and self._inotify is not None:
            self._inotify.verify(watch)
        elif watch.backend is WatchBackend.NONE and not watch.closed:
            self._ask_again(watch)

    def _ask_again(self, watch: Watch) -> None:
        """Something asks for a watch that has been given up: start anew, if its root is there."""
        if identify(watch.target.root) is None:
            return
        if self._inotify is not None:
            self._inotify.release(watch)
            self._inotify.begin(watch)
        elif self._notifier is not None:
            if not self._notifier.is_following(watch):
                self._notifier.begin(watch)
        else:
            self._begin(watch)

    # --- falling back and coming back ---------------------------------------------------

    def _poll_instead(self, watch: Watch, reason: str, recoverable: bool) -> None:
        if watch.closed:
            return  # a thread that was looking at its directories comes back late
        logger.warning(
            "%s is polled every %.0f s: %s",
            watch.target.root,
            self.settings.poll_seconds,
            reason,
            extra={"root": watch.target.root, "reason": reason},
        )
        self._polling.begin(watch, reason, recoverable=recoverable)

    async def _recover(self, watch: Watch, directories: int) -> bool:
        """Go back to inotify if there is room for that many directories, and some to spare."""
        assert self._nursery is not None
        if self._inotify is None and not await self._start_inotify(self._nursery):
            return False
        inotify = self._inotify
        assert inotify is not None
        if watch.closed or inotify.room < directories + directories // 10 + SPARE_WATCHES:
            return False
        self._polling.end(watch)
        inotify.begin(watch)
        return True


def _check(target: WatchTarget) -> None:
    if identify(target.root) is None:
        raise PathNotFoundError(f"{target.root} does not exist")
    for git_dir in (target.git_dir, target.common_dir):
        if git_dir is not None and identify(git_dir) is None:
            raise NotGitRepoError(f"{target.root} is no git work tree: {git_dir} does not exist")
    refuse_broad_root(target.root)
