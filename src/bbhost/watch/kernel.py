"""One inotify instance. The only module that knows ``inotify_simple``.

Only directories are watched, with one mask for all: a directory can be watched for several reasons
at once, and the kernel keeps one watch and one mask per directory and instance.
"""

import ctypes
import errno
import os
from typing import NamedTuple

import inotify_simple
from inotify_simple import flags

# inotify_simple looks for libc with ctypes.util.find_library, which starts ldconfig and compilers.
# Those would be children of the daemon that nobody owns. libc is loaded already: hand it over.
inotify_simple._libc = ctypes.CDLL(None, use_errno=True)

IS_DIRECTORY = int(flags.ISDIR)
APPEARED = int(flags.CREATE | flags.MOVED_TO)
VANISHED = int(flags.DELETE | flags.MOVED_FROM)
ATTRIBUTES = int(flags.ATTRIB)
OVERFLOW = int(flags.Q_OVERFLOW)
REMOVED = int(flags.IGNORED)
"""The kernel has dropped the watch: it was asked to, or the directory is gone."""
MOVED = int(flags.MOVE_SELF)
DELETED = int(flags.DELETE_SELF)
UNMOUNTED = int(flags.UNMOUNT)
SELF = REMOVED | MOVED | DELETED | UNMOUNTED
"""Events that tell of the watched directory itself and carry no name."""

# MODIFY says that a write has happened before the write returns; CLOSE_WRITE adds what was written
# through a mapping while the file was open; ATTRIB adds modes and times, and new hard links.
_MASK = int(
    flags.MODIFY
    | flags.CLOSE_WRITE
    | flags.ATTRIB
    | flags.CREATE
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
    | flags.EXCL_UNLINK
)


class RawEvent(NamedTuple):
    """One event as the kernel gave it; ``name`` is empty for the watched directory itself."""

    wd: int
    mask: int
    cookie: int
    name: str


class NoRoomError(OSError):
    """No kernel watch can be added: the kernel's limit or our budget is used up."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ENOSPC, message)


class Kernel:
    """An open inotify instance. ``add`` may be called from threads, the rest from the loop.

    Raises:
        OSError: EMFILE when the user has no inotify instance left.
    """

    def __init__(self) -> None:
        self._inotify = inotify_simple.INotify(nonblocking=True)

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Close the instance; the kernel drops all its watches."""
        self._inotify.close()

    def add(self, path: str) -> int:
        """Watch the directory ``path`` and return its watch number.

        The same directory has the same number, however often and by whatever path it is added.

        Raises:
            NoRoomError: the kernel's limit of watches is reached.
            OSError: ``path`` is missing, not a directory, or may not be read.
        """
        try:
            return int(self._inotify.add_watch(path, _MASK))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoRoomError("the kernel has no inotify watch left") from error
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from error

    def remove(self, wd: int) -> bool:
        """Drop a watch; false if the kernel has dropped it already, or all with the instance."""
        try:
            self._inotify.rm_watch(wd)
        except (OSError, ValueError):  # ValueError: the instance is closed
            return False
        return True

    def read_nowait(self) -> list[RawEvent]:
        """Return everything that was queued when this was called; never blocks."""
        events: list[RawEvent] = self._inotify.read(timeout=0)
        return events
