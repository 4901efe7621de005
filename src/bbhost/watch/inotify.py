"""The inotify backend: one instance for all watches, read in the loop.

One task reads the descriptor. Others exist only while there is something to survey (``settling.py``),
so idle watches cost neither tasks nor timers.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack

import trio
from attrs import define

from bbhost.watch import kernel
from bbhost.watch.areas import Area
from bbhost.watch.git_areas import CommonArea, GitDirArea
from bbhost.watch.kernel import Kernel
from bbhost.watch.places import identify
from bbhost.watch.settling import Settler
from bbhost.watch.survey import Surveyor
from bbhost.watch.table import WatchTable
from bbhost.watch.tree_area import TreeArea
from bbhost.watch.values import WatchBackend, WatchSettings
from bbhost.watch.watch import Watch

logger = logging.getLogger(__name__)

RELEASE_SECONDS = 10.0
"""Wait for a thread that is reading a directory of a closing watch. Longer only on a disk that does
not answer; what the thread adds after that is removed when it comes back."""


@define(eq=False)
class _Group:
    """The areas of one watch."""

    tree: TreeArea
    git_dir: GitDirArea | None
    common: CommonArea | None

    @property
    def own(self) -> tuple[Area, ...]:
        return (self.tree, self.git_dir) if self.git_dir is not None else (self.tree,)

    @property
    def areas(self) -> tuple[Area, ...]:
        return (*self.own, self.common) if self.common is not None else self.own

    @property
    def is_certain(self) -> bool:
        return all(area.is_settled for area in self.areas)

    @property
    def is_settling(self) -> bool:
        # The common area is often at work for what concerns nobody's files; it tells all watches of its
        # end only where something may have been missed.
        if self.common is not None and self.common.unsure and self.common.is_settling:
            return True
        return any(area.is_settling for area in self.own)

    @property
    def directories(self) -> int:
        return len(self.tree.root.subtree()) if self.tree.root is not None else 0


class InotifyBackend:
    """Watches by inotify.

    Args:
        fall_back: called for a watch that cannot be kept here, with the reason and whether more
            room would help; the watch has been let go of completely.
    """

    def __init__(
        self,
        settings: WatchSettings,
        budget: int,
        fall_back: Callable[[Watch, str, bool], None],
    ) -> None:
        self.budget = budget
        self.overflows = 0
        self._settings = settings
        self._fall_back = fall_back
        self._kernel: Kernel | None = None
        self._groups: dict[Watch, _Group] = {}
        self._commons: dict[str, CommonArea] = {}
        # Two threads: one may wait for a slow disk while the other goes on.
        self._limiter = trio.CapacityLimiter(2)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the instance until cancelled.

        Raises:
            OSError: no instance can be had (EMFILE).

        Cancellation: closes the instance, with all kernel watches.
        """
        with ExitStack() as stack:
            self._kernel = Kernel()
            stack.callback(self._close)
            self._table = WatchTable(self._kernel)
            self._surveyor = Surveyor(self._kernel, self._table, self.budget, self._limiter)
            async with trio.open_nursery() as settling:
                self._settler = Settler(
                    self._settings, self._surveyor, settling, self._move_away, self._stop
                )
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(self._kernel.fileno())
                    self.drain_nowait()

    def _close(self) -> None:
        assert self._kernel is not None
        trio.lowlevel.notify_closing(self._kernel.fileno())
        self._kernel.close()
        self._kernel = None

    @property
    def kernel_watches(self) -> int:
        """Kernel watches held."""
        return len(self._table) if self._kernel is not None else 0

    @property
    def room(self) -> int:
        """Kernel watches left in the budget."""
        return self.budget - self.kernel_watches

    @property
    def surveys(self) -> int:
        """Full surveys so far."""
        return self._surveyor.surveys if self._kernel is not None else 0

    @property
    def settling(self) -> int:
        """Areas that a task is busy with."""
        return sum(area.busy for area in self._areas())

    def watched_directories(self) -> dict[int, str]:
        """Return the absolute path of every watched directory, by watch number."""
        found = {}
        for area in self._areas():
            for node in area.root.subtree() if area.root is not None else ():
                found[node.wd] = f"{area.root_path}/{node.path}".rstrip("/")
        return found

    # --- watches ------------------------------------------------------------------------

    def begin(self, watch: Watch) -> None:
        """Start to watch. Returns at once; the watch is certain some milliseconds later."""
        target = watch.target
        git_dir = common = None
        if target.git_dir is not None:
            git_dir = GitDirArea(
                target.git_dir, self._table, self._settler.wake, self._limiter, [watch]
            )
        if target.common_dir is not None:
            common = self._join_common(target.common_dir, watch)
        tree = TreeArea(
            target.root,
            self._table,
            self._settler.wake,
            self._limiter,
            [watch],
            oracle=watch.oracle if target.git_dir is not None else None,
            git_dir=target.git_dir,
            prerequisites=tuple(area for area in (common, git_dir) if area is not None),
        )
        if git_dir is not None:
            git_dir.tree = tree
        if common is not None:
            common.trees[tree] = None
        group = self._groups[watch] = _Group(tree, git_dir, common)
        watch.certainty = lambda: group.is_certain
        watch.settling = lambda: group.is_settling
        watch.directories = lambda: group.directories
        watch.covered_by(WatchBackend.INOTIFY)
        for area in reversed(group.areas):
            area.request()

    def _join_common(self, path: str, watch: Watch) -> CommonArea:
        common = self._commons.get(path)
        if common is None or common.given_up:
            common = CommonArea(path, self._table, self._settler.wake, self._limiter)
            self._commons[path] = common
        common.watches.append(watch)
        return common

    def release(self, watch: Watch) -> list[Area]:
        """Let go of a watch: its kernel watches end now, those that a thread is adding soon.

        Returns:
            The areas that a task is still busy with.
        """
        group = self._groups.pop(watch, None)
        if group is None:
            return []
        ended = list(group.own)
        if group.common is not None:
            group.common.leave(watch, group.tree)
            if not group.common.watches:
                ended.append(group.common)
                if self._commons.get(group.common.root_path) is group.common:
                    del self._commons[group.common.root_path]
        parts = [part for area in ended for part in area.parts()]
        for area in ended:
            area.release()
        watch.uncover()
        return [part for part in parts if part.busy]

    async def end(self, watch: Watch) -> None:
        """Let go of a watch and wait until no kernel watch of it is left.

        Cancellation: shielded, normally for some milliseconds.
        """
        busy = self.release(watch)
        with trio.move_on_after(RELEASE_SECONDS, shield=True):
            for area in busy:
                await area.wait_quiet()

    def verify(self, watch: Watch) -> None:
        """Compare the paths of a watch with the directories that are watched."""
        group = self._groups.get(watch)
        for area in group.own if group is not None else ():
            if area.is_settled and identify(area.root_path) != area.identity:
                area.lose()
                area.request()

    # --- events -------------------------------------------------------------------------

    def drain_nowait(self) -> None:
        """Take in everything the kernel has queued. Synchronous, no checkpoint."""
        if self._kernel is None:
            return
        table = self._table
        for wd, mask, _cookie, name in self._kernel.read_nowait():
            if mask & kernel.OVERFLOW:
                self._overflowed()
            elif not mask & kernel.REMOVED or table.removed(wd):
                for node in table.at(wd):
                    node.owner.handle(node, mask, name)

    def _overflowed(self) -> None:
        self.overflows += 1
        self._table.overflowed()
        logger.warning(
            "the kernel dropped file events; all %d watches are surveyed again",
            len(self._groups),
            extra={"watches": len(self._groups), "overflows": self.overflows},
        )
        self.doubt_everything()

    def doubt_everything(self) -> None:
        """Changes may have been missed anywhere: survey all, tell all."""
        for area in self._areas():
            area.doubt()
            area.request()

    def _areas(self) -> list[Area]:
        own = [area for group in self._groups.values() for area in group.own]
        return [part for area in (*self._commons.values(), *own) for part in area.parts()]

    # --- letting go ----------------------------------------------------------------------

    def _move_away(self, area: Area, reason: str, more_room_helps: bool) -> None:
        for watch in list(area.watches):
            self.release(watch)
            self._fall_back(watch, reason, more_room_helps)

    def _stop(self, area: Area, reason: str) -> None:
        """Give up what depends on an area, until something asks again."""
        for watch in list(area.watches):
            self.release(watch)
            logger.info(
                "watch of %s stopped: %s; it starts again when something asks for it",
                watch.target.root,
                reason,
                extra={"root": watch.target.root, "reason": reason},
            )
            watch.covered_by(WatchBackend.NONE, reason)
            watch.touch(workspace=True, refs=True, unknown=True)
