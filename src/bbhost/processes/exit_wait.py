"""Waiting for a child to exit without reaping it.

The zombie is left in place on purpose: as long as it is there, its pid (which is also the id of
its session and process group) cannot be given to another process, so the group can still be
signalled without any doubt about whose it is. The owner reaps afterwards.
"""

import os
import select
import sys
from collections.abc import Callable

import trio

_WAIT_THREADS = 256
"""Children that can be waited for at once where neither pidfd nor kqueue exists; further waits queue."""

_limiter: trio.CapacityLimiter | None = None


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd of ``pid``, or None where the system has none. The caller closes it.

    Raises:
        ProcessLookupError: no such process.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        # An old kernel, a sandbox without the call, or no descriptor left: there is another way.
        return None


async def wait_exited(pid: int, pidfd: int | None) -> None:
    """Wait until the child ``pid`` has exited; it remains to be reaped.

    Cancellation: safe at any point.
    """
    if pidfd is not None:
        await trio.lowlevel.wait_readable(pidfd)
    elif sys.platform != "linux" and hasattr(select, "kqueue"):
        await _wait_kqueue(pid)
    else:
        await _wait_thread(pid)


async def _wait_thread(pid: int) -> None:
    global _limiter
    if _limiter is None:
        _limiter = trio.CapacityLimiter(_WAIT_THREADS)
    # WNOWAIT leaves the zombie. The thread ends when the child does; nothing is leaked for longer.
    await trio.to_thread.run_sync(
        os.waitid,
        os.P_PID,
        pid,
        os.WEXITED | os.WNOWAIT,
        limiter=_limiter,
        abandon_on_cancel=True,
    )


if sys.platform != "linux":

    async def _wait_kqueue(pid: int) -> None:
        queue = trio.lowlevel.current_kqueue()

        def event(flags: int) -> select.kevent:
            return select.kevent(
                pid, filter=select.KQ_FILTER_PROC, flags=flags, fflags=select.KQ_NOTE_EXIT
            )

        try:
            queue.control([event(select.KQ_EV_ADD | select.KQ_EV_ONESHOT)], 0)
        except ProcessLookupError:
            # It exited before the event was added; an unreaped child is refused here.
            await trio.lowlevel.checkpoint()
            return

        def abort(_raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            queue.control([event(select.KQ_EV_DELETE)], 0)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_kevent(pid, select.KQ_FILTER_PROC, abort)
