"""Storing commits with ``git fast-import``; what it is given is built by ``import_stream.py``."""

from pathlib import Path

from bbhost.workspace.git import Git


async def import_commits(
    git: Git, common_dir: Path, stream: bytes, *, timeout_seconds: float
) -> None:
    """Store the commits of a finished stream and set their refs.

    Raises:
        GitCommandError, GitTimeoutError: nothing can be relied on to be stored.

    Cancellation: safe; refs are written at the end, all or none.
    """
    await git.run(
        "fast-import",
        "--quiet",
        "--done",
        "--force",  # replaces what an attempt that was cut short stored
        "--date-format=raw",
        cwd=common_dir,
        git_dir=common_dir,
        stdin=stream,
        timeout_seconds=timeout_seconds,
    )
