"""The watchfiles backend, for systems without inotify. The only module that knows ``watchfiles``.

One notifier and one thread per watch, which wakes up twenty times a second to see whether it is to
stop: the library offers nothing cheaper. Never certain: changes arrive some time after they
happened, and what the library drops it does not tell.
"""

import errno
import logging
import threading
from collections.abc import Callable
from functools import partial

import trio
from attrs import define, field
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from bbhost.errors import BbhostError
from bbhost.watch.attempts import Attempts
from bbhost.watch.changed_paths import ChangedPaths
from bbhost.watch.places import SilentFileSystemError, identify, silent_file_system
from bbhost.watch.values import WatchBackend, WatchSettings
from bbhost.watch.watch import Watch

logger = logging.getLogger(__name__)

MOST_THREADS = 2_000
"""Watches at most; a further one waits until another ends."""
STEP_MS = 50
"""Pause between two looks of the library at what has arrived and whether it is to stop."""
GROUP_MS = 100
"""Time over which the library gathers changes; our own debounce comes on top."""
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""The limits of instances, descriptors and kernel watches."""
END_SECONDS = 10.0
"""Wait for a notifier to stop: normally one step."""


@define(eq=False)
class _Followed:
    stop: threading.Event = field(factory=threading.Event)
    done: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)


class NotifierBackend:
    """Watches by ``watchfiles``.

    Args:
        fall_back: called for a watch that cannot be kept here, with the reason and whether more
            room would help (never: watches do not come back to this backend).
    """

    def __init__(
        self, settings: WatchSettings, fall_back: Callable[[Watch, str, bool], None]
    ) -> None:
        self._settings = settings
        self._fall_back = fall_back
        self._followed: dict[Watch, _Followed] = {}
        self._nursery: trio.Nursery | None = None
        self._limiter = trio.CapacityLimiter(MOST_THREADS)

    @property
    def instances(self) -> int:
        """Notifiers running."""
        return len(self._followed)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the notifiers until cancelled. Cancellation: all threads stop within one step."""
        async with trio.open_nursery() as followers:
            self._nursery = followers
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                for followed in self._followed.values():
                    followed.stop.set()

    def is_following(self, watch: Watch) -> bool:
        """Whether a task is at work for a watch."""
        return watch in self._followed

    def begin(self, watch: Watch) -> None:
        """Start to watch; the first batch, when the notifier runs, says "unknown"."""
        assert self._nursery is not None
        followed = self._followed[watch] = _Followed()
        watch.uncover()
        self._nursery.start_soon(self._follow, watch, followed)

    async def end(self, watch: Watch) -> None:
        """Stop the notifier of a watch and wait until our thread has ended.

        The library's own thread, with its kernel watches, ends a moment later: it cannot be joined.

        Cancellation: shielded, normally for one step.
        """
        followed = self._followed.pop(watch, None)
        if followed is None:
            return
        followed.stop.set()
        followed.scope.cancel()
        with trio.move_on_after(END_SECONDS, shield=True):
            await followed.done.wait()

    async def _follow(self, watch: Watch, followed: _Followed) -> None:
        settings = self._settings
        attempts = Attempts(
            settings.start_attempts, settings.first_retry_seconds, settings.longest_retry_seconds
        )
        try:
            with followed.scope:
                while not followed.stop.is_set():
                    delay = await self._try(watch, followed, attempts)
                    if delay is None:
                        break
                    await trio.sleep(delay)
        finally:
            followed.done.set()
            if self._followed.get(watch) is followed:
                del self._followed[watch]

    async def _try(self, watch: Watch, followed: _Followed, attempts: Attempts) -> float | None:
        """Watch until told to stop (None) or something fails (seconds to the next attempt)."""
        try:
            await self._notify(watch, followed, attempts)
        except FileNotFoundError as error:
            self._stopped(watch, str(error))
        except SilentFileSystemError as error:
            self._fall_back(watch, str(error.strerror), False)
        except (OSError, BbhostError, WatchfilesRustInternalError) as error:
            if getattr(error, "errno", None) in _NO_ROOM or "limit reached" in str(error):
                self._fall_back(watch, str(error), False)
                return None
            delay = attempts.failed()
            if delay is None:
                self._stopped(
                    watch, f"given up after {attempts.failures} failed attempts: {error}"
                )
            else:
                watch.covered_by(WatchBackend.NONE, f"trying again: {error}")
                if attempts.failures == 1:
                    logger.warning(
                        "watch of %s failed: %s; next attempt in %.2f s",
                        watch.target.root,
                        error,
                        delay,
                        extra={"root": watch.target.root, "reason": str(error)},
                    )
            return delay
        return None

    async def _notify(self, watch: Watch, followed: _Followed, attempts: Attempts) -> None:
        """Report changes until told to stop, or until the root is gone (FileNotFoundError)."""
        target = watch.target
        identity = identify(target.root)
        silent = await trio.to_thread.run_sync(
            silent_file_system, target.root, limiter=self._limiter
        )
        if silent is not None:
            raise SilentFileSystemError(target.root, silent)
        changed = ChangedPaths(target, watch.oracle)
        roots = [target.root, *(path for path in (target.git_dir, target.common_dir) if path)]
        # The library adds kernel watches for the whole tree where it works with inotify.
        notifier = await trio.to_thread.run_sync(
            partial(RustNotify, roots, False, False, 0, True, True),
            limiter=self._limiter,
        )
        try:
            await changed.learn()
            attempts.succeeded()
            watch.covered_by(WatchBackend.WATCHFILES)
            watch.touch(workspace=True, refs=True, unknown=True)
            while True:
                answer = await trio.to_thread.run_sync(
                    notifier.watch, GROUP_MS, STEP_MS, 0, followed.stop, limiter=self._limiter
                )
                if answer == "stop" or followed.stop.is_set():
                    return
                if isinstance(answer, set):
                    workspace, refs = await changed.sort_out(path for _, path in answer)
                    if workspace or refs:
                        watch.touch(workspace=workspace, refs=refs)
                if identify(target.root) != identity:
                    watch.touch(workspace=True, refs=True, unknown=True)
                    raise FileNotFoundError(f"{target.root} is gone or has been replaced")
        finally:
            notifier.close()

    def _stopped(self, watch: Watch, reason: str) -> None:
        logger.info(
            "watch of %s stopped: %s; it starts again when something asks for it",
            watch.target.root,
            reason,
            extra={"root": watch.target.root, "reason": reason},
        )
        watch.covered_by(WatchBackend.NONE, reason)
        watch.touch(workspace=True, refs=True, unknown=True)
