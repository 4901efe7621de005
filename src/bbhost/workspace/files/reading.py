"""Reading one file, with or without a root that must hold it. Blocking: for worker threads."""

import hashlib
import os
import stat

from attrs import frozen

from bbhost.errors import FileMissingError, InvalidPathError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.files.beneath import Resolver
from bbhost.workspace.files.content import check_size
from bbhost.workspace.files.paths import absolute_path, file_errors, open_beneath, relative_parts

# Never waits for a writer of a FIFO, never takes a terminal as controlling terminal.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOCK = 1024 * 1024


@frozen
class FileFacts:
    """Size and time of a regular file."""

    size: int
    """Bytes."""
    modified_at_ms: float
    """Milliseconds since the epoch, with a fraction."""


@frozen
class FileBytes:
    """A file that was read."""

    data: bytes
    facts: FileFacts


def read_file(resolver: Resolver, path: str, root_path: str | None, limit: int) -> FileBytes:
    """Read a file named by an absolute path.

    Args:
        root_path: directory that must hold the file after all links are followed; None reads
            anything this user may read.
        limit: largest size, bytes.

    Raises:
        FileMissingError, InvalidPathError, FileTooLargeError, BbhostError.
    """
    absolute = absolute_path(path)
    with file_errors(path):
        if root_path is None:
            opened = os.open(absolute, _READ)
        else:
            opened = open_beneath(resolver, root_path, absolute, _READ)
        return _read_and_close(opened, path, limit)


def read_metadata(resolver: Resolver, path: str, root_path: str | None) -> FileFacts:
    """Size and time of a file named by an absolute path; errors as of :func:`read_file`."""
    absolute = absolute_path(path)
    with file_errors(path):
        if root_path is None:
            return _facts(os.stat(absolute), path)  # noqa: PTH116 - the path is text throughout
        opened = open_beneath(resolver, root_path, absolute, getattr(os, "O_PATH", _READ))
        try:
            return _facts(os.fstat(opened), path)
        finally:
            os.close(opened)


def read_file_relative(
    resolver: Resolver, root_path: str, path: str, *, dotfiles: bool, limit: int
) -> FileBytes:
    """Read a file named relative to a root; errors as of :func:`read_file`."""
    parts = relative_parts(path)
    check_dotfiles(parts, path, dotfiles=dotfiles)
    with file_errors(path):
        absolute = "/".join([absolute_path(root_path), *parts])
        return _read_and_close(open_beneath(resolver, root_path, absolute, _READ), path, limit)


def check_dotfiles(parts: tuple[str, ...], path: str, *, dotfiles: bool) -> None:
    """Hide names that start with a dot where the command says so.

    Raises:
        FileMissingError: ``dotfiles`` is False and a part starts with a dot.
    """
    if not dotfiles and any(part.startswith(".") for part in parts):
        raise FileMissingError(f"Path does not exist: {path}")


def hash_of(opened: int) -> str:
    """SHA-256 of an open file from its beginning, lower-case hex."""
    digest = hashlib.sha256()
    while block := os.read(opened, _BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _read_and_close(opened: int, path: str, limit: int) -> FileBytes:
    try:
        facts = _facts(os.fstat(opened), path)
        check_size(path, facts.size, limit)
        fault_point("files.read")
        # The size may be wrong: files grow, and those of /proc say 0. One byte more tells.
        blocks: list[bytes] = []
        room = limit + 1
        while room > 0 and (block := os.read(opened, min(room, _BLOCK))):
            blocks.append(block)
            room -= len(block)
        data = b"".join(blocks)
        check_size(path, len(data), limit)
        return FileBytes(data, FileFacts(len(data), facts.modified_at_ms))
    finally:
        os.close(opened)


def _facts(found: os.stat_result, path: str) -> FileFacts:
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise InvalidPathError(f"Path is {kind}: {path}")
    return FileFacts(found.st_size, found.st_mtime_ns / 1_000_000)
