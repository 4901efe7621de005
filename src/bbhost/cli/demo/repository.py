"""A real repository to work on."""

import os
from pathlib import Path

import trio

DIRECTORIES = 30
FILES_PER_DIRECTORY = 10
_IDENTITY = (
    "-c", "user.name=bbhost demo", "-c", "user.email=demo@example.invalid",
    "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null",
)  # fmt: skip


async def run_git(cwd: Path, *arguments: str) -> str:
    """Run git the way a user would; return what it prints.

    Raises:
        CalledProcessError: it failed.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = await trio.run_process(
        ["git", *_IDENTITY, *arguments],
        cwd=cwd,
        env={**environ, "GIT_TERMINAL_PROMPT": "0"},
        capture_stdout=True,
        capture_stderr=True,
    )
    return done.stdout.decode("utf-8", "replace")


async def make_repository(path: Path) -> int:
    """Make a repository with one commit; return how many files it has."""
    path.mkdir(parents=True)
    await run_git(path, "init", "--quiet", "--initial-branch=main")
    for number in range(DIRECTORIES):
        directory = path / f"package{number:02}"
        directory.mkdir()
        for file in range(FILES_PER_DIRECTORY):
            (directory / f"module{file}.py").write_text(f"VALUE = {number * 100 + file}\n")
    (path / ".gitignore").write_text("build/\n")
    (path / "README.md").write_text("# A project\n")
    (path / ".bb-env-setup.sh").write_text("echo the set-up script runs in $(basename $PWD)\n")
    await run_git(path, "add", "--all")
    await run_git(path, "commit", "--quiet", "--message", "Begin")
    return DIRECTORIES * FILES_PER_DIRECTORY + 3
