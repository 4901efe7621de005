"""What is known about a managed worktree that is to be removed. Blocking, changes nothing.

A path is removed only on positive evidence: it lies beneath the managed root, and it and its git
registration name each other. Where the registration has gone, or an agent deleted the ``.git`` file,
the path is still ours but its work cannot be rescued by git; then there is a *doubt*, and the files
are kept in the trash for its retention time. Where the evidence contradicts itself, nothing is done.
"""

import os
from pathlib import Path

from attrs import frozen

from bbhost.errors import NotRemovableError, WorktreeLockedError
from bbhost.workspace.managed_root import WORKTREES, require_removable_directory
from bbhost.workspace.registration import (
    Registration,
    find_registration,
    linked_git_dir,
    read_registration,
)
from bbhost.workspace.repository import Repository, find_git_dirs


@frozen
class WorktreeRemoval:
    """Which managed worktree is to be removed."""

    environment_id: str
    incarnation: int
    path: Path
    """Absolute path of the worktree."""
    data_dir: Path
    """Absolute path of the daemon's data directory."""
    source_path: Path | None = None
    """A checkout of the same repository, or its git dir, where known."""

    @property
    def root(self) -> Path:
        """The managed root that the path must lie in."""
        return self.data_dir / WORKTREES


@frozen
class Evidence:
    """What was found at the path and in the repository."""

    exists: bool
    registration: Registration | None
    """Looked for only where the path exists."""
    repository: Repository | None = None
    """Set where git can work in it, so that its work can be rescued."""
    doubt: str = ""
    """Why its files should be kept for a while; empty where git has everything."""


def examine(removal: WorktreeRemoval) -> Evidence:
    """Look at the path and its registration.

    Raises:
        NotRemovableError: it is not certain that the path is ours to remove.
        WorktreeLockedError: it exists and somebody locked it.
    """
    if not require_removable_directory(removal.root, removal.path):
        return Evidence(False, None)
    evidence = _examine_directory(removal)
    registration = evidence.registration
    if registration is not None and registration.locked_by_user:
        reason = f" ({registration.lock_reason})" if registration.lock_reason else ""
        raise WorktreeLockedError(
            f"The worktree {removal.path} is locked{reason}; unlock it with "
            f"`git worktree unlock {removal.path}` to have it removed"
        )
    return evidence


def known_registration(removal: WorktreeRemoval) -> Registration | None:
    """Look for the registration in the source repository: a small file for each of its worktrees."""
    dirs = None if removal.source_path is None else find_git_dirs(removal.source_path)
    return None if dirs is None else find_registration(dirs.common_dir, removal.path)


def _examine_directory(removal: WorktreeRemoval) -> Evidence:
    link = linked_git_dir(removal.path)
    if link is None:
        registration = known_registration(removal)
        if next(removal.path.iterdir(), None) is None:
            return Evidence(True, registration)
        own = (removal.path / ".git").is_dir()
        doubt = "it holds a repository of its own" if own else "it has no .git file"
        return Evidence(True, registration, doubt=doubt)
    registration = read_registration(link) if link.parent.name == "worktrees" else None
    if registration is None:
        return Evidence(True, known_registration(removal), doubt=f"its git dir {link} is gone")
    if registration.work_tree is not None and not registration.names(removal.path):
        raise NotRemovableError(
            f"{removal.path} and {registration.directory} do not name each other (it names "
            f"{registration.work_tree}); run `git worktree repair` there, or move the copy away"
        )
    return Evidence(True, registration, _repository(removal.path, registration))


def _repository(path: Path, registration: Registration) -> Repository | None:
    if registration.half_made:
        # Without a complete index everything would look deleted, and nobody has worked here.
        return None
    work_tree = Path(os.path.realpath(path))
    git_dir = Path(os.path.realpath(registration.directory))
    return Repository(work_tree, git_dir, git_dir.parent.parent)
