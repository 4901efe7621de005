"""Bringing an area up to date: reading directories and setting watches, in bounded slices.

The order that makes it complete: a directory's watch is set, *then* entered in the table, *then*
its content is read. An event for a directory that is not entered yet may be dropped, because its
content has yet to be read; from then on no event is dropped.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio
from attrs import define, field

from bbhost.toolkit.faults import fault_point
from bbhost.watch import scanning
from bbhost.watch.areas import Area
from bbhost.watch.kernel import Kernel, NoRoomError
from bbhost.watch.table import Node, WatchTable

T = TypeVar("T")

SLICE = 64
"""Directories per visit to a thread; a visit takes a millisecond or two."""
LOOK_AHEAD = 512
"""Directories read beyond the new ones before git is asked about all of them."""


@define(eq=False)
class Surveyor:
    """Does the work that areas remember."""

    kernel: Kernel
    table: WatchTable
    budget: int
    """Most kernel watches; trees may not go beyond it, git dirs (few) may."""
    limiter: trio.CapacityLimiter
    # Looking at a root for the first time is what hangs on a dead network mount: such a root is
    # not to hold up the others. More than eight of them would.
    _root_limiter: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(8), init=False
    )
    surveys: int = field(default=0, init=False)

    async def advance(self, area: Area) -> None:
        """Do the next piece of an area's work.

        Raises:
            NoRoomError: no more kernel watches.
            OSError: the root is missing (ENOENT, ENOTDIR), or something cannot be read.
            BbhostError: from the oracle.

        Cancellation: safe; what was begun is still remembered by the area.
        """
        if area.needs_survey:
            await self._survey(area)
        elif area.pending:
            await self._decide(area)
        else:
            await area.check()

    async def _survey(self, area: Area) -> None:
        """Build the area's nodes anew beside the old ones, then let go of the old ones.

        Directories in both keep their kernel watch throughout, so nothing is missed meanwhile.
        """
        area.needs_survey = False
        area.pending.clear()
        area.blind.clear()
        self.surveys += 1
        root: Node | None = None
        try:
            with self.table.additions():
                opened = await trio.to_thread.run_sync(
                    scanning.open_root, self.kernel, area.root_path, limiter=self._root_limiter
                )
                root = Node(area, None, "", opened.wd)
                if not self.table.enter(root):
                    area.needs_survey = True
                    return
            fault_point("watch.root_watched")
            await area.learn()
            await self._descend(area, [root], area.admits, area.rules_read_at)
        except BaseException:
            area.needs_survey = True
            if root is not None:
                self.table.forget(root)
            raise
        previous, area.root, area.identity = area.root, root, opened.identity
        if root.wd < 0:
            area.root = None
            area.needs_survey = True
        if previous is not None:
            self.table.forget(previous)

    async def _decide(self, area: Area) -> None:
        """Find out about directories that appeared, and watch those that are wanted."""
        paths = frozenset(area.pending)
        area.pending.clear()
        try:
            found = await self._in_thread(
                scanning.look_ahead, area.root_path, sorted(paths), area.admits, LOOK_AHEAD
            )
            unwanted = await area.unwanted_among(found)
            area.rejected(unwanted)
            wanted = frozenset(found) - unwanted
            for path in paths - wanted:
                self._forget_path(area, path)
            nodes = await self._watch(area, sorted(paths & wanted))
            await self._descend(area, nodes, partial(_verdict, area, wanted))
        except BaseException:
            area.pending |= paths
            raise

    def _forget_path(self, area: Area, path: str) -> None:
        area.blind.discard(path)
        node = area.root.find(path) if area.root is not None else None
        if node is not None and node.parent is not None:
            self.table.forget(node)

    async def _watch(self, area: Area, paths: list[str]) -> list[Node]:
        nodes: list[Node] = []
        for start in range(0, len(paths), SLICE):
            part = paths[start : start + SLICE]
            with self.table.additions():
                numbers = await self._in_thread(
                    scanning.add_watches,
                    self.kernel,
                    [f"{area.root_path}/{path}" for path in part],
                )
                for path, wd in zip(part, numbers, strict=False):
                    node = self._enter(area, path, wd)
                    if node is not None:
                        nodes.append(node)
            area.pending.update(part[len(numbers) :])
        self._check_budget(area)
        return nodes

    def _enter(self, area: Area, path: str, wd: int | None) -> Node | None:
        if wd is None:
            self._forget_path(area, path)
            return None
        if wd < 0:
            area.blind.add(path)
            return None
        area.blind.discard(path)
        directory, _, name = path.rpartition("/")
        parent = area.root.find(directory) if area.root is not None else None
        node = Node(area, parent, name, wd)
        if parent is None:
            # Its parent has gone, or is itself still to be decided and will be read then.
            self.table.discard(wd)
            return None
        if not self.table.enter(node):
            area.pending.add(path)
            return None
        return node

    async def _descend(
        self,
        area: Area,
        nodes: list[Node],
        admits: Callable[[str], bool | None],
        since_ns: int | None = None,
    ) -> None:
        """Read directories that are watched, and all below them."""
        todo = deque(nodes)
        while todo:
            batch = [todo.popleft() for _ in range(min(SLICE, len(todo)))]
            # A node that was forgotten meanwhile is somebody else's work, if it is any.
            batch = [node for node in batch if node.wd >= 0]
            paths = [node.path for node in batch]
            with self.table.additions():
                answers, fault = await self._in_thread(
                    scanning.scan,
                    self.kernel,
                    area.root_path,
                    paths,
                    scanning.Rules(admits, area.looks_for_nested, since_ns),
                )
                for node, path, answer in zip(batch, paths, answers, strict=False):
                    todo.extend(self._take(area, node, path, answer))
            if fault is not None:
                raise fault
            self._check_budget(area)
            fault_point("watch.slice_surveyed")

    def _take(self, area: Area, node: Node, path: str, answer: scanning.Scanned) -> list[Node]:
        for git_dir in answer.nested:
            area.found_nested(path, git_dir)
        prefix = f"{path}/" if path else ""
        entered = []
        for name, wd in answer.watched:
            child = Node(area, node, name, wd)
            if self.table.enter(child):
                entered.append(child)
            elif node.wd >= 0:
                area.pending.add(prefix + name)
        area.pending.update(prefix + name for name in answer.undecided)
        area.blind.update(prefix + name if name else path for name in answer.forbidden)
        if answer.missing and node.wd >= 0:
            if node.parent is None:
                area.lose(node)
            else:
                self.table.forget(node)
        return entered

    def _check_budget(self, area: Area) -> None:
        if area.is_limited and len(self.table) > self.budget:
            raise NoRoomError(f"the budget of {self.budget} inotify watches is used up")

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(function, *args, limiter=self.limiter)


def _verdict(area: Area, wanted: frozenset[str], path: str) -> bool | None:
    """Whether a directory below a new one is watched; None where git has yet to be asked."""
    if path in wanted:
        return True
    return None if area.admits(path) else False
