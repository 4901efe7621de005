"""The git directories: a worktree's own, and the one that all worktrees share."""

import os
from collections.abc import Collection
from pathlib import Path

import trio
from attrs import define, field

from bbhost.watch import kernel
from bbhost.watch.areas import Area
from bbhost.watch.git_names import (
    Concern,
    common_dir_concern,
    config_signature,
    git_dir_concern,
    is_surveyed_in_common,
)
from bbhost.watch.table import Node
from bbhost.watch.tree_area import TreeArea
from bbhost.watch.watch import Watch


@define(eq=False)
class GitDirArea(Area):
    """A worktree's own git dir; only the directory itself, and reftable's, are watched."""

    tree: TreeArea | None = None

    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name``."""
        if node.parent is not None:
            self.touch()
            return
        if mask & kernel.IS_DIRECTORY and self.admits(name):
            self.note_directory(node, mask, name, name)
            self.touch()
        concern = git_dir_concern(name)
        if concern is Concern.NOTHING:
            return
        self.touch()
        if self.tree is None:
            return
        if Concern.INDEX in concern:
            self.tree.index_changed()
        if Concern.RULES in concern:
            self.tree.rules_changed()

    def touch(self) -> None:
        """Tell the watch that its workspace was touched."""
        for watch in self.watches:
            watch.touch(workspace=True)

    def rejected(self, paths: Collection[str]) -> None:
        """Nothing to remember: the answer is always the same."""

    def admits(self, path: str) -> bool:
        """Only where HEAD is kept in a table of refs."""
        return path == "reftable"

    def release(self) -> None:
        """Give up all kernel watches now, and whatever is under way."""
        self.tree = None
        super().release()


@define(eq=False)
class CommonArea(Area):
    """The common dir of a repository, shared by the watches of all its worktrees."""

    trees: dict[TreeArea, None] = field(factory=dict)
    """Those whose ignore rules depend on this repository; in order of arrival."""
    check_config: bool = field(default=False, init=False)
    _reader: Watch | None = field(default=None, init=False)
    """Whose owner reads the refs for all, when they have been touched."""
    _signature: bytes = field(default=b"", init=False)

    @property
    def has_work(self) -> bool:
        """Whether something has to be looked at."""
        return self.needs_survey or self.check_config or bool(self.pending)

    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name`` in the directory of ``node``."""
        directory = node.path
        concern = common_dir_concern(directory, name)
        if mask & kernel.IS_DIRECTORY:
            path = f"{directory}/{name}" if directory else name
            if self.admits(path):
                self.note_directory(node, mask, name, path)
        if Concern.REFS in concern:
            self.touch()
        if Concern.WORKSPACE in concern:
            for watch in self.watches:
                watch.touch(workspace=True)
        if Concern.CONFIG in concern:
            self.check_config = True
            self.touch()
        if Concern.RULES in concern:
            self._rules_changed()

    def touch(self) -> None:
        """Refs were touched: void what all watches know, and have one owner read them.

        The owner who is told tells the others if they have reason to care (``Watch.tell_refs``).
        Waking each of them for each branch that is made would make N worktrees cost N squared.
        """
        for watch in self.watches:
            watch.refs_marks += 1
        self._have_read()

    def _have_read(self) -> None:
        reader = self._reader
        if reader is None or not (reader.has_refs and reader.is_waiting):
            # One that has taken its batch may have read before this change, and one that is busy may
            # be so for long. Best is one that is in no burst of its own.
            reader = next((watch for watch in self.watches if watch.is_at_rest), None) or next(
                (watch for watch in self.watches if watch.is_waiting), None
            )
        if reader is None:
            # All are busy, or not at work yet: whoever is ready first.
            self._reader = None
            for watch in self.watches:
                watch.note_refs()
        else:
            self._reader = reader
            reader.note_refs()

    def leave(self, watch: Watch, tree: TreeArea) -> None:
        """A watch is closed. What its owner was to read, another one reads."""
        self.watches.remove(watch)
        self.trees.pop(tree, None)
        if watch is self._reader:
            self._reader = None
            if watch.owes_refs:
                self._have_read()

    def announce(self) -> None:
        """Certainty is back. Unless something was missed, only refs can have changed."""
        unsure, self.unsure = self.unsure, False
        if not unsure:
            self.touch()
        for watch in self.watches:
            if unsure:
                watch.touch(refs=True, unknown=True)
            watch.settled()

    async def learn(self) -> None:
        """Remember the configuration; if it changed while nobody looked, so may the rules."""
        await self.check()

    async def check(self) -> None:
        """Compare the configuration; survey the trees again if it can change what is ignored."""
        self.check_config = False
        try:
            signature = await trio.to_thread.run_sync(
                _read_signature, self.root_path, limiter=self.limiter
            )
        except BaseException:
            self.check_config = True
            raise
        if signature != self._signature:
            self._signature = signature
            self._rules_changed()

    def rejected(self, paths: Collection[str]) -> None:
        """Nothing to remember: the answer is always the same."""

    def admits(self, path: str) -> bool:
        """Only where refs and rules are kept."""
        return is_surveyed_in_common(path)

    def _rules_changed(self) -> None:
        for tree in self.trees:
            tree.rules_changed()


def _read_signature(common_dir: str) -> bytes:
    try:
        return config_signature(Path(os.path.join(common_dir, "config")).read_bytes())  # noqa: PTH118
    except FileNotFoundError:
        return b""
