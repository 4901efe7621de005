"""Forgetting old tombstones, so that the journal does not grow for as long as a host lives.

A tombstone keeps a destroyed id from being attached again by a late command. Once its workspace is gone
from the disk that cannot happen: such a command is told that the path does not exist, and makes nothing.
What else a tombstone is needed for is looked at before: rescued work is found through it, and its
incarnation number keeps the next work that is rescued under the id from replacing the last.

Tombstones of the user's own checkouts, and of retired environments, whose files stay, are never forgotten:
their directories exist, so that nothing but the tombstone keeps a late status from bringing them back.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import trio

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.workspace import ManagedWorktreeSpec
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError, UnreadableRepositoryError
from bbhost.session.clock import wall_clock_ms
from bbhost.workspace.disk import on_disk
from bbhost.workspace.tools import WorkspaceTools

log = logging.getLogger(__name__)

KEEP_MS = 90 * 24 * 3600 * 1000
"""How long a tombstone is kept at least."""
LOOK_SECONDS = 6 * 3600.0
"""Time between two looks."""


async def forget_for_ever(supervisor: Supervisor, tools: WorkspaceTools) -> None:
    """Forget what is old enough, now and then, until cancelled."""
    while True:
        try:
            forgotten = await forget_old_tombstones(supervisor, tools, wall_clock_ms())
        except (BbhostError, OSError) as error:
            log.warning("old tombstones stay for now: %s", error)
        else:
            if forgotten:
                log.info("forgot old tombstones", extra={"tombstones": forgotten})
        await trio.sleep(LOOK_SECONDS)


async def forget_old_tombstones(supervisor: Supervisor, tools: WorkspaceTools, now_ms: int) -> int:
    """Forget the tombstones that are of no use any more; returns how many.

    Args:
        now_ms: milliseconds since the epoch.

    Raises:
        JournalError: it cannot be written.

    Cancellation: safe; the rest is forgotten another time.
    """
    records = supervisor.records()
    old = [one for one in records if one.is_spent and one.changed_at <= now_ms - KEEP_MS]
    if not old:
        await trio.lowlevel.checkpoint()
        return 0
    needed = await _needed_for_rescues(tools, records, old)
    forgotten = 0
    for record in old:
        if record.environment_id not in needed:
            forgotten += await supervisor.forget(record.environment_id)
    return forgotten


async def _needed_for_rescues(
    tools: WorkspaceTools, records: list[EnvironmentRecord], old: Iterable[EnvironmentRecord]
) -> set[str]:
    """Ids of which work is kept, or may be: their repository cannot be read at present."""
    # Rarely needed, so not part of every daemon's memory.
    from bbhost.daemon.managed_places import known_repositories
    from bbhost.workspace.repository import find_git_dirs
    from bbhost.workspace.rescue_list import list_rescues

    needed: set[str] = set()
    readable: set[Path] = set()
    for repository in await on_disk(known_repositories, tools.data_dir, records):
        try:
            rescues = await list_rescues(tools.git, repository)
        except BbhostError as error:
            log.info("tombstones of %s are kept: %s", repository, error)
            continue
        readable.add(repository)
        needed.update(rescue.environment_id for rescue in rescues)
    for record in old:
        if isinstance(record.spec, ManagedWorktreeSpec):
            try:
                dirs = await on_disk(find_git_dirs, Path(record.spec.source_path))
            except UnreadableRepositoryError:
                dirs = None
            if dirs is None or dirs.common_dir not in readable:
                needed.add(record.environment_id)
    return needed
