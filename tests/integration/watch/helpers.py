"""Looking at a watch the way its owner would."""

import os
from collections.abc import Callable
from pathlib import Path

import trio

from bbhost.watch import ChangeBatch, Watch, WatchService

QUIET_SECONDS = 0.2
"""Longer than any backend takes to give out a batch, debounce included."""


async def settle(watch: Watch) -> None:
    """Drain and wait until all that was found has been decided."""
    watch.drain_nowait()
    with trio.fail_after(20):
        await watch.wait_certain()


def noticed(watch: Watch, change: Callable[[], object]) -> bool:
    """Make a change and say whether the very next drain shows it."""
    watch.drain_nowait()
    before = watch.marks
    change()
    watch.drain_nowait()
    return watch.marks > before or not watch.is_certain


def watched_paths(service: WatchService, root: Path) -> set[str]:
    """Directories of the tree that have a kernel watch, relative to its root."""
    paths = service.watched_directories().values()
    inside = (os.path.relpath(path, root) for path in paths if path.startswith(str(root)))
    return {path for path in inside if not path.startswith(".git")}


async def next_batch(watch: Watch) -> ChangeBatch:
    """Wait for a batch, but not for ever."""
    with trio.fail_after(20):
        return await watch.wait_changes()


async def no_more_batches(watch: Watch) -> None:
    """Take batches until none has come for a while."""
    quiet = False
    while not quiet:
        with trio.move_on_after(QUIET_SECONDS) as pause:
            await watch.wait_changes()
        quiet = pause.cancelled_caught
