"""Undoing a provisioning, and nothing but what it made. The branch stays."""

from pathlib import Path

from bbhost.domain.workspace import ManagedWorktreeSpec, PersonalSpec, WorkspaceSpec
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.removal import (
    MAX_ROUNDS,
    deregister_worktree,
    discard_worktree,
    prune_parent,
    remove_personal_workspace,
)
from bbhost.workspace.tools import WorkspaceTools


async def rollback_workspace(
    tools: WorkspaceTools,
    spec: WorkspaceSpec,
    environment_id: str,
    incarnation: int,
    *,
    created_workspace: bool,
) -> None:
    """Undo a provisioning that failed or was cut short at any point. May be repeated.

    Args:
        created_workspace: this incarnation had begun to make the workspace. Where it had not, what
            is there is somebody else's, and stays.

    Raises:
        NotRemovableError, WorktreeLockedError: it cannot be undone; nothing was touched.
        OSError: the files cannot be moved.

    Cancellation: safe; call it again to finish.
    """
    if not created_workspace:
        return
    if isinstance(spec, ManagedWorktreeSpec):
        await rollback_worktree(tools, spec, environment_id, incarnation)
    elif isinstance(spec, PersonalSpec):
        await _rollback_personal(tools, Path(spec.target_path), environment_id, incarnation)


async def rollback_worktree(
    tools: WorkspaceTools, spec: ManagedWorktreeSpec, environment_id: str, incarnation: int
) -> None:
    """Remove a worktree that this provisioning began to make; raises as :func:`rollback_workspace`.

    Nothing is rescued: nobody has worked in it yet.
    """
    removal = WorktreeRemoval(
        environment_id=environment_id,
        incarnation=incarnation,
        path=Path(spec.target_path),
        data_dir=tools.data_dir,
        source_path=Path(spec.source_path),
    )
    # A git that outlived a killed daemon may still be making it: look again until it is quiet.
    for _ in range(MAX_ROUNDS):
        discarded = await discard_worktree(tools, removal, "")
        await deregister_worktree(tools, removal)
        if not discarded:
            break
    await prune_parent(removal)


async def _rollback_personal(
    tools: WorkspaceTools, path: Path, environment_id: str, incarnation: int
) -> None:
    try:
        await on_disk(path.rmdir)
    except OSError:
        # Missing, or not empty: somebody has already used it.
        await remove_personal_workspace(
            tools, environment_id, incarnation, path, keep_reason="it was used while being made"
        )
