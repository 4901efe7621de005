"""Which directories the kernel watches for whom. Synchronous; every change happens in the loop.

Rule 1: a kernel watch exists exactly as long as a node holds its number.
Rule 2: one directory (inode) has one kernel watch, however many nodes stand for it: the same
checkout in two environments, a git dir that is also the common dir, an old and a new survey.

About 200 bytes per directory: names are interned, so worktrees of one repository share them, and
a directory without subdirectories has no table of children.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from attrs import define, field

from bbhost.watch.kernel import Kernel

SHRINKABLE = 1000
"""Watches from which on the table's own room is worth giving back."""


class NodeOwner(Protocol):
    """Receives the events of its nodes."""

    def handle(self, node: "Node", mask: int, name: str) -> None:
        """Note an event at ``node``: ``name`` in it, or the directory itself where empty."""
        ...


@define(eq=False, weakref_slot=False, repr=False)
class Node:
    """One watched directory, as one owner sees it."""

    owner: NodeOwner
    parent: "Node | None"
    name: str = field(converter=sys.intern)
    wd: int
    """Its watch number; -1 once forgotten."""
    children: "dict[str, Node] | None" = None

    @property
    def path(self) -> str:
        """Path relative to the owner's root; empty for the root itself."""
        parts = []
        node = self
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return "/".join(reversed(parts))

    def find(self, path: str) -> "Node | None":
        """Return the node of ``path`` relative to this one."""
        node = self
        for name in filter(None, path.split("/")):
            child = node.children.get(name) if node.children else None
            if child is None:
                return None
            node = child
        return node

    def subtree(self) -> "list[Node]":
        """Return this node and all below it."""
        nodes: list[Node] = [self]
        for node in nodes:
            if node.children:
                nodes.extend(node.children.values())
        return nodes


class WatchTable:
    """All nodes by watch number.

    Additions are made by threads (``Kernel.add``) and entered here a moment later, in the loop.
    A watch that the kernel drops in between must not be entered as if it lived: while additions
    are under way (``additions``), every dropped number is kept, and ``enter`` refuses it.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._nodes: dict[int, Node | list[Node]] = {}
        self._most = 0
        # Numbers held at once since the table had the size it has.
        self._additions = 0
        self._dropped: set[int] = set()
        # Removed by us, but the kernel has not said so yet: should a number come round again, that
        # farewell is not for its new holder.
        self._leaving: set[int] = set()

    def __len__(self) -> int:
        """The number of kernel watches held."""
        return len(self._nodes)

    def __contains__(self, wd: int) -> bool:
        return wd in self._nodes

    def at(self, wd: int) -> Iterable[Node]:
        """Return the nodes of a watch number; none for an unknown one."""
        entry = self._nodes.get(wd)
        if entry is None:
            return ()
        return (entry,) if isinstance(entry, Node) else tuple(entry)

    @contextmanager
    def additions(self) -> Iterator[None]:
        """While a thread adds kernel watches, and until what it added has been entered."""
        self._additions += 1
        try:
            yield
        finally:
            self._additions -= 1
            if not self._additions:
                self._dropped.clear()

    def enter(self, node: Node) -> bool:
        """Enter a node and hang it into its parent, in place of one of the same name.

        Returns:
            False, and nothing is entered, if its watch is gone already or its parent has been
            forgotten; the caller looks at that directory again.
        """
        parent = node.parent
        if node.wd in self._dropped or (parent is not None and parent.wd < 0):
            self.discard(node.wd)
            node.wd = -1
            return False
        entry = self._nodes.get(node.wd)
        if entry is None:
            self._nodes[node.wd] = node
            self._most = max(self._most, len(self._nodes))
        elif isinstance(entry, Node):
            self._nodes[node.wd] = [entry, node]
        else:
            entry.append(node)
        if parent is not None:
            if parent.children is None:
                parent.children = {}
            previous = parent.children.get(node.name)
            parent.children[node.name] = node
            if previous is not None:
                self._forget_all(previous)
        return True

    def forget(self, node: Node) -> None:
        """Forget a node and all below it; kernel watches that nobody else holds end now."""
        parent = node.parent
        if parent is not None and parent.children and parent.children.get(node.name) is node:
            del parent.children[node.name]
            if not parent.children:
                parent.children = None
        self._forget_all(node)

    def discard(self, wd: int) -> None:
        """End a kernel watch that was added and is not going to be entered, unless others hold it."""
        if wd not in self._nodes and wd not in self._dropped:
            self._drop(wd)

    def removed(self, wd: int) -> bool:
        """The kernel says that a watch has ended. False if that was on our request."""
        if wd in self._leaving:
            self._leaving.discard(wd)
            return False
        if self._additions:
            self._dropped.add(wd)
        return True

    def overflowed(self) -> None:
        """Farewells may have been lost; wait for none of them."""
        self._leaving.clear()

    def _forget_all(self, top: Node) -> None:
        for node in top.subtree():
            wd, node.wd = node.wd, -1
            entry = self._nodes.get(wd)
            if entry is node:
                del self._nodes[wd]
                self._drop(wd)
            elif isinstance(entry, list):
                entry.remove(node)
                if len(entry) == 1:
                    self._nodes[wd] = entry[0]
            # Children know their parents: without this only the collector would free them.
            node.children = None
        self._shrink()

    def _shrink(self) -> None:
        """Give back the room of better days, which no deletion does: 1.2 MiB for 300 environments."""
        if 4 * len(self._nodes) < self._most and self._most >= SHRINKABLE:
            self._nodes = dict(self._nodes)
            self._most = len(self._nodes)

    def _drop(self, wd: int) -> None:
        if self._kernel.remove(wd):
            self._leaving.add(wd)
        if self._additions:
            self._dropped.add(wd)
