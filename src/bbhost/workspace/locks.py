"""The locks that keep git operations of this process out of each other's way.

Per *checkout* (its git dir): commit, branch switch, publishing a merge, removal. Per *repository*
(its common dir): adding and removing worktrees. Per *branch*: merging into it.

Rule 1: branch before checkout before repository. Taking them in another order is a defect and
raises at once, because two tasks that do so could wait for each other for ever.
Rule 2: a task that holds a lock may take it again.
Rule 3: nobody waits longer than the limit.

Directories are named as :class:`~bbhost.workspace.repository.Repository` has them, symlinks resolved.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import IntEnum
from pathlib import Path

import trio
from attrs import define, field, frozen

from bbhost.errors import WorkspaceBusyError
from bbhost.toolkit.keyed_locks import KeyedLocks

WAIT_SECONDS = 300.0
"""Longest wait for a lock unless told otherwise; then the operation is refused with ``workspace_busy``."""


class _Rank(IntEnum):
    BRANCH = 1
    CHECKOUT = 2
    REPOSITORY = 3


@frozen
class _Key:
    rank: _Rank
    name: str


@define(eq=False)
class WorkspaceLocks:
    """Fair locks, first come first served. One object per daemon."""

    wait_seconds: float = WAIT_SECONDS
    _locks: KeyedLocks = field(factory=KeyedLocks, init=False)
    _held: dict[trio.lowlevel.Task, list[_Key]] = field(factory=dict, init=False)

    @asynccontextmanager
    async def branch(self, common_dir: Path, branch_name: str) -> AsyncIterator[None]:
        """Hold one branch of a repository, against other merges into it."""
        async with self._hold(_Rank.BRANCH, f"{common_dir}\0{branch_name}"):
            yield

    @asynccontextmanager
    async def checkout(self, git_dir: Path) -> AsyncIterator[None]:
        """Hold one checkout, named by its git dir.

        Raises:
            WorkspaceBusyError: it was not free within the wait limit.
        """
        async with self._hold(_Rank.CHECKOUT, str(git_dir)):
            yield

    @asynccontextmanager
    async def repository(self, common_dir: Path) -> AsyncIterator[None]:
        """Hold the worktree registrations of a repository, named by its common dir.

        Raises:
            WorkspaceBusyError: they were not free within the wait limit.
        """
        async with self._hold(_Rank.REPOSITORY, str(common_dir)):
            yield

    @asynccontextmanager
    async def _hold(self, rank: _Rank, name: str) -> AsyncIterator[None]:
        key = _Key(rank, name)
        task = trio.lowlevel.current_task()
        held = self._held.setdefault(task, [])
        try:
            if key in held:
                yield
                return
            if held and max(held_key.rank for held_key in held) >= rank:
                raise RuntimeError(f"lock order: {key} asked for by a holder of {held}")
            async with AsyncExitStack() as holding:
                with trio.move_on_after(self.wait_seconds) as waiting:
                    await holding.enter_async_context(self._locks.hold(key))
                if waiting.cancelled_caught:
                    raise WorkspaceBusyError(
                        f"Another operation has held {name.replace(chr(0), ' ')} for more than "
                        f"{self.wait_seconds:g} seconds; try again when it has ended"
                    )
                held.append(key)
                try:
                    yield
                finally:
                    held.remove(key)
        finally:
            if not held:
                self._held.pop(task, None)
