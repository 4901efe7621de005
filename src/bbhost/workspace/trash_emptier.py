"""Emptying the trash in the background: one tree at a time, a slice at a time."""

import logging
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import define, field, frozen

from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.tick import Tick
from bbhost.workspace.disk import on_disk
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash import FILES, Trash, TrashEntry
from bbhost.workspace.tree_deletion import delete_slice

LOOK_AGAIN_SECONDS = 3600.0
"""Longest time until kept entries are looked at again, and entries that could not be deleted."""
QUIET_SECONDS = 1.0
"""The trash is left alone while more goes in: deleting would slow down what fills it."""
LONGEST_SECONDS = 10.0
"""From the first of it to emptying, where more keeps coming."""

logger = logging.getLogger(__name__)


@frozen
class EmptyReport:
    """What one round did."""

    deleted: int
    kept: int
    """Entries whose retention time has not passed."""
    failed: tuple[Path, ...]
    """Entries of which something cannot be deleted."""


async def empty_trash(trash: Trash, now_ms: int) -> EmptyReport:
    """Delete every entry that need not be kept at ``now_ms`` (milliseconds since the epoch).

    Cancellation: takes effect after at most one slice; what is left is deleted next time.
    """
    deleted, kept, failed = 0, 0, []
    for entry in await on_disk(trash.entries):
        if _keep(entry, now_ms):
            kept += 1
            continue
        try:
            # The files first: as long as any are left, the note tells what they were.
            await delete_tree(entry.directory / FILES)
            fault_point("trash.files_deleted")
            await delete_tree(entry.directory)
            deleted += 1
        except OSError as error:
            logger.warning("Cannot empty %s: %s", entry.directory, error)
            failed.append(entry.directory)
    return EmptyReport(deleted, kept, tuple(failed))


async def delete_tree(path: Path) -> None:
    """Delete a tree, following no symlink and leaving no file system.

    Raises:
        OSError: something in it cannot be deleted.

    Cancellation: takes effect after at most one slice; the tree is partly gone.
    """
    while not await on_disk(delete_slice, path):
        pass


@define(eq=False)
class TrashEmptier:
    """Empties the trash whenever it is woken, and now and then for what had to be kept."""

    trash: Trash
    on_emptied: Callable[[], None] = lambda: None
    """Called after a round that deleted something: environments have ended. Must not raise."""
    _wake: Tick = field(factory=Tick, init=False)

    def wake(self) -> None:
        """Have the trash emptied soon. Never blocks."""
        self._wake.set()

    async def run(self) -> None:
        """Empty the trash now, and whenever woken and quiet again, for ever.

        Cancellation: safe; what is left is deleted after the next start.
        """
        while True:
            try:
                report = await empty_trash(self.trash, wall_clock_ms())
            except OSError as error:
                logger.warning("Cannot read the trash of %s: %s", self.trash.data_dir, error)
            else:
                if report.deleted:
                    self.on_emptied()
            with trio.move_on_after(LOOK_AGAIN_SECONDS):
                await self._wake.wait()
                await self._wait_quiet()

    async def _wait_quiet(self) -> None:
        with trio.move_on_after(LONGEST_SECONDS):
            quiet = False
            while not quiet:
                with trio.move_on_after(QUIET_SECONDS) as pause:
                    await self._wake.wait()
                quiet = pause.cancelled_caught


def _keep(entry: TrashEntry, now_ms: int) -> bool:
    return (
        entry.note is not None
        and entry.note.keep_until_ms is not None
        and entry.note.keep_until_ms > now_ms
    )
