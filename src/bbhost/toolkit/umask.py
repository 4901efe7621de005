"""Who may read what is made: the daemon's own files, and those it makes for a person.

The daemon's own are its user's alone. What it makes in a person's directories, checkouts included, is to be as
usable as if the person had made it; so the mask that the process was started with is remembered.
"""

import os

PRIVATE_UMASK = 0o077
_before: int | None = None


def keep_files_private() -> None:
    """Make files that this process makes from now on readable by its user alone."""
    global _before
    before = os.umask(PRIVATE_UMASK)
    if _before is None:
        _before = before


def childrens_umask() -> int:
    """The mask for children, as ``subprocess`` takes it; -1: they keep the one of this process."""
    return -1 if _before is None else _before


def usual_mode(mode: int) -> int | None:
    """The permissions that what is made in a person's directories is to be given; None: it has them.

    Args:
        mode: before the mask, 0o666 or 0o777.
    """
    return None if _before is None else mode & ~_before
