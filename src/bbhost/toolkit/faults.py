"""Named points at which a test may stop the process or slow it down.

A fault point costs one dictionary look-up of an empty table unless ``BBHOST_FAULT`` is set, which
only tests do: ``BBHOST_FAULT=kill:provision.worktree_added`` ends the process with SIGKILL there;
``raise:<name>`` raises OSError(ENOSPC); ``block:<name>`` keeps the thread, and so the event loop, for an
hour; several are separated by commas. ``kill:<name>#3`` waits for the third time that point is reached.
"""

import errno
import os
import signal
import time
from collections import Counter

BLOCK_SECONDS = 3600.0


def parse_faults(text: str) -> dict[str, str]:
    """Turn ``kill:a,raise:b#3`` into ``{"a": "kill", "b#3": "raise"}``."""
    faults = {}
    for item in filter(None, text.split(",")):
        action, _, name = item.partition(":")
        faults[name] = action
    return faults


_FAULTS = parse_faults(os.environ.get("BBHOST_FAULT", ""))
_times_reached: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Stop here if a test asked for it.

    Raises:
        OSError: ENOSPC, where the test asked for ``raise``.
    """
    if not _FAULTS:
        return
    _times_reached[name] += 1
    action = _FAULTS.get(name) or _FAULTS.get(f"{name}#{_times_reached[name]}")
    if action is None:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise OSError(errno.ENOSPC, f"fault point {name}")
    if action == "block":
        time.sleep(BLOCK_SECONDS)
