"""From the paths of a command to descriptors: roots, relative paths, and where a path really leads."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bbhost.errors import BbhostError, FileMissingError, InvalidPathError
from bbhost.workspace.files.beneath import DIRECTORY, Resolver

_LINK_OR_ESCAPE = frozenset({errno.ELOOP, errno.EXDEV})
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Turn errors of the system into faults of the contract, naming ``path`` as it was asked for.

    Raises:
        FileMissingError: nothing is there (also where a parent is a file).
        InvalidPathError: a symbolic link or a path that leaves its root.
        BbhostError: anything else, with the name of the errno as its code.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _MISSING:
            raise FileMissingError(f"Path does not exist: {path}") from error
        if error.errno in _LINK_OR_ESCAPE:
            raise InvalidPathError(
                f"Path leads through a link or out of its root: {path}"
            ) from error
        code = errno.errorcode.get(error.errno or 0, "command_failed")
        raise BbhostError(f"{error.strerror or error}: {path}", code=code) from error
    except UnicodeEncodeError as error:
        raise InvalidPathError("Path is not valid Unicode") from error


def absolute_path(path: str) -> str:
    """Normalise an absolute path lexically.

    Raises:
        InvalidPathError: the path is relative or holds a NUL.
    """
    if "\0" in path or not path.startswith("/"):
        raise InvalidPathError(f"Path must be absolute: {path!r}")
    return "/" + os.path.normpath(path).lstrip("/")


def relative_parts(path: str) -> tuple[str, ...]:
    """Split a relative POSIX path into its names.

    Raises:
        InvalidPathError: it is absolute, or holds a NUL, a backslash or an empty, ``.`` or ``..``
            component.
    """
    parts = tuple(path.split("/"))
    if "\0" in path or "\\" in path or any(part in {"", ".", ".."} for part in parts):
        raise InvalidPathError(f"Path must be relative and plain: {path!r}")
    return parts


@contextmanager
def open_root(root_path: str) -> Iterator[int]:
    """Open a root directory; yields its descriptor.

    Raises:
        InvalidPathError: relative, a symbolic link, or not a directory.
        FileMissingError: it does not exist.
    """
    path = absolute_path(root_path)
    with file_errors(root_path):
        try:
            root = os.open(path, DIRECTORY)
        except NotADirectoryError as error:
            if not os.path.lexists(path):  # a parent is a file
                raise
            raise InvalidPathError(f"Root is not a directory: {root_path}") from error
    try:
        yield root
    finally:
        os.close(root)


def real_parts(root_path: str, absolute: str) -> tuple[str, ...]:
    """Where ``absolute`` really leads, as names beneath ``root_path``.

    The answer is a hint and no proof: links may change at any time. It must be opened with a
    :class:`Resolver`, which follows none.

    Raises:
        InvalidPathError: it leads out of the root, or changes while it is looked up.
    """
    try:
        real_root = os.path.realpath(absolute_path(root_path))
        real_target = os.path.realpath(absolute)
    except OSError as error:  # a link that became something else between two system calls
        raise InvalidPathError(f"Path changed while it was looked up: {absolute}") from error
    if real_target == real_root:
        return ()
    prefix = real_root.rstrip("/") + "/"
    if not real_target.startswith(prefix):
        raise InvalidPathError(f"Path leads out of its root: {absolute}")
    return tuple(real_target[len(prefix) :].split("/"))


def open_beneath(resolver: Resolver, root_path: str, absolute: str, flags: int) -> int:
    """Open ``absolute``, following links only as far as they stay beneath ``root_path``.

    Raises:
        InvalidPathError: it leads out of the root, or was changed while it was being opened.
        OSError: as of :func:`os.open`.
    """
    with open_root(root_path) as root:
        return resolver.open(root, real_parts(root_path, absolute), flags)
