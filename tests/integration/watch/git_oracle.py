"""A small oracle over real git, and a real repository to ask it about."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import define, field

from bbhost.errors import NotGitRepoError
from bbhost.watch import WatchTarget

GIT = (
    "git",
    "-c",
    "user.name=dev",
    "-c",
    "user.email=dev@example.invalid",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "protocol.file.allow=always",
)


def git(cwd: Path, *args: str, data: str | None = None) -> str:
    """Run git and return its output."""
    done = subprocess.run(
        [*GIT, *args], cwd=cwd, input=data, check=True, capture_output=True, text=True
    )
    return done.stdout


def make_repository(path: Path) -> Path:
    """Make a repository with one commit, ignoring ``node_modules/`` and ``*.log``."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / ".gitignore").write_text("node_modules/\n*.log\n")
    (path / "src").mkdir()
    (path / "src" / "a.txt").write_text("one\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    return path


def target_of(worktree: Path) -> WatchTarget:
    """Ask git where the git dirs of a worktree are."""
    out = git(worktree, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    git_dir, common_dir = out.splitlines()
    return WatchTarget(str(worktree), git_dir, common_dir)


@define(eq=False)
class GitOracle:
    """Asks git, and counts how often."""

    asked: list[frozenset[str]] = field(factory=list)
    listed: int = 0
    failures: list[Exception] = field(factory=list)
    """Raised instead of an answer, one each."""
    after_listing: Callable[[], object] | None = None
    """Done when git has listed the ignored directories, before the answer is given."""
    gate: trio.Event | None = None
    """Answers wait for it."""

    async def _run(self, root: str, *args: str, data: bytes = b"", ok: int = 0) -> bytes:
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        done = await trio.run_process(
            ["git", "--no-optional-locks", *args],
            cwd=root,
            stdin=data,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        if done.returncode not in {0, ok}:
            raise NotGitRepoError(done.stderr.decode())
        return done.stdout

    async def ignored_directories(self, root: str) -> frozenset[str]:
        """List all ignored directories."""
        self.listed += 1
        out = await self._run(root, "status", "--porcelain", "-z", "--ignored=matching")
        if self.after_listing is not None:
            self.after_listing()
        entries = (line for line in out.decode().split("\0") if line.startswith("!! "))
        return frozenset(entry[3:-1] for entry in entries if entry.endswith("/"))

    async def ignored_among(self, root: str, directories: frozenset[str]) -> frozenset[str]:
        """Ask about some directories, in one process."""
        self.asked.append(directories)
        data = "\0".join(sorted(directories)).encode()
        out = await self._run(root, "check-ignore", "-z", "--stdin", data=data, ok=1)
        return frozenset(filter(None, out.decode().split("\0")))
