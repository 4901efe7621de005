"""Noticing that a file has changed, by its stat data."""

import os
import time

from attrs import field, frozen

RACY_SECONDS = 0.05
"""Longer than a tick of any file system's clock that has sub-second stamps."""

_Seen = tuple[int, int, int, int, int] | None


@frozen
class Stamp:
    """mtime, ctime, size, inode and mode of a file and of the symbolic link it may be."""

    path: str
    itself: _Seen
    target: _Seen
    taken_ns: int = field(default=0, eq=False)
    """Wall clock just before looking."""

    @property
    def changed_ns(self) -> int:
        """The latest change of either, wall clock; 0 for a missing file."""
        return max((seen[1] for seen in (self.itself, self.target) if seen), default=0)


def stamp_file(path: str) -> Stamp:
    """Look at a file, which may be missing. Blocking, some microseconds."""
    taken_ns = time.time_ns()
    return Stamp(path, _look(path, follow=False), _look(path, follow=True), taken_ns)


def was_settled(stamp: Stamp, since_ns: int | None = None) -> bool:
    """Whether a change after ``stamp`` was taken is certain to show in a later one.

    A change in the same tick of the file system's clock would not.

    Args:
        since_ns: the moment to judge by; that of the stamp where omitted.
    """
    moment = stamp.taken_ns if since_ns is None else since_ns
    return stamp.changed_ns < moment - int(RACY_SECONDS * 1e9)


def _look(path: str, *, follow: bool) -> _Seen:
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - called several times for each git child
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
