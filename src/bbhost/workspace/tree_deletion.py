"""Deleting a directory tree in slices, for trees that other programs made. Blocking.

Works on descriptors and never follows a symlink, does not leave the file system it started on,
and makes directories writable that are not (module caches are made read-only on purpose).
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from attrs import define, field

SLICE_SECONDS = 0.05
"""Longest time one call works; between calls the caller can be cancelled."""
MAX_DEPTH = 64
"""Deeper directories are moved up first: each level costs a descriptor and a stack frame."""
MAX_ROUNDS = 3
"""How often a directory that fills up again while it is emptied is emptied anew."""
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIN_DIRECTORY = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete_slice(path: Path, seconds: float = SLICE_SECONDS) -> bool:
    """Delete a part of the tree at ``path``; True when nothing of it is left.

    Call it again until it is True. What has vanished meanwhile counts as deleted.

    Raises:
        OSError: something cannot be deleted (an immutable file, a mount point). The rest that could
            be deleted in this slice is gone.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return delete_slice_at(parent, path.name, seconds)
    finally:
        os.close(parent)


def delete_slice_at(parent: int, name: str, seconds: float = SLICE_SECONDS) -> bool:
    """The same for ``name`` in the open directory ``parent``, whose path may change meanwhile."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if not stat.S_ISDIR(found.st_mode):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return True
    slice_ = _Slice(time.monotonic() + seconds, found.st_dev)
    done = slice_.remove_directory(parent, name, 0)
    if slice_.error is not None:
        raise slice_.error
    return done


@define(eq=False)
class _Slice:
    deadline: float
    device: int
    top: int = -1
    error: OSError | None = None
    """The first failure; the slice goes on with what it can delete."""
    moved: int = 0
    """Directories moved up into the top."""
    _numbers: "count[int]" = field(factory=lambda: count(time.monotonic_ns()))

    def remove_directory(self, parent: int, name: str, depth: int) -> bool:
        """Remove one directory; False when time is up or something in it cannot be deleted."""
        try:
            descriptor = _open_directory(parent, name)
        except FileNotFoundError:
            return True
        except OSError as error:
            return self._fail(error)
        try:
            if os.fstat(descriptor).st_dev != self.device:
                return self._fail(
                    OSError(errno.EBUSY, "another file system is mounted here", name)
                )
            if depth == 0:
                self.top = descriptor
            rounds = 0
            while rounds < MAX_ROUNDS:
                moved = self.moved
                if not self._empty(descriptor, depth):
                    return False
                try:
                    _with_write_permission(parent, lambda: os.rmdir(name, dir_fd=parent))
                except FileNotFoundError:
                    return True
                except OSError as error:
                    if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                        return self._fail(error)
                    # What was moved up here from below is no sign of somebody else.
                    rounds += self.moved == moved
                else:
                    return True
        finally:
            os.close(descriptor)
        return self._fail(OSError(errno.ENOTEMPTY, "a program keeps writing here", name))

    def _empty(self, directory: int, depth: int) -> bool:
        emptied = True
        with os.scandir(directory) as entries:
            for entry in entries:
                if time.monotonic() > self.deadline:
                    return False
                emptied = self._remove_entry(directory, entry, depth) and emptied
        return emptied

    def _remove_entry(self, directory: int, entry: "os.DirEntry[str]", depth: int) -> bool:
        if entry.is_dir(follow_symlinks=False):
            if depth < MAX_DEPTH:
                return self.remove_directory(directory, entry.name, depth + 1)
            return self._move_up(directory, entry.name)
        try:
            _with_write_permission(directory, lambda: os.unlink(entry.name, dir_fd=directory))
        except FileNotFoundError:
            return True
        except OSError as error:
            return self._fail(error)
        return True

    def _move_up(self, directory: int, name: str) -> bool:
        with suppress(OSError):
            # Moving a directory changes its "..", which takes write permission on itself.
            os.close(_open_directory(directory, name))
        try:
            _with_write_permission(
                directory,
                lambda: os.rename(
                    name, f".deep-{next(self._numbers)}", src_dir_fd=directory, dst_dir_fd=self.top
                ),
            )
        except OSError as error:
            return self._fail(error)
        self.moved += 1
        return True

    def _fail(self, error: OSError) -> bool:
        self.error = self.error or error
        return False


def _open_directory(parent: int, name: str) -> int:
    try:
        descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        _make_accessible(parent, name)
        descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    mode = os.fstat(descriptor).st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(mode) | stat.S_IRWXU)
    return descriptor


def _make_accessible(parent: int, name: str) -> None:
    """Give the owner all permissions on a directory that may not be opened, never on a link's target."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    pinned = os.open(name, _PIN_DIRECTORY, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{pinned}").chmod(stat.S_IRWXU)
    finally:
        os.close(pinned)


def _with_write_permission(directory: int, change: Callable[[], None]) -> None:
    try:
        change()
    except PermissionError:
        os.fchmod(directory, stat.S_IRWXU)
        change()
