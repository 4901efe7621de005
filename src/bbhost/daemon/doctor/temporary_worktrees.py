"""Worktrees that exist for one operation must not outlive it."""

import time
from contextlib import suppress
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.workspace.temporary_worktree import DIRECTORY, MARKER_SUFFIX

CHECK = "temporary_worktrees"
OLD_SECONDS = 3600.0
"""Longer than a merge may take, its waiting for locks included."""


async def check_temporary_worktrees(subject: Subject) -> list[Finding]:
    """Look for temporary worktrees that no operation can still be using."""
    nobody = subject.parts is None and subject.owner_pid is None
    left = await subject.look(_left, subject.data_dir / DIRECTORY, 0.0 if nobody else OLD_SECONDS)
    if not left:
        return [ok(CHECK, "no temporary worktrees are left over")]
    return [
        warning(
            CHECK,
            f"{len(left)} temporary worktrees are left over",
            left,
            "the next start of the daemon removes them",
        )
    ]


def _left(place: Path, older_than_seconds: float) -> list[str]:
    left = []
    with suppress(OSError):
        for path in sorted(place.iterdir()):
            age = time.time() - path.lstat().st_mtime
            if age >= older_than_seconds and not path.name.endswith(MARKER_SUFFIX):
                left.append(f"{path}, {age / 60:.0f} minutes old")
    return left
