"""What the kernel says about inotify watches of a process: for doctor and for tests, Linux only."""

import os
from pathlib import Path

from attrs import frozen


@frozen
class KernelWatch:
    """One watch as ``/proc/<pid>/fdinfo`` shows it."""

    wd: int
    inode: int
    device: int
    """As in ``st_dev``, which some file systems (btrfs) number otherwise."""


def kernel_watches(pid: int | None = None) -> dict[int, list[KernelWatch]]:
    """Return the watches of every inotify instance of a process, by file descriptor.

    Args:
        pid: the process; this one where omitted.

    Raises:
        OSError: the process is gone or belongs to another user.
    """
    process = Path("/proc") / (str(pid) if pid is not None else "self")
    instances: dict[int, list[KernelWatch]] = {}
    for descriptor in list((process / "fd").iterdir()):
        try:
            if str(descriptor.readlink()) != "anon_inode:inotify":
                continue
            text = (process / "fdinfo" / descriptor.name).read_text()
        except FileNotFoundError:
            continue  # closed meanwhile
        lines = [line for line in text.splitlines() if line.startswith("inotify ")]
        instances[int(descriptor.name)] = [_parse(line) for line in lines]
    return instances


def count_kernel_watches(pid: int | None = None) -> int:
    """Return the number of kernel watches of all inotify instances of a process."""
    return sum(map(len, kernel_watches(pid).values()))


def _parse(line: str) -> KernelWatch:
    """Parse ``inotify wd:3 ino:9e7e sdev:800013 mask:800afce ...``; all numbers are hexadecimal."""
    fields = dict(part.split(":", 1) for part in line.split()[1:4])
    device = int(fields["sdev"], 16)
    # The kernel's own encoding: 12 bits of major number above 20 bits of minor number.
    return KernelWatch(
        wd=int(fields["wd"], 16),
        inode=int(fields["ino"], 16),
        device=os.makedev(device >> 20, device & 0xFFFFF),
    )
