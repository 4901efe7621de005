"""Locks that a killed git has left: with one in place, every later git command of that worktree fails."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.daemon.managed_places import known_repositories
from bbhost.domain.environment import EnvironmentRecord
from bbhost.processes.table import ProcessTable, system_table
from bbhost.workspace.repository import find_git_dirs

CHECK = "git_locks"
STALE_SECONDS = 600.0
"""No git command that bbhost or an editor runs holds its lock for so long."""
WORKTREE_LOCKS = ("index.lock", "HEAD.lock")
SHARED_LOCKS = ("packed-refs.lock", "config.lock", "shallow.lock", "HEAD.lock", "index.lock")


async def check_git_locks(subject: Subject) -> list[Finding]:
    """Look for old lock files that no process holds."""
    stale = await subject.look(_stale, subject.data_dir, subject.records())
    findings = [
        warning(
            CHECK,
            f"git is locked by {path.name}, and no process holds it",
            [f"{path}, {age / 60:.0f} minutes old"],
            f"if no git runs there: rm {path}",
        )
        for path, age in stale
    ]
    return findings or [ok(CHECK, "no stale git locks")]


def _stale(data_dir: Path, records: list[EnvironmentRecord]) -> list[tuple[Path, float]]:
    old = []
    for path in _lock_files(data_dir, records):
        with suppress(OSError):
            age = time.time() - path.lstat().st_mtime
            if age > STALE_SECONDS:
                old.append((path, age))
    if not old:
        return []
    busy = _busy_places(system_table())
    return [(path, age) for path, age in old if not _is_held(path, busy)]


def _lock_files(data_dir: Path, records: list[EnvironmentRecord]) -> Iterator[Path]:
    seen: set[Path] = set()
    repositories = known_repositories(data_dir, records)
    for record in records:
        dirs = find_git_dirs(record.path)
        if dirs is not None:
            repositories.append(dirs.common_dir)
    for common_dir in repositories:
        if common_dir in seen:
            continue
        seen.add(common_dir)
        yield from (common_dir / name for name in SHARED_LOCKS)
        with suppress(OSError):
            for git_dir in sorted((common_dir / "worktrees").iterdir()):
                yield from (git_dir / name for name in WORKTREE_LOCKS)


def _busy_places(table: ProcessTable) -> frozenset[str]:
    """Files that processes have open, and the directories that git processes are in."""
    places: set[str] = set()
    for pid in table.all_pids():
        stat = table.read_stat(pid)
        if stat is None:
            continue
        if stat.name.startswith("git"):
            directory = table.working_directory(pid)
            if directory:
                places.add(directory)
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    target = str(descriptor.readlink())
                    if target.endswith(".lock"):
                        places.add(target)
    return frozenset(places)


def _is_held(path: Path, busy: frozenset[str]) -> bool:
    """Whether a process has it open, or a git works in the worktree or git dir it belongs to."""
    git_dir = path.parent
    trees = [str(git_dir), str(git_dir.parent)]
    with suppress(OSError):
        trees.append(str(Path((git_dir / "gitdir").read_text().strip()).parent))
    return any(
        place == os.path.realpath(path)
        or any(place == tree or place.startswith(tree + "/") for tree in trees)
        for place in busy
        if not place.endswith(".lock") or place == os.path.realpath(path)
    )
