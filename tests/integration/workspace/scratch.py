"""Real repositories for tests, made by the git on this machine, with plain synchronous calls."""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

USER_CONFIG = """\
[user]
	name = Dev
	email = dev@example.invalid
[init]
	defaultBranch = main
[advice]
	detachedHead = false
"""


def run_git(where: Path, *args: str, stdin: bytes | None = None, check: bool = True) -> bytes:
    """Run git as a user would, without anything of ours, and return its stdout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *args], cwd=where, env=env, input=stdin, capture_output=True, check=False
    )
    if check and done.returncode != 0:
        raise AssertionError(f"git {args}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def git_text(where: Path, *args: str) -> str:
    """The same, as stripped text."""
    return run_git(where, *args).decode().strip()


def make_repository(where: Path, files: dict[str, str] | None = None) -> Path:
    """Make a repository on branch ``main`` with one commit."""
    if files is not None:
        return _make_afresh(where, files)
    if not _made_before:
        _made_before.append(Path(tempfile.mkdtemp(prefix="bbhost-repository-")) / "made")
        atexit.register(shutil.rmtree, _made_before[0].parent, ignore_errors=True)
        _make_afresh(_made_before[0], {"a.txt": "a\nb\nc\n", "src/b.txt": "one\n"})
    shutil.copytree(_made_before[0], where, symlinks=True)
    return where


_made_before: list[Path] = []
"""What most tests begin with; making it takes longer than many of them, so the first one is copied."""


def _make_afresh(where: Path, files: dict[str, str]) -> Path:
    where.mkdir(parents=True)
    run_git(where, "init", "-q", "-b", "main")
    for name, text in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    commit_all(where, "first")
    return where


def commit_all(where: Path, message: str) -> str:
    """Commit everything and return the commit id."""
    run_git(where, "add", "-A")
    run_git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git_text(where, "rev-parse", "HEAD")
