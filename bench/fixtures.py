"""What is measured on: one repository of 500 files in 50 directories, made the same way each time."""

import json
import os
import subprocess
import sys
from pathlib import Path

DIRECTORIES = 50
FILES_EACH = 10
CODEX = Path(__file__).parents[1] / "tests" / "fakes" / "codex_app_server.py"
_WHEN = "2024-01-01T00:00:00+00:00"


def isolate_git(root: Path) -> None:
    """Let neither the machine's nor the person's configuration of git have a say."""
    home = root / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitconfig").write_text("[user]\nname = dev\nemail = dev@example.invalid\n")
    for name in [name for name in os.environ if name.startswith(("GIT_", "BB_", "BBHOST_"))]:
        del os.environ[name]
    os.environ.pop("XDG_CONFIG_HOME", None)
    os.environ["HOME"] = str(home)
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"


def git(path: Path, *args: str) -> str:
    """Run git in ``path``."""
    done = subprocess.run(["git", *args], cwd=path, check=True, capture_output=True, text=True)
    return done.stdout


def make_repository(path: Path) -> Path:
    """Make the repository; its commit has the same id every time."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    for directory in range(DIRECTORIES):
        (path / f"d{directory}").mkdir()
        for file in range(FILES_EACH):
            text = "".join(f"{directory} {file} {line}\n" for line in range(20))
            (path / f"d{directory}" / f"f{file}.txt").write_text(text)
    git(path, "add", "-A")
    os.environ["GIT_AUTHOR_DATE"] = os.environ["GIT_COMMITTER_DATE"] = _WHEN
    try:
        git(path, "commit", "-qm", "initial")
    finally:
        del os.environ["GIT_AUTHOR_DATE"], os.environ["GIT_COMMITTER_DATE"]
    return path


def make_untracked(workspace: Path, count: int) -> None:
    """Put ``count`` small untracked files into a workspace."""
    directory = workspace / "untracked"
    directory.mkdir()
    for number in range(count):
        (directory / f"u{number}.txt").write_text(f"line of {number}\n" * 5)


def write_config(root: Path) -> dict[str, str]:
    """Let the daemon know the scripted agent; return the variables that say so."""
    path = root / "config.toml"
    argv = json.dumps([sys.executable, str(CODEX)])
    path.write_text(f"[providers.codex]\nargv = {argv}\n")
    return {"BBHOST_CONFIG": str(path)}
