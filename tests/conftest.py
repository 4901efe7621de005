"""What every test leaves behind in the process that it shares with others: nothing."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from bbhost.processes.spawn import started_children

_PR_SET_CHILD_SUBREAPER = 36

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background: children would ignore it as well, and shells could not trap it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop_adopting_orphans() -> None:
    """Let init reap orphans again: a keeper made this process their subreaper, and ended with its test.

    Otherwise a daemon that a later test kills leaves zombies here, which nobody waits for.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def no_children_left() -> Iterator[None]:
    """End the children that a test left running, and fail it."""
    yield
    _stop_adopting_orphans()
    left = list(started_children.values())
    for child in left:
        # Past the end of the test's event loop, so by hand.
        child.signal_group(signal.SIGKILL)
        child._popen.wait()
        if child._pidfd is not None:
            os.close(child._pidfd)
        del started_children[child.pid]
    assert [child.argv for child in left] == []
