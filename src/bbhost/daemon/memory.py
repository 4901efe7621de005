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
_M_MMAP_THRESHOLD = -3
OWN_MAPPING_BYTES = 128 * 1024
"""From here on a block gets a mapping of its own, which goes back to the kernel as soon as it is free.
That is how glibc begins; but with the first large block that is freed it raises the bound to that
block's size, up to 32 MiB, and from then on large blocks leave holes in the heap. Python's table of
interned strings alone is 0.9 MiB and made anew now and then: each component of a path that is looked
at goes through it."""


_libc = ctypes.CDLL(None)


def bound_heap() -> None:
    """Have all threads share one heap, without large blocks. To be called before there are threads;
    does nothing elsewhere than on glibc."""
    if sys.platform == "linux":
        with suppress(AttributeError):
            _libc.mallopt(_M_ARENA_MAX, ARENAS)
            _libc.mallopt(_M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)


def give_heap_back() -> None:
    """Return to the kernel what is free within the heap, whole pages of it; does nothing elsewhere
    than on glibc. Never raises.

    By itself glibc returns only the end of the heap, and what an environment allocated lies between
    what stays. Takes 0.1 to 0.4 ms for each MiB of a heap in many pieces, which for 300 environments is
    about 15 MiB, and less when there is less to return; whoever allocates waits meanwhile, thread or not.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            _libc.malloc_trim(0)


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
