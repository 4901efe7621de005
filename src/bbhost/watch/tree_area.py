"""The workspace tree: everything below the root that git does not ignore."""

import os
import time
from collections.abc import Collection

import trio
from attrs import define, field

from bbhost.watch import kernel
from bbhost.watch.areas import Area
from bbhost.watch.nested import is_linked, nested_git_dir
from bbhost.watch.submodule_area import SubmoduleArea
from bbhost.watch.table import Node
from bbhost.watch.tracked import index_may_contain, tracked_among
from bbhost.watch.values import IgnoreOracle

_FILE_CLOCK = 5
"""CLOCK_REALTIME_COARSE, which the kernel stamps files with; Python has no name for it."""
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
    nested: dict[str, str] = field(factory=dict, init=False)
    """Repositories in the tree and their git dirs (see ``found_nested``)."""
    submodules: dict[str, SubmoduleArea] = field(factory=dict, init=False)
    """Those of them that are submodules."""

    @property
    def has_work(self) -> bool:
        """Whether something has to be looked at."""
        return self.needs_survey or self.check_index or bool(self.pending)

    @property
    def is_settled(self) -> bool:
        """Whether everything that matters is watched and decided."""
        mine = self.root is not None and not self.busy and not self.has_work and not self.blind
        return mine and all(area.is_settled for area in self.submodules.values())

    @property
    def is_limited(self) -> bool:
        """Trees are what the budget is for."""
        return True

    @property
    def looks_for_nested(self) -> bool:
        """In a plain directory a repository is nothing special."""
        return self.oracle is not None

    # --- events -------------------------------------------------------------------------

    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name`` in the directory of ``node``."""
        if name == ".git":
            self._handle_git(node, mask)
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

    def _handle_git(self, node: Node, mask: int) -> None:
        # The name `.git` came, went or was rewritten: this may be another repository now, or no
        # longer one. Writes below a directory `.git` are other areas' business, not told here.
        if not mask & (kernel.APPEARED | kernel.VANISHED) and mask & kernel.IS_DIRECTORY:
            return
        if node.parent is None:
            self.doubt()
        elif self.looks_for_nested:
            self.needs_survey = True
            self.touch()

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
        """The index was written: other directories may hold tracked files, or be submodules."""
        # While busy, what is ignored or nested may just be on its way, from before this change.
        if self.ignored or self.nested or self.busy:
            self.check_index = True
            self.request()

    # --- the surveyor's questions -------------------------------------------------------

    async def wait_prerequisites(self) -> None:
        """Wait until the git dirs are watched: their changes void what the oracle says."""
        for area in self.prerequisites:
            await area.wait_quiet()
        await trio.lowlevel.checkpoint()

    async def learn(self) -> None:
        """Ask for all ignored directories."""
        self.nested.clear()
        # Even if no repository is found this time, submodules of before may have to go.
        self.check_index = bool(self.submodules)
        if self.oracle is not None:
            self.rules_read_at = time.clock_gettime_ns(_FILE_CLOCK)
            ignored = await self.oracle.ignored_directories(self.root_path)
            self.ignored = {path.rstrip("/") for path in ignored}

    async def check(self) -> None:
        """Compare the index with what is known.

        An ignored directory that seems to hold tracked files needs a survey, and so does a
        repository that was broken and no longer is. A repository that is a submodule is followed.
        """
        self.check_index = False
        if self.git_dir is None or self.root is None:
            return
        self.nested = {path: at for path, at in self.nested.items() if self.root.find(path)}
        try:
            stale, submodules = await trio.to_thread.run_sync(
                _compare_index,
                self.root_path,
                f"{self.git_dir}/index",
                tuple(self.ignored),
                dict(self.nested),
                limiter=self.limiter,
            )
        except BaseException:
            self.check_index = True
            raise
        self.needs_survey |= stale
        self._follow({path: self.nested[path] for path in submodules if path in self.nested})

    def _follow(self, submodules: dict[str, str]) -> None:
        for path, area in list(self.submodules.items()):
            if submodules.get(path) != area.root_path:
                del self.submodules[path]
                area.release()
        for path, git_dir in submodules.items():
            if is_linked(git_dir):
                # A worktree of a third repository that was added as a submodule: its refs are
                # somewhere else again. Nobody does that; be honest rather than complete.
                self.blind.add(path)
            elif path not in self.submodules:
                area = SubmoduleArea(git_dir, self.table, self.wake, self.limiter, self.watches)
                area.tree = self
                self.submodules[path] = area
                area.request()

    def admits(self, path: str) -> bool:
        """Whether ``path`` is in the tree and not known as ignored."""
        return path not in self.ignored and path.rpartition("/")[2] != ".git"

    async def unwanted_among(self, paths: Collection[str]) -> frozenset[str]:
        """Ask git about new directories, all at once."""
        candidates = frozenset(path for path in paths if self.admits(path))
        unwanted = frozenset(paths) - candidates
        if self.oracle is None or not candidates:
            return unwanted
        answer = await self.oracle.ignored_among(self.root_path, candidates)
        return unwanted | {path.rstrip("/") for path in answer}

    def rejected(self, paths: Collection[str]) -> None:
        """Remember ignored directories."""
        self.ignored.update(path for path in paths if path.rpartition("/")[2] != ".git")

    def found_nested(self, path: str, git_dir: str) -> None:
        """Find out, when the rest is done, whether it is a submodule."""
        self.nested[path] = git_dir
        self.check_index = True

    # --- life ---------------------------------------------------------------------------

    def drop_submodule(self, area: SubmoduleArea) -> None:
        """The git dir of a submodule is missing: look at the tree again."""
        self.submodules = {p: sub for p, sub in self.submodules.items() if sub is not area}
        area.release()
        self.rules_changed()

    def parts(self) -> tuple[Area, ...]:
        """The tree and its submodules."""
        return (self, *self.submodules.values())

    def release(self) -> None:
        """Give up all kernel watches now, and whatever is under way."""
        for area in self.submodules.values():
            area.release()
        self.submodules = {}
        super().release()


def _compare_index(
    root: str, index: str, ignored: tuple[str, ...], nested: dict[str, str]
) -> tuple[bool, frozenset[str]]:
    """Return whether a survey is due, and which repositories are submodules. Runs in a thread."""
    mended = any(
        not git_dir and nested_git_dir(os.path.join(root, path)) is not None  # noqa: PTH118 - str
        for path, git_dir in nested.items()
    )
    valid = [path for path, git_dir in nested.items() if git_dir]
    return mended or index_may_contain(index, ignored), tracked_among(index, valid)
