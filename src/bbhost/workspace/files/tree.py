"""Removing a file or a directory tree that lies in an open directory. Blocking."""

import os
from collections.abc import Callable

from bbhost.workspace.tree_deletion import delete_slice_at


def remove_tree(parent: int, name: str, check: Callable[[], None] = lambda: None) -> bool:
    """Remove ``name`` in the directory ``parent``: a file, a link, or a directory with all in it.

    Args:
        check: called many times a second; may raise to stop early. What is left then is removed by the
            next call.

    Returns:
        False where nothing was there.

    Raises:
        OSError: an entry could not be removed (a mount point, no permission).
    """
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    while not delete_slice_at(parent, name):
        check()
    return True
