"""The workspace tree: everything below the root that git does not ignore."""

import os
from collections.abc import Collection

import trio
from attrs import define, field

from bbhost.watch import kernel
from bbhost.watch.areas import Area
from bbhost.watch.table import Node
from bbhost.watch.tracked import index_may_contain
from bbhost.watch.values import IgnoreOracle

MOST_IGNORED = 10_000
"""Ignored directories remembered per tree. Beyond it, those that vanish are forgotten, and cost a
question to git when they come back."""


@define(eq=False)
class TreeArea(Area):
    """Ignored directories are remembered by path: one that is made anew costs nothing."""

    oracle: IgnoreOracle | None = None
    """None for a plain directory."""
    git_dir: str | None = None
    prerequisites: tuple[Area, ...] = ()
    ignored: set[str] = field(factory=set, init=False)
    check_index: bool = field(default=False, init=False)

    @property
    def has_work(self) -> bool:
        """Whether something has to be looked at."""
        return self.needs_survey or self.check_index or bool(self.pending)

    @property
    def is_limited(self) -> bool:
        """Trees are what the budget is for."""
        return True

    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name`` in the directory of ``node``."""
        if name == ".git" and node.parent is None:
            self._handle_git(mask)
        elif mask & kernel.IS_DIRECTORY:
            path = f"{node.path}/{name}" if node.parent else name
            if path in self.ignored:
                if mask & kernel.VANISHED and len(self.ignored) > MOST_IGNORED:
                    self.ignored.discard(path)
                return
            self.note_directory(node, mask, name, path)
            self.touch()
        else:
            if name == ".gitignore" and self.oracle is not None:
                self.needs_survey = True
            self.touch()

    def _handle_git(self, mask: int) -> None:
        # The name `.git` came, went or was rewritten: this may be another repository now. Writes
        # below the directory `.git` are the other areas' business and do not come here.
        if mask & (kernel.APPEARED | kernel.VANISHED) or not mask & kernel.IS_DIRECTORY:
            self.doubt()

    def touch(self) -> None:
        """Tell the watch that the workspace was touched."""
        for watch in self.watches:
            watch.touch(workspace=True)

    def rules_changed(self) -> None:
        """Ignore rules may have changed: survey again."""
        self.needs_survey = True
        self.touch()
        self.request()

    def index_changed(self) -> None:
        """The index was written: an ignored directory may hold tracked files now."""
        if self.ignored:
            self.check_index = True
            self.request()

    async def wait_prerequisites(self) -> None:
        """Wait until the git dirs are watched: their changes void what the oracle says."""
        for area in self.prerequisites:
            await area.wait_quiet()
        await trio.lowlevel.checkpoint()

    async def learn(self) -> None:
        """Ask for all ignored directories."""
        self.check_index = False
        if self.oracle is not None:
            ignored = await self.oracle.ignored_directories(self.root_path)
            self.ignored = {path.rstrip("/") for path in ignored}

    async def check(self) -> None:
        """Survey again if an ignored directory seems to hold tracked files."""
        self.check_index = False
        if self.git_dir is None or not self.ignored:
            return
        index = os.path.join(self.git_dir, "index")  # noqa: PTH118 - paths are str here
        try:
            tracked = await trio.to_thread.run_sync(
                index_may_contain, index, tuple(self.ignored), limiter=self.limiter
            )
        except BaseException:
            self.check_index = True
            raise
        self.needs_survey |= tracked

    def admits(self, path: str) -> bool:
        """Whether ``path`` is in the tree and not known as ignored."""
        return path != ".git" and path not in self.ignored

    async def unwanted_among(self, paths: Collection[str]) -> frozenset[str]:
        """Ask git about new directories, all at once."""
        candidates = frozenset(path for path in paths if self.admits(path))
        unwanted = frozenset(paths) - candidates
        if self.oracle is None or not candidates:
            return unwanted
        answer = await self.oracle.ignored_among(self.root_path, candidates)
        return unwanted | {path.rstrip("/") for path in answer}

    def rejected(self, paths: Collection[str]) -> None:
        """Remember ignored directories, the topmost only."""
        self.ignored.update(path for path in paths if path != ".git")
