"""Copying single files from one tree to another without ever leaving either. Blocking.

Every directory on the way is opened without following symlinks, and a file is only ever created, never
opened for writing, so nothing that exists can be overwritten.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath

from bbhost.workspace.beneath import NotBeneathError, opened_parent

CHUNK_BYTES = 8 * 1024 * 1024
"""Copied between two looks at whether to go on."""
_FICLONE = 0x40049409
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotCopiedError(Exception):
    """This file is left out; the message says why."""


def copy_beneath(source: int, target: int, path: str, go_on: Callable[[], None]) -> int:
    """Copy ``path`` from one directory to another, with its permissions and modification time.

    Args:
        source: descriptor of the directory to copy from.
        target: descriptor of the directory to copy to.
        path: relative path of the file in both.
        go_on: called between chunks; what it raises stops the copy.

    Returns:
        Its size in bytes.

    Raises:
        NotCopiedError: it is no file, leads out of its tree, or exists in the target.
        OSError: it cannot be read or written. Nothing is left of it in the target.
    """
    try:
        with (
            opened_parent(source, path) as (source_dir, name),
            opened_parent(target, path, make=True) as (target_dir, _),
        ):
            found = os.stat(name, dir_fd=source_dir, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                return _copy_link(source_dir, target_dir, PurePosixPath(path))
            if stat.S_ISREG(found.st_mode):
                return _copy_file(source_dir, target_dir, name, go_on)
    except NotBeneathError as error:
        raise NotCopiedError(str(error)) from None
    except FileNotFoundError:
        raise NotCopiedError("it has vanished") from None
    except FileExistsError:
        raise NotCopiedError("it is there already") from None
    raise NotCopiedError("it is neither a file nor a symbolic link")


def _copy_link(source_dir: int, target_dir: int, path: PurePosixPath) -> int:
    link = os.readlink(path.name, dir_fd=source_dir)
    place = os.path.normpath(path.parent / link)
    if PurePosixPath(link).is_absolute() or place == ".." or place.startswith("../"):
        raise NotCopiedError("it is a symbolic link that leads out of the checkout")
    os.symlink(link, path.name, dir_fd=target_dir)
    return len(link)


def _copy_file(source_dir: int, target_dir: int, name: str, go_on: Callable[[], None]) -> int:
    reading = os.open(name, _READ, dir_fd=source_dir)
    try:
        found = os.fstat(reading)
        if not stat.S_ISREG(found.st_mode):
            raise NotCopiedError("it is not a file any more")
        writing = os.open(name, _CREATE, 0o600, dir_fd=target_dir)
        try:
            if not _clone(reading, writing):
                _copy_bytes(reading, writing, go_on)
            # Neither set-uid nor sticky: they are not this copy's business.
            os.fchmod(writing, stat.S_IMODE(found.st_mode) & 0o777)
            os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=target_dir)
            raise
        finally:
            os.close(writing)
        return found.st_size
    finally:
        os.close(reading)


def _clone(reading: int, writing: int) -> bool:
    """Share the blocks, where the file system can (btrfs, XFS, bcachefs)."""
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError:
        return False
    return True


def _copy_bytes(reading: int, writing: int, go_on: Callable[[], None]) -> None:
    in_kernel = hasattr(os, "copy_file_range")
    while True:
        go_on()
        if in_kernel:
            try:
                if os.copy_file_range(reading, writing, CHUNK_BYTES) == 0:
                    return
                continue
            except OSError as error:
                if error.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
                    raise
                in_kernel = False
        chunk = os.read(reading, CHUNK_BYTES)
        if not chunk:
            return
        view = memoryview(chunk)
        while view:
            view = view[os.write(writing, view) :]
