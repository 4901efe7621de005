"""Writing and deleting files beneath a root. Blocking: for worker threads.

A file is replaced whole or not at all: its new content goes to a temporary file beside it, which
is renamed. Whatever fails, the temporary file is removed; what a killed daemon left is removed by
the next write to the same file, which is usually the same command once more.
"""

import hashlib
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path

from attrs import frozen

from bbhost.errors import FileMissingError, InvalidPathError
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.umask import usual_mode
from bbhost.workspace.files.beneath import DIRECTORY, Resolver, allow, make_directories
from bbhost.workspace.files.paths import absolute_path, file_errors, open_root, relative_parts
from bbhost.workspace.files.reading import check_dotfiles, hash_of
from bbhost.workspace.files.tree import remove_tree

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_BYTES = 150  # of the name within the temporary name, which must stay under 255 bytes
_REST = re.compile(r"(\d{1,10})\.[0-9a-f]{32}\.tmp")
_LOOK_LIMIT = 10_000
"""Entries of a directory among which a killed daemon's temporary file is looked for."""


@frozen
class WrittenFile:
    """A file that was written."""

    sha256: str
    modified_at_ms: float
    """Milliseconds since the epoch, with a fraction."""
    size: int
    """Bytes."""


@frozen
class DeletedFile:
    """What deleting a file found. ``previous_sha256`` is None where nothing was there."""

    deleted: bool
    previous_sha256: str | None


def write_file_relative(root_path: str, path: str, data: bytes, *, dotfiles: bool) -> WrittenFile:
    """Replace or make a file; root and parents are made where missing.

    Raises:
        InvalidPathError: the path is not plain, or root, a parent or the file is a symbolic link or
            of the wrong kind.
        FileMissingError: a name starts with a dot and ``dotfiles`` is False.
        BbhostError: any other error of the system, with its errno name.
    """
    parts = relative_parts(path)
    check_dotfiles(parts, path, dotfiles=dotfiles)
    with file_errors(path):
        _make_root(root_path)
        with open_root(root_path) as root, _parent_made(root, parts, path) as parent:
            return replace_file(parent, parts[-1], data)


def replace_file(parent: int, name: str, data: bytes, mode: int | None = None) -> WrittenFile:
    """Atomically give ``name`` in the directory ``parent`` the content ``data``.

    Args:
        mode: permissions; None keeps those of the file that is there, else they are as if the person
            had made it.

    Raises:
        InvalidPathError: a symbolic link or a directory is in its place.
        OSError: as of the system calls.
    """
    before = _regular_or_none(parent, name)
    usual = None
    if mode is None:
        if before is None:
            usual = usual_mode(0o666)
        else:
            mode = stat.S_IMODE(before.st_mode)
    _remove_left_behind(parent, name)
    temporary = temporary_name(name)
    try:
        opened = os.open(temporary, _CREATE, 0o666, dir_fd=parent)
        try:
            if mode is not None:
                os.fchmod(opened, mode)
            elif usual is not None:
                allow(opened, usual, parent)
            _write_all(opened, data)
            os.fsync(opened)
            facts = os.fstat(opened)
        finally:
            os.close(opened)
        fault_point("files.write.rename")
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    return WrittenFile(
        hashlib.sha256(data).hexdigest(), facts.st_mtime_ns / 1_000_000, facts.st_size
    )


def temporary_name(name: str) -> str:
    """A hidden name beside ``name`` that nobody else uses and every file system takes."""
    return f"{_temporary_prefix(name)}{os.getpid()}.{uuid.uuid4().hex}.tmp"


def _temporary_prefix(name: str) -> str:
    short = os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore")
    return f".{short}."


def _remove_left_behind(parent: int, name: str) -> None:
    """Remove the temporary files for ``name`` whose process is gone."""
    prefix = _temporary_prefix(name)
    with suppress(OSError):
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            with os.scandir(readable) as entries:
                names = [entry.name for entry in islice(entries, _LOOK_LIMIT)]
        finally:
            os.close(readable)
        for found in names:
            match = _REST.fullmatch(found[len(prefix) :]) if found.startswith(prefix) else None
            if match is not None and not _is_alive(int(match[1])):
                os.unlink(found, dir_fd=parent)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def delete_file_relative(
    resolver: Resolver, root_path: str, path: str, *, dotfiles: bool
) -> DeletedFile:
    """Delete a regular file. What is missing already, root and parents included, is an answer.

    Raises:
        InvalidPathError: a symbolic link or a directory is there, or a parent is a link.
    """
    parts = relative_parts(path)
    check_dotfiles(parts, path, dotfiles=dotfiles)
    try:
        with file_errors(path), open_root(root_path) as root:
            opened = resolver.open(root, parts, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                _must_be_regular(os.fstat(opened), path)
                previous = hash_of(opened)
            finally:
                os.close(opened)
            with _parent(resolver, root, parts) as parent:
                os.unlink(parts[-1], dir_fd=parent)
            return DeletedFile(deleted=True, previous_sha256=previous)
    except FileMissingError:
        return DeletedFile(deleted=False, previous_sha256=None)


def delete_path_relative(
    resolver: Resolver,
    root_path: str,
    path: str,
    *,
    dotfiles: bool,
    check: Callable[[], None] = lambda: None,
) -> bool:
    """Delete a file or a whole directory; False where root or target is missing.

    Args:
        check: called many times a second; may raise to stop early.

    Raises:
        FileMissingError: the target's parent is missing.
        InvalidPathError: a symbolic link is there, or a parent is one.
    """
    parts = relative_parts(path)
    check_dotfiles(parts, path, dotfiles=dotfiles)
    with file_errors(path):
        if not os.path.lexists(absolute_path(root_path)):
            return False
        with open_root(root_path) as root, _parent(resolver, root, parts) as parent:
            try:
                found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if stat.S_ISLNK(found.st_mode):
                raise InvalidPathError(f"Path is a symbolic link: {path}")
            remove_tree(parent, parts[-1], check)
            return True


@contextmanager
def _parent(resolver: Resolver, root: int, parts: tuple[str, ...]) -> Iterator[int]:
    parent = resolver.open(root, parts[:-1], DIRECTORY)
    try:
        yield parent
    finally:
        os.close(parent)


@contextmanager
def _parent_made(root: int, parts: tuple[str, ...], path: str) -> Iterator[int]:
    try:
        parent = make_directories(root, parts[:-1], for_person=True)
    except NotADirectoryError as error:
        raise InvalidPathError(f"A parent is not a directory: {path}") from error
    try:
        yield parent
    finally:
        os.close(parent)


def _make_root(root_path: str) -> None:
    root = Path(absolute_path(root_path))
    missing = list(takewhile(lambda one: not one.exists(), (root, *root.parents)))
    mode = usual_mode(0o777)
    try:
        for directory in reversed(missing):
            _make_directory(directory, mode)
        root.mkdir(exist_ok=True)  # Raises where it is no directory.
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidPathError(f"Root is not a directory: {root_path}") from error


def _make_directory(path: Path, mode: int | None) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        return  # somebody else has made it
    if mode is not None:
        made = os.open(path, DIRECTORY)
        try:
            allow(made, mode, path.parent)
        finally:
            os.close(made)


def _regular_or_none(parent: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _must_be_regular(found, name)
    return found


def _must_be_regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InvalidPathError(f"Path is not a regular file: {path}")


def _write_all(opened: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(opened, rest) :]
