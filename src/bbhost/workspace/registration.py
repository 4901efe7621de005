"""How git registers linked worktrees, read from its files. No process, no change.

A repository's common dir holds ``worktrees/<name>/`` for each linked worktree, whose file
``gitdir`` names the worktree's ``.git`` file; that file names the registration back. Only where
both name each other is it certain which worktree a registration belongs to.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

MAX_LINK_BYTES = 65_536
"""No honest file of these is longer; what is beyond is not read."""
HALF_MADE = "initializing"
"""Lock reason that git itself sets while it makes a worktree, and leaves behind when killed."""


@frozen
class Registration:
    """One entry of ``<common dir>/worktrees``."""

    directory: Path
    """The worktree's git dir."""
    work_tree: Path | None
    """Where it says its worktree is; None where git was cut short before it said so."""
    lock_reason: str | None
    """Why it is locked (may be empty); None: not locked."""

    @property
    def common_dir(self) -> Path:
        """The repository it belongs to."""
        return self.directory.parent.parent

    @property
    def half_made(self) -> bool:
        """Git was cut short while it made this worktree."""
        return self.lock_reason == HALF_MADE or self.work_tree is None

    @property
    def locked_by_user(self) -> bool:
        """Somebody asked that this worktree be left alone."""
        return self.lock_reason is not None and self.lock_reason != HALF_MADE

    def names(self, path: Path) -> bool:
        """Whether it says that its worktree is at ``path``."""
        return self.work_tree is not None and same_place(self.work_tree, path)


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths name one place; the last component may be missing and is not followed."""
    return one.name == other.name and (
        one == other or os.path.realpath(one.parent) == os.path.realpath(other.parent)
    )


def read_registration(directory: Path) -> Registration | None:
    """Read one entry; None where there is no such directory."""
    if not directory.is_dir():
        return None
    link = _read_line(directory / "gitdir")
    lock_reason = _read_line(directory / "locked")
    work_tree = None
    if link:
        # Relative since git 2.48 where so configured: relative to the registration.
        work_tree = Path(os.path.normpath(directory / link)).parent
    return Registration(directory, work_tree, lock_reason)


def linked_git_dir(work_tree: Path) -> Path | None:
    """Return the git dir that ``<work_tree>/.git`` names; None where it is not such a file."""
    line = _read_line(work_tree / ".git")
    if line is None or not line.startswith("gitdir:"):
        return None
    return Path(os.path.normpath(work_tree / line.removeprefix("gitdir:").strip()))


def registrations(common_dir: Path) -> Iterator[Registration]:
    """Yield all entries of a repository, in no particular order."""
    with suppress(OSError), os.scandir(common_dir / "worktrees") as entries:
        for entry in entries:
            registration = read_registration(Path(entry.path))
            if registration is not None:
                yield registration


def find_registration(common_dir: Path, work_tree: Path) -> Registration | None:
    """Return the entry that says its worktree is at ``work_tree``.

    Reads one small file per linked worktree of the repository.
    """
    for registration in registrations(common_dir):
        if registration.names(work_tree):
            return registration
    return None


def _read_line(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.fsdecode(os.read(descriptor, MAX_LINK_BYTES)).rstrip("\r\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)
