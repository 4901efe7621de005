"""Storing files of a worktree as git objects, byte for byte.

Small files travel in the import stream; large ones are read by git itself, so that memory stays bounded.
"""

import os
import stat
from pathlib import Path

from attrs import evolve, frozen

from bbhost.errors import GitCommandError
from bbhost.workspace import import_stream
from bbhost.workspace.disk import on_disk
from bbhost.workspace.git import Git
from bbhost.workspace.repository import Repository

MAX_BYTES = 256 * 1024 * 1024
"""Work beyond this stays in the trash for its retention time instead."""
MAX_FILES = 50_000
"""The same for the number of files."""
INLINE_FILE_BYTES = 64 * 1024
"""Larger files are read by git itself."""
INLINE_BYTES = 4 * 1024 * 1024
"""Of the small ones together; the rest is read by git itself too."""
STORE_SECONDS = 300.0
"""Deadline of the git child that reads the large files."""
_PLAIN_PERMISSIONS = frozenset({0o644, 0o755})


class TooMuchWorkError(Exception):
    """There is more work than refs are to hold."""


@frozen
class SaveLimits:
    """How much is stored at most."""

    max_bytes: int = MAX_BYTES
    max_files: int = MAX_FILES


@frozen
class FileVersion:
    """One file as it was found."""

    mode: bytes
    """Git's mode: 100644, 100755 or 120000."""
    permissions: int | None
    """Permission bits, where git's mode does not say them."""
    content: bytes | None
    """The bytes, or the target of a symlink; None: git reads the file itself."""
    object_id: bytes | None = None
    """What git stored it as."""

    def command(self, path: bytes) -> bytes:
        """Return the import command that puts this version at ``path``."""
        if self.content is not None:
            return import_stream.put_inline(self.mode, self.content, path)
        assert self.object_id is not None
        return import_stream.put(self.mode, self.object_id, path)


async def store_files(
    git: Git, repository: Repository, paths: list[bytes], limits: SaveLimits
) -> dict[bytes, FileVersion]:
    """Read or store the files at ``paths``; those that are missing are left out.

    Raises:
        TooMuchWorkError: they are beyond ``limits``.
        OSError: one cannot be read.
        GitCommandError: git cannot store one.
    """
    files = await on_disk(_read_files, repository.work_tree, paths, limits)
    large = [path for path, version in files.items() if version.content is None]
    if not large:
        return files
    listing = b"".join(import_stream.quote_path(path) + b"\n" for path in large)
    result = await git.run(
        "hash-object",
        "-w",
        "--no-filters",
        "--stdin-paths",
        cwd=repository.work_tree,
        stdin=listing,
        timeout_seconds=STORE_SECONDS,
    )
    object_ids = result.stdout.split()
    if len(object_ids) != len(large):
        raise GitCommandError("git hash-object failed: a file changed while it was stored")
    for path, object_id in zip(large, object_ids, strict=True):
        files[path] = evolve(files[path], object_id=object_id)
    return files


def _read_files(root: Path, paths: list[bytes], limits: SaveLimits) -> dict[bytes, FileVersion]:
    if len(paths) > limits.max_files:
        raise TooMuchWorkError(f"it has more than {limits.max_files} changed files")
    files: dict[bytes, FileVersion] = {}
    total = inline = 0
    for path in paths:
        found = _look(root, path)
        if found is None:
            continue
        total += found.st_size
        if total > limits.max_bytes:
            raise TooMuchWorkError(f"it has more than {limits.max_bytes} bytes of changed files")
        small = found.st_size <= INLINE_FILE_BYTES and inline + found.st_size <= INLINE_BYTES
        version = _read(root, path, found, inline=small)
        inline += len(version.content or b"")
        files[path] = version
    return files


def _look(root: Path, path: bytes) -> os.stat_result | None:
    try:
        found = os.lstat(os.path.join(os.fsencode(root), path))  # noqa: PTH118 - names are bytes
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else None


def _read(root: Path, path: bytes, found: os.stat_result, *, inline: bool) -> FileVersion:
    place = os.path.join(os.fsencode(root), path)  # noqa: PTH118 - names are bytes
    if stat.S_ISLNK(found.st_mode):
        return FileVersion(b"120000", None, os.readlink(place))  # noqa: PTH115 - names are bytes
    bits = stat.S_IMODE(found.st_mode)
    mode = b"100755" if bits & stat.S_IXUSR else b"100644"
    permissions = None if bits in _PLAIN_PERMISSIONS else bits
    if not inline:
        return FileVersion(mode, permissions, None)
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # One byte more than looked at shows a file that still grows; then git reads it.
        content = file.read(INLINE_FILE_BYTES + 1)
    if len(content) > INLINE_FILE_BYTES:
        return FileVersion(mode, permissions, None)
    return FileVersion(mode, permissions, content)
