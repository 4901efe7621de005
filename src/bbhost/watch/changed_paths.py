"""Sorting changed paths into "workspace", "refs" and "neither", for backends that give paths."""

import os
from collections.abc import Iterable

from attrs import define, field

from bbhost.watch.git_names import Concern, common_dir_concern, git_dir_concern
from bbhost.watch.values import IgnoreOracle, WatchTarget

MOST_DECIDED = 4_096
"""Directories whose answer is remembered; all are forgotten beyond it, and asked about again."""


@define(eq=False)
class ChangedPaths:
    """Knows which directories are ignored, and asks about those it does not know."""

    target: WatchTarget
    oracle: IgnoreOracle
    _ignored: frozenset[str] = field(default=frozenset(), init=False)
    _wanted: set[str] = field(factory=set, init=False)

    async def learn(self) -> None:
        """Ask for all ignored directories. Errors: those of the oracle."""
        self._wanted.clear()
        if self.target.git_dir is not None:
            ignored = await self.oracle.ignored_directories(self.target.root)
            self._ignored = frozenset(path.rstrip("/") for path in ignored)

    async def sort_out(self, paths: Iterable[str]) -> tuple[bool, bool]:
        """Return whether the workspace, and whether the refs, may have changed.

        Raises:
            BbhostError, OSError: from the oracle.
        """
        concern = Concern.NOTHING
        inside: set[str] = set()
        for path in paths:
            in_git = self._git_concern(path)
            if in_git is None:
                inside.add(path.removeprefix(self.target.root).lstrip("/"))
            else:
                concern |= in_git
        if concern & (Concern.RULES | Concern.CONFIG | Concern.INDEX) or any(
            path.rpartition("/")[2] == ".gitignore" for path in inside
        ):
            await self.learn()
        workspace = bool(concern & (Concern.WORKSPACE | Concern.RULES | Concern.CONFIG))
        if not workspace and inside:
            workspace = await self._any_wanted(inside)
        return workspace, Concern.REFS in concern

    def _git_concern(self, path: str) -> Concern | None:
        """What a path in a git dir concerns; None for one in the tree."""
        concern = None
        git_dir, common_dir = self.target.git_dir, self.target.common_dir
        if git_dir is not None and path.startswith(git_dir + "/"):
            inner = path[len(git_dir) + 1 :]
            concern = git_dir_concern(inner) if "/" not in inner else Concern.NOTHING
        if common_dir is not None and path.startswith(common_dir + "/"):
            directory, _, name = path[len(common_dir) + 1 :].rpartition("/")
            in_refs = directory in {"", "info", "reftable"} or directory.startswith("refs")
            own = common_dir_concern(directory, name) if in_refs else Concern.NOTHING
            concern = own | (concern or Concern.NOTHING)
        if concern is None and path == f"{self.target.root}/.git":
            concern = Concern.NOTHING
        return concern

    async def _any_wanted(self, paths: set[str]) -> bool:
        directories = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - a str, often
        open_questions: set[str] = set()
        for directory in directories:
            if directory == "" or directory in self._wanted:
                return True
            if not self._is_ignored(directory):
                open_questions.add(directory)
        if not open_questions:
            return False
        if self.target.git_dir is None:
            return True
        unwanted = await self.oracle.ignored_among(self.target.root, frozenset(open_questions))
        self._ignored |= unwanted
        if len(self._wanted) > MOST_DECIDED or len(self._ignored) > MOST_DECIDED:
            await self.learn()
        self._wanted |= open_questions - unwanted
        return bool(open_questions - unwanted)

    def _is_ignored(self, directory: str) -> bool:
        while directory:
            if directory in self._ignored:
                return True
            directory = directory.rpartition("/")[0]
        return False
