"""Which directories git ignores: what the watcher asks before it watches one.

Named are directories that a rule matches and that hold no tracked file; whatever is made in them
later is ignored too. Names here are file system names (bytes that are not UTF-8 as surrogates).
"""

import os

from bbhost.errors import GitCommandError
from bbhost.workspace.git import Git
from bbhost.workspace.porcelain import parse_porcelain

DEADLINE_LOOKS = 4
"""Deadline of each git child, in ``Git.look_seconds``; the first look at a large work tree on a cold disk takes a while."""


class GitIgnoreOracle:
    """Asks git, one process for each question."""

    def __init__(self, git: Git) -> None:
        self._git = git

    async def ignored_directories(self, root: str) -> frozenset[str]:
        """Return all ignored directories below ``root``, the topmost of each branch.

        Args:
            root: absolute path of the top of a work tree; the answer is relative to it.

        Raises:
            GitCommandError, GitTimeoutError: git failed or took longer than ``DEADLINE_LOOKS`` allow.
        """
        printed = await self._git.run(
            *("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignored=matching"),
            *("--ignore-submodules=all", "--no-renames"),
            cwd=root,
            timeout_seconds=DEADLINE_LOOKS * self._git.look_seconds,
        )
        return frozenset(parse_porcelain(printed.stdout).ignored_directories)

    async def ignored_among(self, root: str, directories: frozenset[str]) -> frozenset[str]:
        """Return those of ``directories`` (relative to ``root``) that are ignored.

        One process, and a second one where git refuses the question as a whole because one of them
        lies in a submodule or behind a symbolic link.

        Raises:
            GitCommandError, GitTimeoutError: git failed or took longer than ``DEADLINE_LOOKS`` allow.
        """
        if not directories:
            return frozenset()
        # The slash says that it is a directory, even if it has gone again meanwhile.
        asked = b"".join(os.fsencode(name) + b"/\0" for name in sorted(directories))
        try:
            printed = await self._git.run(
                *("check-ignore", "-z", "--stdin"),
                cwd=root,
                stdin=asked,
                ok_codes=(0, 1),
                timeout_seconds=DEADLINE_LOOKS * self._git.look_seconds,
            )
        except GitCommandError:
            ignored = await self.ignored_directories(root)
            return frozenset(name for name in directories if _is_beneath(name, ignored))
        named = {os.fsdecode(name.rstrip(b"/")) for name in printed.stdout.split(b"\0") if name}
        return frozenset(named & directories)


def _is_beneath(name: str, ignored: frozenset[str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:count]) in ignored for count in range(1, len(parts) + 1))
