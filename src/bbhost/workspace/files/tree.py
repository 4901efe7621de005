"""Removing a directory tree without following links and without recursion. Blocking.

A tree of any depth is removed with two open directories: a subdirectory that is not empty is moved
up into the top directory and emptied in its turn. So neither the stack nor the number of file
descriptors grows with the depth, and a run that is cut short is finished by the next.
"""

import errno
import os
import stat
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIN = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_OWNER_ALL = stat.S_IRWXU
ROUNDS = 100_000
"""Levels that are removed, and times that a directory is found filled again by somebody else; then
removing fails as the system would: not empty."""


def remove_tree(parent: int, name: str, check: Callable[[], None] = lambda: None) -> bool:
    """Remove ``name`` in the directory ``parent``: a file, a link, or a directory with all in it.

    Directories without write permission (package caches make such) are made writable first.

    Args:
        check: called before each entry; may raise to stop early.

    Returns:
        False where nothing was there.

    Raises:
        OSError: an entry could not be removed (a mount point, no permission).
    """
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return True
    top = _open_writable(parent, name)
    if top is not None:
        try:
            _empty(top, check)
        finally:
            os.close(top)
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return True


def _empty(top: int, check: Callable[[], None]) -> None:
    """Remove everything in the directory ``top``."""
    for _ in range(ROUNDS):
        pending = _remove_entries(top, top, check)
        if not pending:
            return
        for name in pending:
            below = _open_writable(top, name)
            if below is None:
                continue
            try:
                _remove_entries(below, top, check)
            finally:
                os.close(below)
            with suppress(FileNotFoundError):
                _rmdir_if_empty(top, name)
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def _remove_entries(directory: int, top: int, check: Callable[[], None]) -> list[str]:
    """Remove the entries of ``directory``; move directories that are not empty into ``top``.

    Returns:
        Directories left in ``top``; empty where ``directory`` is another one.
    """
    left = []
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        check()
        with suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif not _rmdir_if_empty(directory, name):
                if directory == top:
                    left.append(name)
                else:
                    _move_up(directory, name, top)
    return left


def _rmdir_if_empty(directory: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in _NOT_EMPTY:
            raise
        return False
    return True


def _move_up(directory: int, name: str, top: int) -> None:
    moved = uuid.uuid4().hex
    try:
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
    except PermissionError:
        # To move a directory is to write its "..", which needs write permission on it.
        opened = _open_writable(directory, name)
        if opened is None:
            return
        os.close(opened)
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)


def _open_writable(parent: int, name: str) -> int | None:
    """Open a directory, giving its owner all permissions; None where it has gone meanwhile."""
    try:
        try:
            opened = os.open(name, _OPEN, dir_fd=parent)
        except PermissionError:
            _make_writable(parent, name)
            opened = os.open(name, _OPEN, dir_fd=parent)
    except FileNotFoundError:
        return None
    with suppress(PermissionError):  # another owner's: removing may work all the same
        if os.fstat(opened).st_mode & _OWNER_ALL != _OWNER_ALL:
            os.fchmod(opened, _OWNER_ALL)
    return opened


def _make_writable(parent: int, name: str) -> None:
    """Give the owner all permissions on a directory, never on what a link leads to."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, _OWNER_ALL, dir_fd=parent, follow_symlinks=False)
        return
    pinned = os.open(name, _PIN, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{pinned}").chmod(_OWNER_ALL)
    finally:
        os.close(pinned)
