"""Worktrees that exist for one operation. Their names say so, and a sweep finds what a crash left."""

import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from bbhost.errors import BbhostError, WorktreeCleanupError
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.workspace.disk import on_disk
from bbhost.workspace.registration import find_registration, linked_git_dir
from bbhost.workspace.removal import delete_registration
from bbhost.workspace.repository import Repository
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.trash_emptier import delete_tree

DIRECTORY = "temporary-worktrees"
"""Name within the data directory. Only its one daemon makes worktrees there, so whatever is there when it starts is a
leftover."""
PREFIX = "bbhost-merge-"
MARKER_SUFFIX = ".repository"
"""Of the file beside a worktree that names its repository; it is made before and removed after it."""
ADD_SECONDS = 300.0
CLEANUP_SECONDS = 30.0
"""Time for removing one, whether or not the operation was cancelled."""

logger = logging.getLogger(__name__)


@asynccontextmanager
async def temporary_worktree(
    tools: WorkspaceTools, repository: Repository, commit: str
) -> AsyncIterator[Path]:
    """Give a detached worktree at ``commit`` that is gone afterwards.

    Raises:
        GitCommandError: it cannot be made.
        WorktreeCleanupError: it cannot be removed. Only logged where the operation has failed itself.

    Cancellation: removed, shielded for up to ``CLEANUP_SECONDS``.
    """
    place = tools.data_dir / DIRECTORY
    path = place / f"{PREFIX}{secrets.token_hex(6)}"
    await on_disk(_write_marker, path, repository.common_dir)
    fault_point("merge.marked")
    try:
        async with tools.locks.repository(repository.common_dir):
            await tools.git.run(
                "worktree",
                "add",
                "--detach",
                str(path),
                commit,
                cwd=repository.work_tree,
                timeout_seconds=ADD_SECONDS,
            )
        yield path
    except BaseException:
        # Why the operation failed is what whoever waits for it has to know.
        with trio.move_on_after(CLEANUP_SECONDS, shield=True) as cleaning:
            try:
                await _remove(tools, repository.common_dir, path)
            except WorktreeCleanupError as error:
                logger.warning("%s", error.message)
        if cleaning.cancelled_caught:
            logger.warning("%s", _took_too_long(path))
        raise
    with trio.move_on_after(CLEANUP_SECONDS, shield=True) as cleaning:
        await _remove(tools, repository.common_dir, path)
    if cleaning.cancelled_caught:
        raise WorktreeCleanupError(_took_too_long(path))


def _took_too_long(path: Path) -> str:
    return f"Removing the temporary worktree {path} took more than {CLEANUP_SECONDS:.0f} seconds"


async def sweep_temporary_worktrees(tools: WorkspaceTools) -> int:
    """Remove what operations of a former daemon left; returns how many. Call it before any operation starts.

    What cannot be removed is logged and left for the next time.

    Cancellation: safe; what is left is found again.
    """
    swept = 0
    for path, common_dir in await on_disk(_leftovers, tools.data_dir / DIRECTORY):
        try:
            await _remove(tools, common_dir, path)
        except (WorktreeCleanupError, OSError) as error:
            logger.warning("Cannot sweep %s: %s", path, error)
        else:
            swept += 1
    return swept


async def _remove(tools: WorkspaceTools, common_dir: Path | None, path: Path) -> None:
    """Remove the worktree, its registration, and last the marker by which a sweep would find it."""
    try:
        fault_point("merge.before_cleanup")
        if common_dir is not None and await on_disk(common_dir.is_dir):
            async with tools.locks.repository(common_dir):
                await _deregister(tools, common_dir, path)
        await delete_tree(path)
        await on_disk(lambda: _marker(path).unlink(missing_ok=True))
    except OSError as error:
        raise WorktreeCleanupError(
            f"The temporary worktree {path} could not be removed: {error}"
        ) from error


async def _deregister(tools: WorkspaceTools, common_dir: Path, path: Path) -> None:
    git_dir = await on_disk(linked_git_dir, path)
    with suppress(BbhostError):
        # Twice: git locks a worktree while it makes it, and leaves the lock when it is killed.
        await tools.git.run(
            "worktree",
            "remove",
            "--force",
            "--force",
            str(path),
            cwd=common_dir,
            git_dir=common_dir,
            check=False,
            timeout_seconds=CLEANUP_SECONDS,
        )
    fault_point("merge.deregistered")
    if git_dir is not None and not await on_disk(git_dir.exists):
        return
    left = await on_disk(find_registration, common_dir, path)
    if left is not None:
        await delete_registration(left)


def _marker(path: Path) -> Path:
    return path.with_name(path.name + MARKER_SUFFIX)


def _write_marker(path: Path, common_dir: Path) -> None:
    make_private_directory(path.parent)
    _marker(path).write_bytes(os.fsencode(common_dir))


def _leftovers(place: Path) -> list[tuple[Path, Path | None]]:
    """Paths of temporary worktrees, there or not, with the repository of each where it is known."""
    found: dict[Path, Path | None] = {}
    with suppress(OSError):
        for entry in sorted(place.iterdir()):
            if not entry.name.startswith(PREFIX):
                continue
            if entry.name.endswith(MARKER_SUFFIX):
                path = entry.with_name(entry.name.removesuffix(MARKER_SUFFIX))
                text = os.fsdecode(entry.read_bytes())
                found[path] = Path(text) if Path(text).is_absolute() else None
            else:
                found.setdefault(entry, None)
    return list(found.items())
