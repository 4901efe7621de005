"""What the kernel says about a process. CPU seconds and counts mean something on a busy machine too."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU that the process itself has used, in steps of a hundredth of a second."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def children_cpu_seconds(pid: int) -> float:
    """CPU of the children it has waited for: of its git processes."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS


@frozen
class ThreadReading:
    """One thread at one moment."""

    cpu_seconds: float
    sleeps: int
    """How often it has gone to sleep of its own accord."""


def read_threads(pid: int) -> dict[str, ThreadReading]:
    """CPU in nanosecond steps and sleeps of each thread that exists now, by its id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            used = int((task / "schedstat").read_text().split()[0]) / 1e9
            lines = (task / "status").read_text().splitlines()
        except (OSError, IndexError):
            continue
        sleeps = next(int(one.split()[1]) for one in lines if one.startswith("voluntary"))
        found[task.name] = ThreadReading(used, sleeps)
    return found


def used_since(before: dict[str, ThreadReading], after: dict[str, ThreadReading]) -> ThreadReading:
    """What the threads did in between. One that has ended meanwhile is not counted."""
    none = ThreadReading(0.0, 0)
    pairs = [(before.get(name, none), now) for name, now in after.items()]
    return ThreadReading(
        sum(now.cpu_seconds - then.cpu_seconds for then, now in pairs),
        sum(now.sleeps - then.sleeps for then, now in pairs),
    )


def resident_mib(pid: int) -> float:
    """Resident memory, shared pages of libraries included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has ended")


def private_mib(pid: int) -> float:
    """Memory that would be free if the process ended: without what other processes share with it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def threads(pid: int) -> int:
    """How many threads it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def open_files(pid: int) -> int:
    """How many file descriptors it has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def inotify(pid: int) -> tuple[int, int]:
    """How many inotify instances and watches it has."""
    instances = watches = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if entry.readlink().name != "anon_inode:inotify":
                continue
            info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
        except OSError:
            continue
        instances += 1
        watches += info.count("inotify wd:")
    return instances, watches


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of ``values`` that ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
