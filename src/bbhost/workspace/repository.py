"""Finding the git repository of a directory by reading files: no process, nothing executed.

What is found is what ``git rev-parse --is-inside-work-tree`` run in the directory would act on, with
no ``GIT_*`` variable set: any directory beneath a work tree counts, a directory inside a git dir or
a bare repository does not. Two things git also looks at are left to git itself, which then fails
with its own message: ``safe.directory`` (foreign ownership) and repository format versions.
``core.bare`` and ``core.worktree`` are read from the repository's own ``config`` file only, not from
files it includes.
"""

import errno
import re
from pathlib import Path

from attrs import frozen

from bbhost.errors import UnreadableRepositoryError

_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TRUE = frozenset({"true", "yes", "on", "1"})
_NOBODY_CAN_TELL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
)
"""A file that cannot be read for one of these may be there all the same."""
SMALL_FILE_LIMIT = 1 << 20
"""Bytes read of HEAD, a ``.git`` file or ``config``; what lies beyond is not looked at."""


@frozen
class Repository:
    """A work tree and the directories git keeps for it. All paths absolute, symlinks resolved."""

    work_tree: Path
    """Top of the work tree."""
    git_dir: Path
    """Of this work tree: HEAD, index, operations in progress."""
    common_dir: Path
    """Shared by all work trees: objects, refs, config. Equal to ``git_dir`` in a main work tree."""

    @property
    def is_worktree(self) -> bool:
        """Whether this is a linked work tree, one of several of a repository."""
        return self.git_dir != self.common_dir


@frozen
class GitDirs:
    """The git directories that git would use in some directory; with or without a work tree."""

    git_dir: Path
    common_dir: Path


@frozen
class Head:
    """What the file HEAD says; whether the branch has a commit is not looked at."""

    branch: str | None
    """Local branch name without ``refs/heads/``; None when detached."""
    object_id: str | None
    """Only for a detached HEAD: the commit id."""


def discover_repository(path: Path | str) -> Repository | None:
    """Return the repository whose work tree contains ``path``, or None.

    Args:
        path: a directory; symlinks are followed. A missing one gives None.

    Raises:
        UnreadableRepositoryError: nobody can tell at the moment. A server takes "no repository" for
            leave to destroy, so that must not be said for want of a descriptor.
    """
    found = _search(Path(path))
    if found is None:
        return None
    top, dirs, directory = found
    if top is None:
        return None
    work_tree = _work_tree(top, dirs)
    if work_tree is None or not directory.is_relative_to(work_tree):
        return None
    return Repository(work_tree, dirs.git_dir, dirs.common_dir)


def find_git_dirs(path: Path | str) -> GitDirs | None:
    """Return the git directories in force at ``path``, bare repositories and git dirs included.

    Raises:
        UnreadableRepositoryError: nobody can tell at the moment.
    """
    found = _search(Path(path))
    return None if found is None else found[1]


def git_dirs_of(git_dir: Path) -> GitDirs | None:
    """Return the directories of a git dir that is named outright, or None if it is not one."""
    try:
        git_dir = git_dir.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        _refuse_to_guess(git_dir, error)
        return None
    return _as_git_dir(git_dir)


def read_head(repository: Repository) -> Head | None:
    """Return what HEAD points to, or None where it cannot be read."""
    text = (_read_head_file(repository.git_dir / "HEAD") or "").strip()
    if text.startswith("ref:"):
        name = text.removeprefix("ref:").strip()
        return Head(name.removeprefix("refs/heads/"), None)
    return Head(None, text) if _OBJECT_ID.fullmatch(text) else None


def head_has_commit(repository: Repository) -> bool:
    """Whether HEAD certainly has a commit. False also where only git could tell (reftable)."""
    head = read_head(repository)
    if head is None:
        return False
    if head.branch is None:
        return True
    if (repository.common_dir / "refs" / "heads" / head.branch).is_file():
        return True
    try:
        packed = (repository.common_dir / "packed-refs").read_bytes()
    except OSError:
        return False
    return f" refs/heads/{head.branch}\n".encode("utf-8", "surrogateescape") in packed


def object_format(repository: Repository) -> str:
    """Return the hash algorithm of the repository: ``sha1`` or ``sha256``."""
    extensions = _settings(repository.common_dir / "config", "extensions")
    return extensions.get("objectformat", "sha1").lower()


def _search(path: Path) -> tuple[Path | None, GitDirs, Path] | None:
    """Walk up from ``path``: (top of the work tree or None, git dirs, resolved path)."""
    try:
        directory = path.resolve(strict=True)
        device = directory.stat().st_dev
        if not directory.is_dir():
            return None
        for place in (directory, *directory.parents):
            if place.stat().st_dev != device:
                return None  # git does not look beyond a mount point either
            dot_git = place / ".git"
            if dot_git.is_file():
                dirs = _follow_git_file(dot_git)
                return None if dirs is None else (place, dirs, directory)
            if dot_git.is_dir() and (dirs := _as_git_dir(dot_git.resolve())) is not None:
                return place, dirs, directory
            if (dirs := _as_git_dir(place)) is not None:
                return None, dirs, directory
    except (
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: a loop of symlinks, before Python 3.13
        _refuse_to_guess(path, error)
    return None


def _follow_git_file(dot_git: Path) -> GitDirs | None:
    text = _read_small(dot_git)
    if text is None or not text.startswith("gitdir: "):
        return None
    target = dot_git.parent / text.removeprefix("gitdir: ").rstrip("\r\n")
    return git_dirs_of(target)


def _as_git_dir(place: Path) -> GitDirs | None:
    """Apply git's own test: HEAD reads like one, and the common dir has objects and refs."""
    head = _read_head_file(place / "HEAD")
    if head is None or not (head.startswith("ref:") or _OBJECT_ID.match(head)):
        return None
    common = place
    pointer = _read_small(place / "commondir")
    if pointer is not None:
        common = place / pointer.rstrip("\r\n")
        try:
            common = common.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            _refuse_to_guess(common, error)
            return None
    if (common / "objects").is_dir() and (common / "refs").is_dir():
        return GitDirs(place, common)
    return None


def _read_head_file(head: Path) -> str | None:
    if head.is_symlink():
        # The oldest form: HEAD is a symbolic link to the branch, which may not exist yet.
        target = str(head.readlink())
        return f"ref: {target}" if target.startswith("refs/") else None
    return _read_small(head)


def _work_tree(top: Path, dirs: GitDirs) -> Path | None:
    if dirs.git_dir != dirs.common_dir:
        # In a linked work tree git looks at neither core.bare nor core.worktree of the shared file.
        return top
    core = _settings(dirs.git_dir / "config", "core")
    configured = core.get("worktree")
    if configured:
        try:
            return (dirs.git_dir / configured).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            _refuse_to_guess(dirs.git_dir / configured, error)
            return None
    return None if core.get("bare", "false").lower() in _TRUE else top


_SECTION = re.compile(r"\s*\[\s*([A-Za-z0-9.-]+)\s*(\"(?:[^\"\\]|\\.)*\")?\s*\](.*)")
_SETTING = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*))?")


def _settings(config: Path, section: str) -> dict[str, str]:
    """Read the plain settings of a section; enough of git's syntax for what is asked here."""
    settings: dict[str, str] = {}
    inside = False
    for line in (_read_small(config) or "").splitlines():
        rest = line
        if header := _SECTION.match(line):
            inside = header[1].lower() == section and header[2] is None
            rest = header[3]
        if inside and (setting := _SETTING.match(rest)):
            settings[setting[1].lower()] = "true" if setting[2] is None else _value(setting[2])
    return settings


def _value(text: str) -> str:
    text = text.strip()
    if text.startswith('"') and (end := text.find('"', 1)) > 0:
        return text[1:end]
    return re.split(r"\s*[#;]", text, maxsplit=1)[0]


def _read_small(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(SMALL_FILE_LIMIT).decode("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        _refuse_to_guess(path, error)
        return None


def _refuse_to_guess(path: Path, error: Exception) -> None:
    """Return where ``error`` says that nothing is there; raise where it only says that nobody can tell."""
    if isinstance(error, OSError) and error.errno in _NOBODY_CAN_TELL:
        raise UnreadableRepositoryError(
            f"Whether there is a git repository cannot be told: {path}: {error.strerror}",
            code=errno.errorcode[error.errno],
        ) from error
