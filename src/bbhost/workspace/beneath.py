"""Reaching a directory beneath another without following a symlink on the way. Blocking."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotBeneathError(Exception):
    """The path leads out of its root, or through something that is no directory."""


@contextmanager
def opened_parent(root: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Give a descriptor of the directory that holds ``path``, and the last name of it.

    Args:
        root: descriptor of the directory that ``path`` is relative to.
        make: make directories that are missing.

    Raises:
        NotBeneathError: ``path`` is absolute, climbs, or does not lead through real directories.
        OSError: a directory cannot be opened or made.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        raise NotBeneathError("it leads out of its directory")
    directory = os.dup(root)
    try:
        for part in pure.parts[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=directory)
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=directory)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    raise NotBeneathError(f"{part} is not a directory") from None
                raise
            os.close(directory)
            directory = inner
        yield directory, pure.name
    finally:
        os.close(directory)


@contextmanager
def opened_root(path: str | os.PathLike[str]) -> Iterator[int]:
    """Give a descriptor of a directory; a symlink at its end is followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
