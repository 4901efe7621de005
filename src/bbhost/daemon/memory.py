"""Memory that only starting needs, given back before the work begins.

A daemon of this kind is a few hundred modules and a few hundred generated classes that live as long
as it does, and little else. So the first thing is not to import what is not used; here is the rest.
"""

import ctypes
import gc
import linecache
import sys
from contextlib import suppress

from bbhost.daemon.tidy_imports import stop_tidying

_M_ARENA_MAX = -8
ARENAS = 1
"""Heaps of the C library: it makes one per thread, each of which keeps what it once had. The few
threads of the daemon wait for the disk and hardly ever for each other's heap."""


def share_one_heap() -> None:
    """Have all threads share a heap. To be called before there are threads; does nothing elsewhere
    than on glibc."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def settle_memory() -> None:
    """Everything is imported: drop what only made it, and let nobody look through it again.

    The sources of generated methods are kept for tracebacks, about 1.5 MB; without them a traceback
    lacks the text of those lines. What is frozen is not searched for garbage any more: the
    collector's rounds cost what was made since, and not what the modules hold.
    """
    stop_tidying()
    linecache.clearcache()
    gc.collect()
    gc.freeze()
