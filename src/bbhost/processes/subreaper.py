"""Becoming the parent of every orphan among the daemon's descendants (Linux).

With ``PR_SET_CHILD_SUBREAPER`` an orphan is re-parented to the daemon instead of to init. So all
that the daemon ever started, however often it forked, stays below the daemon in the process tree,
and a walk over the tree misses nothing. The price: the daemon has to reap the adopted ones.
"""

import sys

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Adopt orphaned descendants from now on, for the life of the process. False: not possible here."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False
