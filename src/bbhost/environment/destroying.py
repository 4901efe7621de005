"""The work of ``destroying``: an ordered list of stages, and how often they are tried.

Reading ``TEARDOWN`` is reading the end of an environment. Every stage is idempotent, tolerates that
the stages before it did nothing, and may be interrupted anywhere: a daemon that is killed between two
stages starts again at the first one.
"""

import logging
from collections.abc import Awaitable, Callable
from enum import Enum

import trio
from attrs import define, frozen

from bbhost.domain.environment import EnvironmentRecord, TeardownCause
from bbhost.domain.workspace import WorkspaceKind
from bbhost.environment.ports import EnvironmentServices, OwnedBoundary
from bbhost.errors import BbhostError
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.faults import fault_point

log = logging.getLogger(__name__)

HOOK_SECONDS = 900.0
"""How long the teardown hook may take before it is ended; its failure does not block removal."""
PROMPT_ATTEMPTS = 3
"""Attempts before those who wait are told of the failure."""
FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 30.0


class StageFault(Enum):
    """What a failing stage means for the rest of the teardown."""

    BLOCKS = "blocks"
    TOLERATED = "tolerated"


@frozen
class TeardownContext:
    """What a stage works on."""

    record: EnvironmentRecord
    services: EnvironmentServices
    boundary: OwnedBoundary


@frozen
class Stage:
    """One ordered piece of teardown."""

    name: str
    run: Callable[[TeardownContext], Awaitable[object]]
    applies: Callable[[EnvironmentRecord], bool]
    fault: StageFault = StageFault.BLOCKS
    changes_workspace: bool = False
    """From here on the workspace can no longer be handed back as it was."""


def _always(_record: EnvironmentRecord) -> bool:
    return True


def _is_managed(record: EnvironmentRecord) -> bool:
    return record.kind is not WorkspaceKind.UNMANAGED


def _removes(record: EnvironmentRecord) -> bool:
    return _is_managed(record) and record.cause is TeardownCause.DESTROY


def _removes_worktree(record: EnvironmentRecord) -> bool:
    return _removes(record) and record.kind is WorkspaceKind.MANAGED_WORKTREE


def _rolls_back(record: EnvironmentRecord) -> bool:
    return record.cause is TeardownCause.ROLLBACK and record.created_workspace


async def _run_hook(context: TeardownContext) -> None:
    with trio.move_on_after(HOOK_SECONDS) as deadline:
        await context.services.workspaces.run_teardown_hook(context.record, context.boundary)
    if deadline.cancelled_caught:
        log.warning(
            "teardown hook took longer than %s s and was ended",
            HOOK_SECONDS,
            extra={"environment": context.record.environment_id},
        )


async def _stop_processes(context: TeardownContext) -> None:
    await context.boundary.end()


async def _rescue(context: TeardownContext) -> None:
    await context.services.workspaces.rescue(context.record)


async def _move_to_trash(context: TeardownContext) -> None:
    await context.services.workspaces.move_to_trash(context.record)


async def _deregister(context: TeardownContext) -> None:
    await context.services.workspaces.deregister(context.record)


async def _prune_parent(context: TeardownContext) -> None:
    await context.services.workspaces.prune_parent(context.record)


async def _roll_back(context: TeardownContext) -> None:
    await context.services.workspaces.rollback(context.record)


TEARDOWN: tuple[Stage, ...] = (
    Stage("teardown_hook", _run_hook, _removes_worktree, StageFault.TOLERATED),
    Stage("stop_processes", _stop_processes, _always),
    Stage("rescue", _rescue, _removes_worktree),
    Stage("move_to_trash", _move_to_trash, _removes, changes_workspace=True),
    Stage("deregister", _deregister, _removes_worktree, changes_workspace=True),
    Stage(
        "prune_parent",
        _prune_parent,
        _removes_worktree,
        StageFault.TOLERATED,
        changes_workspace=True,
    ),
    Stage("roll_back", _roll_back, _rolls_back, changes_workspace=True),
)


@define(eq=False)
class TeardownProgress:
    """What a teardown has come to; read by those who wait and by ``bbhost status``."""

    attempts: int = 0
    workspace_intact: bool = True
    moved: bool = False
    """The workspace is off its path; what is there from now on is not the workspace."""
    trouble: BbhostError | None = None


async def tear_down(
    context: TeardownContext, progress: TeardownProgress, on_trouble: Callable[[], None]
) -> bool:
    """Run the stages until all have succeeded, or give up while the workspace is intact.

    Args:
        progress: kept up to date.
        on_trouble: called after ``PROMPT_ATTEMPTS`` failures and after each later one.

    Returns:
        True when everything is torn down; False when the workspace is intact and the attempts are
        used up. A workspace that is not intact is tried again for ever, with growing delays.

    Cancellation: safe between and inside stages; the next run starts at the first stage again.
    """
    delays = backoff_delays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
    while True:
        progress.attempts += 1
        try:
            await _run_stages(context, progress)
        except BbhostError as error:
            progress.trouble = error
        except OSError as error:
            progress.trouble = BbhostError(f"Teardown failed: {error}")
        except Exception as error:
            log.exception("teardown failed unexpectedly")
            progress.trouble = BbhostError(f"Teardown failed: {error!r}")
        else:
            return True
        log.warning(
            "teardown attempt %d failed: %s",
            progress.attempts,
            progress.trouble.message,
            extra={"environment": context.record.environment_id},
        )
        if progress.attempts >= PROMPT_ATTEMPTS:
            rolls_back = context.record.cause is TeardownCause.ROLLBACK
            if progress.workspace_intact and not rolls_back and await _is_there(context):
                return False
            progress.workspace_intact = False
            on_trouble()
        await trio.sleep(next(delays))


async def _is_there(context: TeardownContext) -> bool:
    """False where an earlier daemon, or somebody else, has taken the workspace away already."""
    if not _removes(context.record):
        return True
    try:
        return await context.services.workspaces.is_intact(context.record)
    except BbhostError:
        return True


async def _run_stages(context: TeardownContext, progress: TeardownProgress) -> None:
    for stage in TEARDOWN:
        if not stage.applies(context.record):
            continue
        fault_point(f"teardown.{stage.name}")
        if stage.changes_workspace:
            progress.workspace_intact = False
        fault = await _try_stage(stage, context)
        if fault is None:
            progress.moved = progress.moved or stage.name == "move_to_trash"
            continue
        if stage.fault is StageFault.BLOCKS:
            if stage.name == "move_to_trash" and not progress.moved:
                # The rename is one step: where it failed, nothing has been changed.
                progress.workspace_intact = await _is_there(context)
            raise fault
        log.warning(
            "teardown stage %s failed and is skipped: %s",
            stage.name,
            fault,
            extra={"environment": context.record.environment_id},
        )
    fault_point("teardown.done")


async def _try_stage(stage: Stage, context: TeardownContext) -> BbhostError | OSError | None:
    try:
        await stage.run(context)
    except (BbhostError, OSError) as fault:
        return fault
    return None
