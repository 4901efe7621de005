"""Reading a file as it is in a commit."""

import os
import re
import stat

from bbhost.errors import BbhostError, FileMissingError, InvalidPathError
from bbhost.workspace.files.content import check_size, size_limit
from bbhost.workspace.files.paths import absolute_path
from bbhost.workspace.git import Git

_REF = re.compile(r"[A-Za-z0-9_./~^@-]+")
_PATH_LIMIT = 4096
"""Bytes of a path, as in the system's own calls."""


class InvalidRefError(BbhostError):
    """The text cannot name a commit."""

    code = "invalid_ref"


def check_ref(ref: str) -> str:
    """Return ``ref`` if it can name a commit and nothing else.

    Raises:
        InvalidRefError: it may be an option, a range, or holds other characters.
    """
    if not _REF.fullmatch(ref) or ref.startswith("-") or ".." in ref:
        raise InvalidRefError(f"Not a usable git ref: {ref!r}")
    return ref


def path_in_repository(root_path: str, path: str) -> str:
    """``path`` relative to ``root_path``, by its text alone: nothing on the disk is looked at.

    Raises:
        InvalidPathError: it is not beneath the root.
    """
    root = absolute_path(root_path).rstrip("/") + "/"
    absolute = absolute_path(path)
    if not absolute.startswith(root):
        raise InvalidPathError(f"Path leads out of its root: {path}")
    relative = absolute[len(root) :]
    # git reads object names line by line.
    if "\n" in relative or len(os.fsencode(relative)) > _PATH_LIMIT:
        raise InvalidPathError(f"Path cannot be looked up in a commit: {path!r}")
    return relative


def check_root(root_path: str) -> None:
    """Make sure that the root is a directory and no link. Blocking.

    Raises:
        FileMissingError: nothing is there.
        InvalidPathError: it is something else.
    """
    try:
        found = os.lstat(absolute_path(root_path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissingError(f"Path does not exist: {root_path}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidPathError(f"Root is not a directory: {root_path}")


async def read_at_ref(git: Git, root_path: str, path: str, ref: str) -> bytes | None:
    """Content of ``path`` in the commit ``ref``; None where that commit or the path is missing.

    Two git processes: one for the size, one for the content by its object id.

    Raises:
        InvalidRefError, InvalidPathError, FileTooLargeError.
        GitCommandError: ``root_path`` is not in a repository.
    """
    name = f"{check_ref(ref)}:{path_in_repository(root_path, path)}"
    found = await git.run(
        "cat-file", "--batch-check", cwd=root_path, stdin=os.fsencode(name) + b"\n"
    )
    fields = found.stdout.rstrip(b"\n").rsplit(b" ", 2)
    if len(fields) != 3 or not fields[2].isdigit():
        return None  # "<name> missing" or "<name> ambiguous"
    object_id, kind, size = fields[0].decode("ascii"), fields[1], int(fields[2])
    if kind != b"blob":
        raise InvalidPathError(f"Path is not a file: {path}")
    check_size(path, size, size_limit(path))
    blob = await git.run("cat-file", "blob", object_id, cwd=root_path, output_limit=size + 1)
    return blob.stdout
