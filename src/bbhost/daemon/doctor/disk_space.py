"""Room on the disk of the data directory."""

import os
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, error, ok, warning
from bbhost.daemon.doctor.subject import Subject

CHECK = "disk"
LOW_BYTES = 2 * 1024**3
FULL_BYTES = 100 * 1024**2
LOW_INODES = 10_000


async def check_disk(subject: Subject) -> list[Finding]:
    """Look at free bytes and free inodes."""
    return await subject.look(_look, subject.data_dir)


def _look(data_dir: Path) -> list[Finding]:
    try:
        found = os.statvfs(_nearest(data_dir))
    except OSError as trouble:
        return [error(CHECK, f"cannot look at {data_dir}: {trouble.strerror}")]
    return judge_space(
        str(data_dir), found.f_bavail * found.f_frsize, found.f_favail, found.f_files
    )


def judge_space(place: str, free_bytes: int, free_inodes: int, inodes: int) -> list[Finding]:
    """Say what little room means. Pure.

    Args:
        inodes: how many there are in all; 0 where the file system does not count them.
    """
    remedy = "make room: bbhost gc, or destroy environments"
    if free_bytes < FULL_BYTES:
        return [error(CHECK, f"{place}: {free_bytes // 1024**2} MiB are free", remedy=remedy)]
    if free_bytes < LOW_BYTES:
        return [warning(CHECK, f"{place}: {free_bytes // 1024**2} MiB are free", remedy=remedy)]
    if inodes and free_inodes < LOW_INODES:
        return [warning(CHECK, f"{place}: {free_inodes} inodes are free", remedy=remedy)]
    return [ok(CHECK, f"{free_bytes / 1024**3:.1f} GiB are free")]


def _nearest(place: Path) -> Path:
    """Return ``place``, or before a daemon has ever run there the directory that will hold it."""
    for candidate in (place, *place.parents):
        if os.path.lexists(candidate):
            return candidate
    return place
