"""How much the trash holds, and whether it is emptied."""

import os
import time
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from bbhost.daemon.doctor.finding import Finding, info, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash import Trash

CHECK = "trash"
LARGE_BYTES = 10 * 1024**3
OVERDUE_MS = 2 * 3600 * 1000
"""The emptier looks every hour; what is due for longer cannot be deleted."""
MEASURE_SECONDS = 3.0
"""For adding up sizes; beyond it the sum is a lower bound, and said to be one."""


@frozen
class _Size:
    entries: int
    file_bytes: int
    complete: bool
    overdue: tuple[str, ...]
    nameless: tuple[str, ...]


async def check_trash(subject: Subject) -> list[Finding]:
    """Add up the trash and look for entries that should be gone."""
    size = await subject.look(_measure, subject.data_dir)
    mib = f"{'' if size.complete else 'more than '}{size.file_bytes / 1024**2:.1f} MiB"
    findings = []
    if size.file_bytes > LARGE_BYTES:
        findings.append(
            warning(
                CHECK,
                f"the trash holds {mib}",
                remedy="see 'bbhost gc'; rescue_max_mib bounds what goes there",
            )
        )
    if size.overdue:
        findings.append(
            warning(
                CHECK,
                f"{len(size.overdue)} entries of the trash should have been deleted",
                size.overdue,
                "see the daemon's log for what keeps it; then: bbhost gc --no-dry-run",
            )
        )
    if size.nameless:
        findings.append(
            warning(
                CHECK,
                f"{len(size.nameless)} entries of the trash have no readable note",
                size.nameless,
                "look at them; the emptier deletes them",
            )
        )
    if findings:
        return findings
    if not size.entries:
        return [ok(CHECK, "the trash is empty")]
    return [info(CHECK, f"the trash holds {size.entries} entries, {mib}")]


def _measure(data_dir: Path) -> _Size:
    now = wall_clock_ms()
    until = time.monotonic() + MEASURE_SECONDS
    total, complete = 0, True
    overdue, nameless = [], []
    entries = Trash(data_dir).entries()
    for entry in entries:
        if entry.note is None:
            nameless.append(str(entry.directory))
        elif max(entry.note.keep_until_ms or 0, entry.note.trashed_at_ms) + OVERDUE_MS < now:
            overdue.append(f"{entry.directory}, from {entry.note.path}")
        size, whole = _tree_bytes(entry.directory, until)
        total += size
        complete = complete and whole
    return _Size(len(entries), total, complete, tuple(overdue), tuple(nameless))


def _tree_bytes(directory: Path, until: float) -> tuple[int, bool]:
    total = 0
    waiting = [str(directory)]
    while waiting:
        if time.monotonic() > until:
            return total, False
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total, True
