"""Listing what is beneath a directory, within bounds. Blocking: for worker threads.

Names are visited in order, a directory before what is in it. Left out are names that start with a
dot, ``node_modules``, symbolic links, anything that is neither file nor directory, and names that
are not valid UTF-8 (no command could name them).
"""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from attrs import define, frozen

from bbhost.errors import FileMissingError
from bbhost.workspace.files.paths import file_errors, open_root

MAX_ENTRIES = 500_000
"""Entries looked at in one walk."""
MAX_DEPTH = 64
"""Levels below the root; one file descriptor each."""
MAX_SECONDS = 15.0
"""Time of one walk. A server waits longer than this for a command."""

_CHECK_EVERY = 256
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SKIPPED = frozenset({"node_modules"})


@frozen
class FoundPath:
    """One file or directory; ``path`` is relative to the root, separated by slashes."""

    path: str
    is_directory: bool

    @property
    def name(self) -> str:
        """Last component."""
        return self.path.rpartition("/")[2]


@define
class WalkBudget:
    """What a walk may use, and whether it was enough."""

    check: Callable[[], None] = lambda: None
    """Called every few hundred entries; may raise to end the walk."""
    max_entries: int = MAX_ENTRIES
    max_depth: int = MAX_DEPTH
    max_seconds: float = MAX_SECONDS
    exhausted: bool = False
    """True where something was left out for lack of budget."""


def walk(root_path: str, budget: WalkBudget) -> Generator[FoundPath, None, None]:
    """Yield what is beneath ``root_path``; nothing where it does not exist.

    Close the generator if it is left early: it holds file descriptors.

    Raises:
        InvalidPathError: the root is relative, a symbolic link or a file.
    """
    with file_errors(root_path):
        try:
            with open_root(root_path) as root:
                levels = [_Level(os.open(".", _LIST, dir_fd=root), "")]
        except FileMissingError:
            return
        try:
            yield from _descend(levels, budget)
        finally:
            for level in levels:
                level.close()


class _Level:
    """An open directory of the walk and its entries that are still to come, last first."""

    def __init__(self, directory: int, prefix: str) -> None:
        self.directory = directory
        self.prefix = prefix
        with os.scandir(directory) as entries:
            self.entries = [
                (entry.name, is_directory)
                for entry in entries
                if (is_directory := _kind(entry)) is not None
            ]
        self.entries.sort(reverse=True)

    def close(self) -> None:
        """Close the directory."""
        os.close(self.directory)


def _descend(levels: list[_Level], budget: WalkBudget) -> Iterator[FoundPath]:
    deadline = time.monotonic() + budget.max_seconds
    seen = 0
    while levels:
        level = levels[-1]
        if not level.entries:
            levels.pop().close()
            continue
        seen += 1
        if seen % _CHECK_EVERY == 0:
            budget.check()
        if seen > budget.max_entries or time.monotonic() > deadline:
            budget.exhausted = True
            return
        name, is_directory = level.entries.pop()
        path = level.prefix + name
        yield FoundPath(path, is_directory)
        if not is_directory:
            continue
        if len(levels) >= budget.max_depth:
            budget.exhausted = True
            continue
        below = _open_level(level.directory, name, path)
        if below is not None:
            levels.append(below)


def _open_level(directory: int, name: str, path: str) -> _Level | None:
    """Open a subdirectory; None where it may not be read or was replaced meanwhile."""
    try:
        opened = os.open(name, _LIST, dir_fd=directory)
    except OSError:
        return None
    try:
        return _Level(opened, path + "/")
    except OSError:
        os.close(opened)
        return None


def _kind(entry: "os.DirEntry[str]") -> bool | None:
    """True for a directory, False for a regular file, None for what is left out."""
    if entry.name.startswith(".") or entry.name in _SKIPPED or not _is_unicode(entry.name):
        return None
    if entry.is_dir(follow_symlinks=False):
        return True
    return False if entry.is_file(follow_symlinks=False) else None


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def first_paths(
    root_path: str, wanted: Callable[[FoundPath], bool], limit: int, budget: WalkBudget
) -> tuple[list[FoundPath], bool]:
    """The first ``limit`` paths of the walk that are wanted, and whether there were more."""
    found: list[FoundPath] = []
    with closing(walk(root_path, budget)) as paths:
        for path in paths:
            if not wanted(path):
                continue
            if len(found) == limit:
                return found, True
            found.append(path)
    return found, budget.exhausted
