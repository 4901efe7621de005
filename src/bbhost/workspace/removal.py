"""Removing what this daemon made: the steps, and all of them in order.

For a managed worktree: examine, rescue, discard, deregister, prune. Each step looks for itself at
what is there, does nothing where its work is done, and leaves a state from which the steps can be
started again from the first one, however it was interrupted. Branches are never removed.
"""

import errno
import logging
import secrets
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from bbhost.domain.status import WorkspaceStatus
from bbhost.errors import NotRemovableError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import Evidence, WorktreeRemoval, examine, known_registration
from bbhost.workspace.managed_root import PERSONAL_WORKSPACES, require_removable_directory
from bbhost.workspace.registration import Registration, read_registration
from bbhost.workspace.rescue import NOTHING_TO_RESCUE, RescueOutcome, rescue_worktree
from bbhost.workspace.saved_files import SaveLimits
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash import RETENTION_MS, Trash, TrashNote
from bbhost.workspace.trash_emptier import delete_tree

MAX_ROUNDS = 3
"""How often a path that comes back while it is removed is removed anew."""
REMOVING_PREFIX = ".bbhost-removing-"
"""What a directory is renamed to where there is no room for the trash."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

logger = logging.getLogger(__name__)


@frozen
class RemovalReport:
    """What removing did."""

    removed: bool
    """False: nothing was at the path."""
    rescue: RescueOutcome
    registration_kept: bool = False
    """The worktree was gone but its registration is locked, which is honoured."""


async def remove_managed_worktree(
    tools: WorkspaceTools,
    removal: WorktreeRemoval,
    *,
    certain_status: WorkspaceStatus | None = None,
    limits: SaveLimits | None = None,
) -> RemovalReport:
    """Remove a managed worktree after rescuing its work. A missing one is a success.

    The files are in the trash afterwards; the caller wakes the emptier.

    Raises:
        NotRemovableError: it is not certain that the path is ours; nothing was touched.
        WorktreeLockedError: somebody locked it; nothing was touched.
        OSError: the files cannot be moved; the workspace is intact.

    Cancellation: safe between and within the steps; call it again to finish.
    """
    evidence = await examine_worktree(removal)
    rescue = NOTHING_TO_RESCUE
    if evidence.exists:
        rescue = await rescue_worktree(
            tools, removal, evidence, certain_status=certain_status, limits=limits
        )
    removed = await discard_worktree(tools, removal, rescue.keep_reason)
    deregistered = await deregister_worktree(tools, removal)
    for _ in range(MAX_ROUNDS):
        if not await discard_worktree(tools, removal, "it was written to while removed"):
            break
        await deregister_worktree(tools, removal)
    await prune_parent(removal)
    return RemovalReport(removed, rescue, registration_kept=not deregistered)


async def examine_worktree(removal: WorktreeRemoval) -> Evidence:
    """Look at the path and its registration; raises as :func:`evidence.examine`."""
    return await on_disk(examine, removal)


async def discard_worktree(
    tools: WorkspaceTools, removal: WorktreeRemoval, keep_reason: str
) -> bool:
    """Move the worktree into the trash. False where nothing is at the path.

    Args:
        keep_reason: why the trash must keep the files for its retention time; empty: it need not.

    Raises:
        NotRemovableError, WorktreeLockedError: nothing was touched.
        OSError: it cannot be moved; it is intact.
    """
    evidence = await examine_worktree(removal)
    if not evidence.exists:
        return False
    fault_point("removal.before_discard")
    if evidence.registration is None:
        return await _discard(tools.trash, removal, None, keep_reason or evidence.doubt)
    async with tools.locks.checkout(evidence.registration.directory):
        return await _discard(
            tools.trash, removal, evidence.registration, keep_reason or evidence.doubt
        )


async def deregister_worktree(tools: WorkspaceTools, removal: WorktreeRemoval) -> bool:
    """Remove git's registration of exactly this worktree. False: it is locked and was kept.

    Found by the worktree itself, by the note in the trash, or in the source repository. A registration is a
    directory, and all that ``git worktree remove`` does to one whose worktree is gone is to delete it;
    that needs no process, and works where git or the rest of its repository is gone.
    """
    registration = await on_disk(_find_registration, tools.trash, removal)
    if registration is None:
        return True
    if registration.locked_by_user:
        logger.warning("%s is locked; its registration stays", registration.directory)
        return False
    fault_point("removal.before_deregister")
    common_dir = registration.common_dir
    async with tools.locks.repository(common_dir):
        await on_disk(_keep_submodules, tools.trash, removal, registration)
        left = await on_disk(read_registration, registration.directory)
        if left is not None and _same(left, registration) and not left.locked_by_user:
            await delete_registration(left)
    fault_point("removal.deregistered")
    return True


async def prune_parent(removal: WorktreeRemoval) -> None:
    """Remove the directory that held the worktree, if nothing else is in it."""
    parent = removal.path.parent
    if parent == removal.root:
        return
    for leftover in await on_disk(_half_removed, parent):
        await delete_tree(leftover)
    with suppress(OSError):
        await on_disk(parent.rmdir)
    fault_point("removal.parent_pruned")


async def remove_personal_workspace(
    tools: WorkspaceTools,
    environment_id: str,
    incarnation: int,
    path: Path,
    *,
    keep_reason: str = "",
) -> bool:
    """Move a personal workspace into the trash. False where nothing is at the path.

    Raises:
        NotRemovableError: it is not the personal workspace of this environment; nothing was touched.
        OSError: it cannot be moved; it is intact.
    """
    root = tools.data_dir / PERSONAL_WORKSPACES
    if path.parent != root or path.name != environment_id:
        raise NotRemovableError(f"{path} is not the personal workspace of {environment_id}")
    if not await on_disk(require_removable_directory, root, path):
        return False
    fault_point("removal.before_discard")
    note = _note(environment_id, incarnation, path, None, keep_reason)
    return await _put(tools.trash, path, note)


async def _discard(
    trash: Trash, removal: WorktreeRemoval, registration: Registration | None, keep_reason: str
) -> bool:
    note = _note(
        removal.environment_id, removal.incarnation, removal.path, registration, keep_reason
    )
    return await _put(trash, removal.path, note)


async def _put(trash: Trash, path: Path, note: TrashNote) -> bool:
    try:
        return await on_disk(trash.put, path, note) is not None
    except OSError as error:
        if error.errno not in _NO_ROOM or note.keep_until_ms is not None:
            raise
    # A full disk must not keep us from making room. One rename first: what is deleted bit by bit
    # must never look like a workspace again.
    aside = path.with_name(f"{REMOVING_PREFIX}{secrets.token_hex(4)}")
    try:
        await on_disk(path.rename, aside)
    except FileNotFoundError:
        return False
    await delete_tree(aside)
    return True


def _note(
    environment_id: str,
    incarnation: int,
    path: Path,
    registration: Registration | None,
    keep_reason: str,
) -> TrashNote:
    now = wall_clock_ms()
    return TrashNote(
        environment_id=environment_id,
        incarnation=incarnation,
        path=str(path),
        trashed_at_ms=now,
        registration=None if registration is None else str(registration.directory),
        keep_until_ms=now + RETENTION_MS if keep_reason else None,
        reason=keep_reason,
    )


def _find_registration(trash: Trash, removal: WorktreeRemoval) -> Registration | None:
    evidence = examine(removal)
    if evidence.exists:
        return evidence.registration
    return _trashed_registration(trash, removal) or known_registration(removal)


def _trashed_registration(trash: Trash, removal: WorktreeRemoval) -> Registration | None:
    found = trash.find(removal.environment_id, removal.path)
    noted = (one.note.registration for one in found if one.note is not None)
    name = next(filter(None, noted), None)
    if name is None:
        return None
    registration = read_registration(Path(name))
    if registration is None or registration.directory.parent.name != "worktrees":
        return None
    # One that names no worktree at all is half-made: the worktree in the trash named it.
    ours = registration.names(removal.path) or registration.work_tree is None
    return registration if ours else None


def _keep_submodules(trash: Trash, removal: WorktreeRemoval, registration: Registration) -> None:
    """Keep the repositories of submodules: git has them within the registration."""
    modules = registration.directory / "modules"
    if not modules.is_dir() or next(modules.iterdir(), None) is None:
        return
    note = _note(
        removal.environment_id, removal.incarnation, modules, None, "repositories of submodules"
    )
    try:
        trash.put(modules, note)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system than the trash: within its own repository they are out of the way.
        modules.rename(registration.common_dir / f"bbhost-submodules-{secrets.token_hex(4)}")


def _same(left: Registration, before: Registration) -> bool:
    return left.work_tree is None or left.work_tree == before.work_tree


async def delete_registration(registration: Registration) -> None:
    """Delete it as git does, but ``gitdir`` last: until then it can be found again."""
    for part in await on_disk(_parts, registration.directory):
        await delete_tree(part)
    await delete_tree(registration.directory)
    with suppress(OSError):
        # Git also removes the directory of registrations with the last one.
        await on_disk(registration.directory.parent.rmdir)


def _parts(directory: Path) -> list[Path]:
    with suppress(OSError):
        return [part for part in directory.iterdir() if part.name != "gitdir"]
    return []


def _half_removed(parent: Path) -> list[Path]:
    with suppress(OSError):
        return [part for part in parent.iterdir() if part.name.startswith(REMOVING_PREFIX)]
    return []
