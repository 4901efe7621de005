"""What the survey does in a thread: read directories, add kernel watches. No state of its own.

Each call is bounded by the number of directories handed in, so that a thread is never held for
long: thread work cannot be cancelled.
"""

import errno
import os
from collections.abc import Callable, Iterable, Sequence

from attrs import field, frozen

from bbhost.watch.kernel import Kernel
from bbhost.watch.nested import nested_git_dir
from bbhost.watch.places import SilentFileSystemError, silent_file_system

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


@frozen
class Rules:
    """What a survey goes into."""

    admits: Callable[[str], bool | None]
    """Whether a subdirectory is to be watched; None if that has to be asked."""
    looks_for_nested: bool = False
    """Do not go into repositories below the root."""
    since_ns: int | None = None
    """Directories changed at this time or later may hold what ``admits`` was made without: what it
    would let in has to be asked about."""


@frozen
class Opened:
    """The watched root of an area."""

    wd: int
    identity: tuple[int, int]


@frozen
class Scanned:
    """What is in one directory."""

    missing: bool = False
    watched: list[tuple[str, int]] = field(factory=list)
    """Names of subdirectories, and the numbers of their new watches."""
    undecided: list[str] = field(factory=list)
    """Names of subdirectories that nobody has asked about yet."""
    forbidden: list[str] = field(factory=list)
    """Names of subdirectories that may not be watched; ``""`` if this one may not be read."""
    nested: list[str] = field(factory=list)
    """The git dir, where this is a repository of its own, whose content was not looked at then;
    ``""`` where it is a broken one, which counts as an ordinary directory."""


def open_root(kernel: Kernel, path: str) -> Opened:
    """Watch the root of an area; a symbolic link to it is followed.

    Raises:
        SilentFileSystemError: its file system does not tell of all changes.
        OSError: it is missing (ENOENT, ENOTDIR), or cannot be watched.
    """
    real = os.path.realpath(path, strict=True)
    silent = silent_file_system(real)
    if silent is not None:
        raise SilentFileSystemError(path, silent)
    wd = kernel.add(real)
    found = os.stat(real)  # noqa: PTH116 - the path may not be valid unicode
    return Opened(wd, (found.st_dev, found.st_ino))


def add_watches(kernel: Kernel, paths: Sequence[str]) -> list[int | None]:
    """Watch directories; None for those that have gone. Stops before the first that may not be.

    Raises:
        OSError: the first fault, if none could be added.
    """
    numbers: list[int | None] = []
    for path in paths:
        try:
            numbers.append(kernel.add(path))
        except OSError as error:
            if error.errno in _ABSENT:
                numbers.append(None)
            elif error.errno in _FORBIDDEN:
                numbers.append(-1)
            elif any(number is not None for number in numbers):
                break  # those that were added have to be accounted for first
            else:
                raise
    return numbers


def scan(
    kernel: Kernel,
    root: str,
    paths: Sequence[str],
    rules: Rules,
) -> tuple[list[Scanned], OSError | None]:
    """List watched directories and watch their subdirectories.

    Args:
        root: absolute path that ``paths`` are relative to.

    Returns:
        One answer for each path, and the fault that ended the work early (what was done until
        then is in the answers; watches in them exist).
    """
    answers = []
    for path in paths:
        answer = Scanned()
        answers.append(answer)
        try:
            _scan_one(kernel, root, path, rules, answer)
        except OSError as error:
            if error.errno in _ABSENT:
                answers[-1] = Scanned(True, answer.watched)
            elif error.errno in _FORBIDDEN:
                answer.forbidden.append("")
            else:
                return answers, error
    return answers, None


def _scan_one(
    kernel: Kernel,
    root: str,
    path: str,
    rules: Rules,
    answer: Scanned,
) -> None:
    names, has_git = _subdirectories(f"{root}/{path}")
    if rules.looks_for_nested and has_git and path:
        git_dir = nested_git_dir(f"{root}/{path}")
        answer.nested.append(git_dir or "")
        if git_dir is not None:
            return
    # Looked at after the listing: whatever came before it has left its time.
    is_newer = rules.since_ns is not None and _changed_at(f"{root}/{path}") >= rules.since_ns
    for name in names:
        inner = f"{path}/{name}" if path else name
        verdict = rules.admits(inner)
        if verdict is None or (verdict and is_newer):
            answer.undecided.append(name)
        elif verdict:
            try:
                answer.watched.append((name, kernel.add(f"{root}/{inner}")))
            except OSError as error:
                if error.errno in _FORBIDDEN:
                    answer.forbidden.append(name)
                elif error.errno not in _ABSENT:
                    raise


def _subdirectories(path: str) -> tuple[list[str], bool]:
    """Return the names of subdirectories, and whether there is a ``.git``, which is not among them."""
    names = []
    has_git = False
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name == ".git":
                has_git = True
            elif entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
    return names, has_git


def _changed_at(path: str) -> int:
    return os.stat(path).st_mtime_ns  # noqa: PTH116 - as above


def look_ahead(
    root: str, paths: Iterable[str], enters: Callable[[str], bool], limit: int
) -> list[str]:
    """Return those of ``paths`` that exist, and directories below them, level by level.

    So a deep tree that appears at once is asked about in one question to git, not one per level.

    Args:
        enters: false for a directory that is known as unwanted.
        limit: directories read at most; the rest is found later, by the survey.
    """
    found = [path for path in paths if _is_directory(f"{root}/{path}")]
    seen = set(found)
    for path in found:
        if limit <= 0:
            break
        limit -= 1
        if not enters(path):
            continue
        try:
            names, has_git = _subdirectories(f"{root}/{path}")
        except OSError:
            continue
        if has_git and nested_git_dir(f"{root}/{path}") is not None:
            continue
        inner = [f"{path}/{name}" for name in names if f"{path}/{name}" not in seen]
        seen.update(inner)
        found.extend(inner)
    return found


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 - as above
