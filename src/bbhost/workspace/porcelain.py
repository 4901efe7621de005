"""Reading ``git status --porcelain=v2 --branch -z``. Pure."""

import os

from attrs import frozen

from bbhost.domain.status import FileStatus
from bbhost.errors import GitCommandError
from bbhost.workspace.names import text_name

_BY_PRECEDENCE = (
    ("U", FileStatus.UNMERGED),
    ("R", FileStatus.RENAMED),
    ("C", FileStatus.COPIED),
    ("A", FileStatus.ADDED),
    ("D", FileStatus.DELETED),
)
_FIELDS_BEFORE_PATH = {b"1": 8, b"2": 9, b"u": 10}


@frozen
class PorcelainFile:
    """One changed or untracked file."""

    name: bytes
    """Relative to the top of the work tree; the new name of a renamed file. An untracked directory
    that is a repository of its own ends in a slash."""
    status: FileStatus

    @property
    def path(self) -> str:
        """The name as text."""
        return text_name(self.name)


@frozen
class PorcelainStatus:
    """What git said."""

    head: str | None
    """Commit id; None when unborn."""
    branch: str | None
    """None when detached."""
    files: tuple[PorcelainFile, ...]
    """Tracked ones first, then untracked ones, each by name."""
    ignored_directories: tuple[str, ...]
    """File system names, without the trailing slash; empty unless asked for."""

    @property
    def has_tracked_changes(self) -> bool:
        """Whether anything but untracked files changed."""
        return any(file.status is not FileStatus.UNTRACKED for file in self.files)

    @property
    def has_conflicts(self) -> bool:
        """Whether a merge left files unmerged."""
        return any(file.status is FileStatus.UNMERGED for file in self.files)


def parse_porcelain(output: bytes) -> PorcelainStatus:
    """Parse the whole output.

    Raises:
        GitCommandError: it is not what git writes.
    """
    head: str | None = None
    branch: str | None = None
    files: list[PorcelainFile] = []
    ignored: list[str] = []
    records = iter(output.split(b"\0"))
    for record in records:
        kind, _, rest = record.partition(b" ")
        if kind in _FIELDS_BEFORE_PATH:
            files.append(_tracked(kind, rest))
            if kind == b"2":
                next(records, None)  # the name it had before
        elif kind == b"?":
            files.append(PorcelainFile(rest, FileStatus.UNTRACKED))
        elif kind == b"!":
            if rest.endswith(b"/"):
                ignored.append(os.fsdecode(rest[:-1]))
        elif rest.startswith(b"branch.oid "):
            value = text_name(rest.removeprefix(b"branch.oid "))
            head = None if value == "(initial)" else value
        elif rest.startswith(b"branch.head "):
            value = text_name(rest.removeprefix(b"branch.head "))
            branch = None if value == "(detached)" else value
    return PorcelainStatus(head, branch, tuple(files), tuple(ignored))


def _tracked(kind: bytes, rest: bytes) -> PorcelainFile:
    fields = rest.split(b" ", _FIELDS_BEFORE_PATH[kind] - 1)
    if len(fields) != _FIELDS_BEFORE_PATH[kind]:
        raise GitCommandError("git status printed a line that cannot be read")
    # Both-added and both-deleted are conflicts although their letters are not U.
    letters = "U" if kind == b"u" else fields[0].decode("ascii", "replace")
    return PorcelainFile(fields[-1], file_status(letters))


def file_status(letters: str) -> FileStatus:
    """Return the one status for the letters git gives the index and the work tree.

    Unmerged wins over renamed, copied, added and deleted, in this order; all else is modified.
    """
    for letter, status in _BY_PRECEDENCE:
        if letter in letters:
            return status
    return FileStatus.MODIFIED
