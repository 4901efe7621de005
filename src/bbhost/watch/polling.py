"""The polling backend: one task that looks at its watches in turn, at a bounded rate.

For what the kernel does not tell, or has no room to tell. Never certain: a change is seen at the
next look, and one that leaves all names, sizes and times as they were is not seen at all.
"""

import logging
from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from bbhost.errors import BbhostError
from bbhost.toolkit.tick import Tick
from bbhost.watch.attempts import Attempts
from bbhost.watch.places import identify
from bbhost.watch.signature import Signature, take_signature
from bbhost.watch.values import WatchBackend, WatchSettings
from bbhost.watch.watch import Watch

logger = logging.getLogger(__name__)

MOST_ROUNDS = 3
"""Looks in a row while new ignored directories turn up; more of them wait for the next turn."""


@define(eq=False)
class _Polled:
    """What is known of one polled watch."""

    due_at: float
    attempts: Attempts
    recoverable: bool
    """More kernel watches would let it go back to inotify."""
    recheck_at: float
    seen: Signature | None = None
    ignored: frozenset[str] = frozenset()
    rules_stale: bool = True


@define(eq=False)
class PollingBackend:
    """Watches by looking. Costs nothing while no watch needs it."""

    settings: WatchSettings
    recover: Callable[[Watch, int], Awaitable[bool]]
    """Asked for a recoverable watch now and then, with its number of directories; true if a better
    backend has taken it."""
    polls: int = field(default=0, init=False)
    _polled: dict[Watch, _Polled] = field(factory=dict, init=False)
    _work: Tick = field(factory=Tick, init=False)
    # One thread: polling is to stay slow and cheap. A file system that hangs holds up the others
    # that poll, not those that do not.
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    def begin(self, watch: Watch, reason: str, *, recoverable: bool) -> None:
        """Poll a watch from now on; the first look reports "unknown"."""
        now = trio.current_time()
        settings = self.settings
        attempts = Attempts(
            settings.start_attempts, settings.poll_seconds, settings.longest_retry_seconds
        )
        self._polled[watch] = _Polled(now, attempts, recoverable, now + settings.recheck_seconds)
        watch.uncover()
        watch.covered_by(WatchBackend.POLLING, reason)
        self._work.set()

    def end(self, watch: Watch) -> None:
        """Stop polling a watch. A look under way ends by itself and is not reported."""
        self._polled.pop(watch, None)

    def room_appeared(self) -> None:
        """Kernel watches were given back: let those that wait for some ask soon."""
        for polled in self._polled.values():
            if polled.recoverable:
                polled.recheck_at = polled.due_at = trio.current_time()
        self._work.set()

    def rules_changed(self) -> None:
        """Files that decide what is ignored have changed outside the repositories."""
        for polled in self._polled.values():
            polled.rules_stale = True

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the watches in turn until cancelled."""
        task_status.started()
        while True:
            if not self._polled:
                await self._work.wait()
                continue
            watch = min(self._polled, key=lambda watch: self._polled[watch].due_at)
            due_at = self._polled[watch].due_at
            if due_at > trio.current_time():
                with trio.move_on_at(due_at):
                    await self._work.wait()  # a new watch may be due sooner
                continue
            await self._turn(watch, self._polled[watch])

    async def _turn(self, watch: Watch, polled: _Polled) -> None:
        began = trio.current_time()
        if polled.recoverable and began >= polled.recheck_at:
            polled.recheck_at = began + self.settings.recheck_seconds
            directories = len(polled.seen.directories) if polled.seen is not None else 0
            if await self.recover(watch, directories):
                return
        pause: float | None = self.settings.poll_seconds
        try:
            await self._look(watch, polled)
        except (OSError, BbhostError) as error:
            pause = self._failed(watch, polled, error)
        else:
            polled.attempts.succeeded()
        ended = trio.current_time()
        polled.due_at = ended + (pause or 0)
        # All watches together keep to their share of one core, however many there are.
        await trio.sleep((ended - began) * (1 / self.settings.poll_share - 1))

    async def _look(self, watch: Watch, polled: _Polled) -> None:
        seen = polled.seen
        for _ in range(MOST_ROUNDS):
            if polled.rules_stale and watch.target.git_dir is not None:
                ignored = await watch.oracle.ignored_directories(watch.target.root)
                polled.ignored = frozenset(path.rstrip("/") for path in ignored)
            polled.rules_stale = False
            signature: Signature = await trio.to_thread.run_sync(
                take_signature,
                watch.target,
                polled.ignored,
                self.settings.poll_entries,
                limiter=self._limiter,
            )
            self.polls += 1
            polled.rules_stale = seen is not None and signature.rules != seen.rules
            found = await self._newly_ignored(watch, polled, signature, seen)
            polled.ignored |= found
            seen = signature
            if not found and not polled.rules_stale:
                break
        if watch in self._polled:
            self._compare(watch, polled, seen)

    async def _newly_ignored(
        self, watch: Watch, polled: _Polled, signature: Signature, seen: Signature | None
    ) -> frozenset[str]:
        if seen is None or polled.rules_stale or watch.target.git_dir is None:
            return frozenset()
        new = signature.directories - seen.directories
        if not new:
            return frozenset()
        return await watch.oracle.ignored_among(watch.target.root, new)

    def _compare(self, watch: Watch, polled: _Polled, now: Signature | None) -> None:
        before, polled.seen = polled.seen, now
        if now is None:
            return
        count = len(now.directories)
        watch.directories = lambda: count
        if now.truncated and "in part" not in watch.reason:
            watch.reason = f"{watch.reason}; too large, polled in part"
        if before is None:
            watch.touch(workspace=True, refs=True, unknown=True)
        elif before != now:
            workspace = before.workspace != now.workspace or before.rules != now.rules
            refs = before.refs != now.refs
            if workspace or refs:
                watch.touch(workspace=workspace, refs=refs)

    def _failed(self, watch: Watch, polled: _Polled, error: Exception) -> float | None:
        """Return the seconds to the next look; None if the watch is given up or has ended."""
        if watch not in self._polled:
            return None
        if polled.seen is not None:
            polled.seen = None
            watch.touch(workspace=True, refs=True, unknown=True)
        is_missing = identify(watch.target.root) is None
        delay = None if is_missing else polled.attempts.failed()
        if delay is None:
            self.end(watch)
            watch.covered_by(WatchBackend.NONE, f"{error}")
            watch.touch(workspace=True, refs=True, unknown=True)
            what_next = "it starts again when something asks for it"
        else:
            what_next = f"the next look is in {delay:.1f} s"
        if delay is None or polled.attempts.failures == 1:
            logger.warning(
                "polling of %s failed: %s; %s",
                watch.target.root,
                error,
                what_next,
                extra={"root": watch.target.root, "reason": str(error)},
            )
        return delay
