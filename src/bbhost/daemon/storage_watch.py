"""Watches the storage of threads, and tells the server what changed in it.

There is one watch, of the directory that holds all storage, while at least one thread is tracked. It
says only that something changed; what it was is found by comparing scans of the tracked threads. App
data is posted with its content, file by file; of everything else the server hears that it changed.

Runs beside the session: what happens while no session is open is made good by the resync of every app
when the next one opens.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import trio
from attrs import define, field

from bbhost.contract.session import EnvironmentChange, ThreadTarget
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.errors import BbhostError
from bbhost.session.server_calls import AppFile, ServerCalls
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.toolkit.tick import Tick
from bbhost.watch.service import WatchService
from bbhost.watch.values import WatchTarget
from bbhost.watch.watch import Watch
from bbhost.workspace.files.app_data import (
    AppDataError,
    AppDataLocation,
    read_app_data,
    read_app_version,
)
from bbhost.workspace.files.storage import ThreadStorage
from bbhost.workspace.files.storage_scan import Stamp, StorageScan, scan_storage

log = logging.getLogger(__name__)

T = TypeVar("T")

RECHECK_SECONDS = 60.0
"""Without any change, the watch is asked this often whether it still stands: the directory may have
been removed and made again."""
UNSETTLED_SECONDS = 0.1
"""After which files are read again that had changed a moment before they were read."""
SCAN_SHARE = 0.1
"""Part of the time that may be spent scanning: a scan of d seconds is followed by 9 d of rest ..."""
LONGEST_REST_SECONDS = 5.0
"""... or by this."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.25, 30.0
PRIME_BYTES = 256 * 1024 * 1024
"""App data hashed when a thread is first looked at; the version of further files is not known, and
they are posted when they are next touched, changed or not."""


class _NothingIgnored:
    """Plain trees have no ignore rules."""

    async def ignored_directories(self, root: str) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return frozenset()

    async def ignored_among(self, root: str, directories: frozenset[str]) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return frozenset()


@define(eq=False)
class _Known:
    """What the server has been told of one data file."""

    stamp: Stamp | None
    """None: read it again, whatever its stamp."""
    version: str | None


@define(eq=False)
class _Tracked:
    """One thread whose storage is watched."""

    thread_id: ThreadId
    environment_id: EnvironmentId
    started_here: bool = False
    scan: StorageScan | None = None
    files: dict[AppDataLocation, _Known] = field(factory=dict)
    resync: bool = True
    """The server's apps are to read everything anew; what is there now counts as told."""


class StorageWatch:
    """Knows which threads are tracked. One per daemon; works while ``run`` does."""

    def __init__(
        self,
        storage: ThreadStorage,
        watches: WatchService,
        note_change: Callable[[EnvironmentId, EnvironmentChange], None],
        calls: Callable[[], ServerCalls | None],
    ) -> None:
        self._storage = storage
        self._watches = watches
        self._note_change = note_change
        self._calls = calls
        self._tracked: dict[ThreadId, _Tracked] = {}
        self._tick = Tick()
        self._limit = trio.CapacityLimiter(1)

    @property
    def thread_ids(self) -> frozenset[ThreadId]:
        """The threads that are tracked."""
        return frozenset(self._tracked)

    # --- what is tracked ------------------------------------------------------------------

    def track_targets(self, targets: Iterable[ThreadTarget]) -> None:
        """A session has opened: track these, those started here, and no others. Never blocks.

        Every known app is told to read its data again.
        """
        kept = {key: one for key, one in self._tracked.items() if one.started_here}
        for target in targets:
            known = self._tracked.get(target.thread_id)
            if known is None or known.environment_id != target.environment_id:
                known = _Tracked(target.thread_id, target.environment_id)
            kept[target.thread_id] = known
        for tracked in kept.values():
            tracked.resync = True
        self._tracked = kept
        self._tick.set()

    def track(self, thread_id: ThreadId, environment_id: EnvironmentId) -> None:
        """A thread is started or resumed by this daemon. Never blocks."""
        known = self._tracked.get(thread_id)
        if known is None or known.environment_id != environment_id:
            self._tracked[thread_id] = known = _Tracked(thread_id, environment_id)
            self._tick.set()
        known.started_here = True

    def untrack(self, thread_id: ThreadId) -> None:
        """A thread was deleted: nothing more is reported of it. Never blocks."""
        if self._tracked.pop(thread_id, None) is not None:
            self._tick.set()

    def forget_environment(self, environment_id: EnvironmentId) -> None:
        """It is gone, or the server does not know it: its threads are not tracked. Never blocks."""
        for tracked in list(self._tracked.values()):
            if tracked.environment_id == environment_id:
                self.untrack(tracked.thread_id)

    # --- watching -------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch while anything is tracked, until cancelled. Cancellation: nothing is left behind."""
        task_status.started()
        delays = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            while not self._tracked:
                await self._tick.wait()
            try:
                await self._watch()
                delays = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
            except (BbhostError, OSError) as error:
                log.warning("thread storage cannot be watched: %s", error)
                await trio.sleep(next(delays))

    async def _watch(self) -> None:
        """Hold the watch until nothing is tracked any more."""
        root = self._storage.root
        await self._in_thread(partial(make_private_directory, root))
        async with self._watches.open_watch(WatchTarget(str(root)), _NothingIgnored()) as watch:
            self._tick.set()  # look at once: what changed before the watch stood counts too
            unsettled = False
            while self._tracked:
                await self._wait_anything(watch, UNSETTLED_SECONDS if unsettled else None)
                began = trio.current_time()
                unsettled = await self._look()
                rest = (trio.current_time() - began) * (1 / SCAN_SHARE - 1)
                await trio.sleep(min(rest, LONGEST_REST_SECONDS))

    async def _wait_anything(self, watch: Watch, seconds: float | None) -> None:
        """Wait for a change, for other threads to track, or for a time."""
        async with trio.open_nursery() as waiting:

            async def first(wait: Callable[[], object]) -> None:
                await wait()  # type: ignore[misc] # an async callable
                waiting.cancel_scope.cancel(reason="there is something to look at")

            waiting.start_soon(first, watch.wait_changes)
            waiting.start_soon(first, self._tick.wait)
            waiting.start_soon(first, partial(trio.sleep, seconds or RECHECK_SECONDS))
        watch.drain_nowait()  # also starts a watch anew whose root has come back

    # --- looking --------------------------------------------------------------------------

    async def _look(self) -> bool:
        """Compare every tracked thread with what was seen last; True where a look must follow."""
        unsettled = False
        for tracked in list(self._tracked.values()):
            scan = await self._in_thread(
                partial(
                    scan_storage,
                    self._storage.root,
                    tracked.thread_id,
                    trio.from_thread.check_cancelled,
                )
            )
            if self._tracked.get(tracked.thread_id) is not tracked:
                continue
            before, tracked.scan = tracked.scan, scan
            self._tell_storage(tracked, before, scan)
            if tracked.resync:
                tracked.resync = False
                await self._prime(tracked, scan)
            else:
                unsettled |= await self._tell_app_data(tracked, scan)
        return unsettled

    def _tell_storage(
        self, tracked: _Tracked, before: StorageScan | None, now: StorageScan
    ) -> None:
        if before is None:
            # A thread that runs here may have written before the first look.
            changed = tracked.started_here and not now.is_empty
            if not now.is_complete:
                log.warning("the storage of %s is too large to watch whole", tracked.thread_id)
        else:
            changed = before.digest != now.digest
        if changed:
            change = EnvironmentChange.THREAD_STORAGE
            self._note_change(tracked.environment_id, change)

    async def _prime(self, tracked: _Tracked, scan: StorageScan) -> None:
        """Take what is there as told, and have the server's apps read it."""
        before, tracked.files = tracked.files, {}
        budget = PRIME_BYTES
        for location, stamp in scan.app_files.items():
            known = before.get(location)
            if known is None or known.stamp != stamp:
                budget -= stamp[2]
                version = await self._version(location) if budget >= 0 else None
                known = _Known(stamp if scan.was_settled(stamp) else None, version)
            tracked.files[location] = known
        calls = self._calls()
        for app_id in sorted(scan.app_ids):
            if calls is not None:
                await calls.post_app_resync(tracked.thread_id, app_id)

    async def _version(self, location: AppDataLocation) -> str | None:
        with suppress(AppDataError):  # the warning comes when it changes
            return await self._in_thread(partial(read_app_version, self._storage.root, location))
        return None

    async def _tell_app_data(self, tracked: _Tracked, scan: StorageScan) -> bool:
        unsettled = False
        for location, stamp in scan.app_files.items():
            known = tracked.files.get(location)
            if known is not None and known.stamp == stamp:
                continue
            settled = scan.was_settled(stamp)
            unsettled |= not settled
            version = None if known is None else known.version
            version = await self._tell_file(location, version)
            tracked.files[location] = _Known(stamp if settled else None, version)
        if scan.is_complete:
            for location in tracked.files.keys() - scan.app_files.keys():
                del tracked.files[location]
                await self._post(AppFile(location.thread_id, location.app_id, location.path))
        return unsettled

    async def _tell_file(self, location: AppDataLocation, told: str | None) -> str | None:
        """Post one file if its content is new; return the version the server knows now."""
        try:
            read = await self._in_thread(partial(read_app_data, self._storage.root, location))
        except AppDataError as error:
            log.warning("app data of %s is left out: %s", location.thread_id, error.message)
            return told
        if read is None or read.version == told:
            return told  # one that is missing by now is missing in the next scan too
        await self._post(
            AppFile(location.thread_id, location.app_id, location.path, read.value, read.version)
        )
        return read.version

    async def _post(self, file: AppFile) -> None:
        calls = self._calls()
        if calls is not None:
            await calls.post_app_file(file)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._limit)
