"""Signalling exactly the process that was meant, and waiting for its end.

A pid alone is never signalled: between looking and signalling the process may have gone and its
number may have been given to another. With a pidfd the order is: open it, compare the start time,
send. If the start time fits, the descriptor refers to that process for good. Without pidfds
(kernel before 5.3, macOS) the start time is compared immediately before ``kill``; a gap of
microseconds remains.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable

import trio

from bbhost.processes.exit_wait import open_pidfd
from bbhost.processes.proc import ProcessIdentity, ProcessStat

_LOOK_SECONDS = 0.01
"""Between two looks at a process that cannot be waited for."""

ReadStat = Callable[[int], ProcessStat | None]


def signal_process(
    identity: ProcessIdentity, signums: Iterable[signal.Signals], read_stat: ReadStat
) -> bool:
    """Send the signals in order. Returns False if the process is gone or may not be signalled."""
    try:
        pidfd = open_pidfd(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_alive(identity, read_stat):
            return False
        for signum in signums:
            if pidfd is not None and sys.platform == "linux":
                signal.pidfd_send_signal(pidfd, signum)
            else:
                os.kill(identity.pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    else:
        return True
    finally:
        if pidfd is not None:
            os.close(pidfd)


async def wait_ended(identities: Iterable[ProcessIdentity], read_stat: ReadStat) -> None:
    """Wait until every one of the processes has exited, reaped or not.

    Cancellation: safe at any point.
    """
    async with trio.open_nursery() as waits:
        for identity in identities:
            waits.start_soon(_wait_one, identity, read_stat)


async def _wait_one(identity: ProcessIdentity, read_stat: ReadStat) -> None:
    await trio.lowlevel.checkpoint()
    try:
        pidfd = open_pidfd(identity.pid)
    except ProcessLookupError:
        return
    if pidfd is None:
        # Not our child and no descriptor for it: looking again is all there is.
        while _is_alive(identity, read_stat):  # noqa: ASYNC110 - there is no event
            await trio.sleep(_LOOK_SECONDS)
        return
    try:
        if _is_alive(identity, read_stat):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _is_alive(identity: ProcessIdentity, read_stat: ReadStat) -> bool:
    stat = read_stat(identity.pid)
    return stat is not None and stat.start_time == identity.start_time and not stat.is_dead
