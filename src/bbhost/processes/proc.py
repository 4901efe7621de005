"""Reading ``/proc``: what Linux says of a process. Facts only, no judgement.

Every function answers None (or nothing) for a process that is gone or not ours to look at: both
are ordinary. Start times are clock ticks since boot and, with the pid, name a process for the life
of the machine: a reused pid has another start time.
"""

# Thousands of these files are read in a row: plain os calls cost half of pathlib's.
# ruff: noqa: PTH115, PTH116, PTH208

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen


@frozen
class ProcessIdentity:
    """One process and never its successor under the same number."""

    pid: int
    start_time: int
    """Clock ticks since boot."""


@frozen
class ProcessStat:
    """One line of ``/proc/<pid>/stat``."""

    pid: int
    name: str
    state: str
    """``R``, ``S``, ``D``, ``T`` (stopped), ``Z`` (zombie), ``X`` (gone)."""
    ppid: int
    pgid: int
    sid: int
    has_terminal: bool
    threads: int
    start_time: int

    @property
    def identity(self) -> ProcessIdentity:
        """What names this process for good."""
        return ProcessIdentity(self.pid, self.start_time)

    @property
    def is_dead(self) -> bool:
        """Exited, though perhaps not reaped yet.

        A process whose first thread has ended while others run on looks like a zombie, but lives.
        """
        return self.state in "ZX" and self.threads <= 1


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pieces = []
        while piece := os.read(fd, 65536):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return None
    finally:
        os.close(fd)


def read_stat(pid: int) -> ProcessStat | None:
    """Return what the kernel says of ``pid`` now; None if there is no such process."""
    raw = _read(f"/proc/{pid}/stat")
    if not raw:
        return None
    # The name stands in parentheses and may itself hold any character, parentheses included.
    head, _, tail = raw.rpartition(b")")
    fields = tail.split()
    return ProcessStat(
        pid=pid,
        name=head.partition(b"(")[2].decode(errors="replace"),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        has_terminal=int(fields[4]) != 0,
        threads=int(fields[17]),
        start_time=int(fields[19]),
    )


def child_pids(pid: int) -> list[int]:
    """Return the present children of ``pid``, those of all its threads."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    children: list[int] = []
    for thread in threads:
        children.extend(map(int, (_read(f"/proc/{pid}/task/{thread}/children") or b"").split()))
    return children


def has_child_lists() -> bool:
    """Whether the kernel lists children (CONFIG_PROC_CHILDREN)."""
    return Path("/proc/self/task", str(os.getpid()), "children").exists()


def all_pids() -> Iterator[int]:
    """Yield every process id there is, kernel threads included."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    yield from (int(name) for name in names if name.isdecimal())


def initial_variable(pid: int, name: str) -> str | None:
    """Return a variable of the environment that ``pid`` was executed with."""
    wanted = name.encode() + b"="
    for entry in (_read(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if entry.startswith(wanted):
            return entry[len(wanted) :].decode(errors="surrogateescape")
    return None


def realtime_limit(pid: int) -> int | None:
    """Return the soft RLIMIT_RTTIME of ``pid``; None where unlimited or unreadable."""
    _, found, rest = (_read(f"/proc/{pid}/limits") or b"").partition(b"Max realtime timeout")
    if not found:
        return None
    soft = rest.split(None, 1)[0]
    return int(soft) if soft.isdigit() else None


def working_directory(pid: int) -> str | None:
    """Return the path of the directory ``pid`` is in."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


def owner_uid(pid: int) -> int | None:
    """Return the effective user id of ``pid``."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def cgroup_path(pid: int) -> str | None:
    """Return the path of ``pid`` in the cgroup v2 tree, beginning with a slash."""
    for line in (_read(f"/proc/{pid}/cgroup") or b"").decode(errors="replace").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def boot_id() -> str:
    """Return the id of this boot of the machine; start times of another boot mean nothing."""
    return (_read("/proc/sys/kernel/random/boot_id") or b"").decode().strip()
