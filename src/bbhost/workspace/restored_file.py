"""Writing one rescued file, and telling whether that would overwrite something else. Blocking.

Never follows a symlink on the way, and a file appears whole or not at all.
"""

import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from bbhost.errors import RescueError
from bbhost.workspace.beneath import NotBeneathError, opened_parent, opened_root

READ_BYTES = 1024 * 1024
SYMLINK_MODE = "120000"
EXECUTABLE_MODE = "100755"


@frozen
class RestoredFile:
    """A file to be written."""

    path: str
    """Relative, as ``os.fsdecode`` gives it."""
    mode: str
    """Git's mode: 100644, 100755 or 120000."""
    permissions: int | None
    """Permission bits where they were others than git's mode says."""


def write_file(root: Path, file: RestoredFile, content: bytes) -> None:
    """Write one file, replacing what is there.

    Raises:
        RescueError: it cannot be reached beneath ``root``, or a directory that is not empty is there.
        OSError: it cannot be written; nothing is left of it.
    """
    write_file_by(root, file, lambda stream: stream.write(content))


def write_file_by(root: Path, file: RestoredFile, write: Callable[[BinaryIO], object]) -> None:
    """The same, with content that ``write`` puts into the open file."""
    try:
        with (
            opened_root(root) as top,
            opened_parent(top, file.path, make=True) as (directory, name),
        ):
            temporary = f".bbhost-restore-{secrets.token_hex(6)}"
            try:
                _create(directory, temporary, file, write)
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.rmdir(name, dir_fd=directory)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
    except NotBeneathError as error:
        raise RescueError(f"Cannot write {file.path}: {error}") from None


def remove_path(root: Path, path: str) -> None:
    """Remove one file; a missing one is a success."""
    with (
        suppress(NotBeneathError, FileNotFoundError, IsADirectoryError),
        opened_root(root) as top,
        opened_parent(top, path) as (directory, name),
    ):
        os.unlink(name, dir_fd=directory)


def differs(root: Path, path: str, known: frozenset[str]) -> bool:
    """Whether something is at ``path`` whose content has none of the object ids ``known``."""
    try:
        with opened_root(root) as top, opened_parent(top, path) as (directory, name):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                link = os.fsencode(os.readlink(name, dir_fd=directory))
                return not known & _ids(len(link), [link])
            if not stat.S_ISREG(found.st_mode):
                return True
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
                return not known & _ids(found.st_size, iter(lambda: file.read(READ_BYTES), b""))
    except FileNotFoundError:
        return False
    except NotBeneathError:
        # A missing directory on the way is room for the file; a symlink or file there is not.
        return os.path.lexists(root / path.split("/")[0]) and not _room_for(root, path)


def _room_for(root: Path, path: str) -> bool:
    place = root
    for part in path.split("/")[:-1]:
        place /= part
        if place.is_symlink() or not place.is_dir():
            return not os.path.lexists(place)
    return True


def _ids(size: int, chunks: Iterable[bytes]) -> frozenset[str]:
    """Object ids git would give to this content, in both of its formats."""
    header = b"blob %d\0" % size
    hashes = [hashlib.sha1(header, usedforsecurity=False), hashlib.sha256(header)]
    for chunk in chunks:
        for one in hashes:
            one.update(chunk)
    return frozenset(one.hexdigest() for one in hashes)


def _create(
    directory: int, name: str, file: RestoredFile, write: Callable[[BinaryIO], object]
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    if file.mode == SYMLINK_MODE:
        target = io.BytesIO()
        write(target)
        os.symlink(os.fsdecode(target.getvalue()), name, dir_fd=directory)
        return
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=directory), "wb") as stream:
        write(stream)
        stream.flush()
        plain = 0o755 if file.mode == EXECUTABLE_MODE else 0o644
        os.fchmod(stream.fileno(), plain if file.permissions is None else file.permissions)
