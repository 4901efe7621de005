"""What lies beneath the managed roots, and in which repositories it is registered. Blocking, reads only."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceKind
from bbhost.errors import UnreadableRepositoryError
from bbhost.workspace.managed_root import PERSONAL_WORKSPACES, WORKTREES
from bbhost.workspace.registration import linked_git_dir, registrations
from bbhost.workspace.removal import REMOVING_PREFIX
from bbhost.workspace.repository import find_git_dirs
from bbhost.workspace.trash import LOCAL_TRASH_DIRECTORY, Trash

DEPTH = 4
"""How deep beneath the root a worktree is looked for; servers put them at depth two."""
MAX_PLACES = 20_000
"""Places listed at most."""


@frozen
class Place:
    """Something beneath a managed root that may be a workspace."""

    path: Path
    kind: WorkspaceKind
    git_dir: Path | None = None
    """Where its ``.git`` file points; None where it has none."""
    half_removed: bool = False
    """Its name says that removing it had begun."""


@frozen
class RegisteredPlace:
    """A worktree that a repository has on its list, beneath a managed root of ours."""

    path: Path
    common_dir: Path
    registration: Path
    locked: bool
    exists: bool


def list_places(data_dir: Path, records: Iterable[EnvironmentRecord]) -> list[Place]:
    """Return what lies beneath the managed roots, at most ``MAX_PLACES``."""
    named = frozenset(Path(record.path) for record in records)
    places: list[Place] = []
    for place in _walk_worktrees(data_dir / WORKTREES, named, DEPTH):
        places.append(place)
        if len(places) >= MAX_PLACES:
            return places
    for path in _entries(data_dir / PERSONAL_WORKSPACES):
        if path.name != LOCAL_TRASH_DIRECTORY:
            half = path.name.startswith(REMOVING_PREFIX)
            places.append(Place(path, WorkspaceKind.PERSONAL, half_removed=half))
    return places[:MAX_PLACES]


def known_repositories(data_dir: Path, records: Iterable[EnvironmentRecord]) -> list[Path]:
    """Return the git dirs of all repositories that worktrees of ours have been made in.

    From the records, from the worktrees on disk, and from the notes in the trash.
    """
    records = list(records)
    found: dict[Path, None] = {}
    for record in records:
        if isinstance(record.spec, ManagedWorktreeSpec):
            _note(found, Path(record.spec.source_path))
        if record.kind is WorkspaceKind.MANAGED_WORKTREE:
            _note(found, Path(record.path))
    for place in list_places(data_dir, records):
        if place.git_dir is not None:
            _note(found, place.path)
    for entry in Trash(data_dir).entries():
        if entry.note is not None and entry.note.registration is not None:
            _note(found, Path(entry.note.registration).parent.parent)
    return list(found)


def list_registered(data_dir: Path, repositories: Iterable[Path]) -> list[RegisteredPlace]:
    """Return the worktrees beneath our managed root that these repositories have on their lists."""
    root = Path(os.path.realpath(data_dir / WORKTREES))
    registered = []
    for common_dir in repositories:
        for registration in registrations(common_dir):
            tree = registration.work_tree
            if tree is None:
                continue
            # Its last component is not followed: a link into the root is not beneath it.
            inner = Path(os.path.realpath(tree.parent)) / tree.name
            if inner == root or not inner.is_relative_to(root):
                continue
            path = data_dir / WORKTREES / inner.relative_to(root)
            registered.append(
                RegisteredPlace(
                    path,
                    common_dir,
                    registration.directory,
                    registration.locked_by_user,
                    os.path.lexists(tree),
                )
            )
    return registered


def _walk_worktrees(directory: Path, named: frozenset[Path], depth: int) -> Iterator[Place]:
    for path in _entries(directory):
        if path.name == LOCAL_TRASH_DIRECTORY:
            continue
        if path.name.startswith(REMOVING_PREFIX):
            yield Place(path, WorkspaceKind.MANAGED_WORKTREE, half_removed=True)
            continue
        inner = _entries(path)
        is_workspace = path in named or os.path.lexists(path / ".git")
        only_directories = inner and all(p.is_dir() or p.is_symlink() for p in inner)
        if not is_workspace and depth > 1 and only_directories and not path.is_symlink():
            yield from _walk_worktrees(path, named, depth - 1)
        else:
            yield Place(path, WorkspaceKind.MANAGED_WORKTREE, linked_git_dir(path))


def _entries(directory: Path) -> list[Path]:
    if directory.is_symlink():
        return []
    with suppress(OSError):
        return sorted(directory.iterdir())
    return []


def _note(found: dict[Path, None], path: Path) -> None:
    with suppress(OSError, UnreadableRepositoryError):
        dirs = find_git_dirs(path)
        if dirs is not None:
            found[dirs.common_dir] = None
