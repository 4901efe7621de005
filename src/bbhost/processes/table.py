"""The system's list of processes, as the rest of the package asks for it."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from bbhost.processes import proc
from bbhost.processes.proc import ProcessStat


class ProcessTable(Protocol):
    """Read-only view of the processes of the machine."""

    def read_stat(self, pid: int) -> ProcessStat | None:
        """Return what is known of ``pid`` now; None if there is no such process."""
        ...

    def child_lists(self) -> Callable[[int], list[int]]:
        """Return a function pid -> its children, good for one walk."""
        ...

    def all_pids(self) -> Iterable[int]:
        """Return the ids of all processes that may be looked at."""
        ...

    def tag_of(self, pid: int) -> int | None:
        """Return the limit that may be a lineage tag; readable for zombies too."""
        ...

    def variable_of(self, pid: int, name: str) -> str | None:
        """Return a variable of the environment ``pid`` was executed with."""
        ...

    def working_directory(self, pid: int) -> str | None:
        """Return the directory ``pid`` is in."""
        ...


class ProcTable:
    """The table of a Linux system, read from ``/proc`` at the moment of asking."""

    def __init__(self) -> None:
        self._has_child_lists = proc.has_child_lists()
        self.read_stat = proc.read_stat
        self.tag_of = proc.realtime_limit
        self.variable_of = proc.initial_variable
        self.working_directory = proc.working_directory

    def all_pids(self) -> list[int]:
        """Return the ids of the processes of this user; of all where the daemon is root."""
        uid = os.geteuid()
        return [pid for pid in proc.all_pids() if uid == 0 or proc.owner_uid(pid) == uid]

    def child_lists(self) -> Callable[[int], list[int]]:
        """Read each list when asked; where the kernel keeps none, from one snapshot of all."""
        if self._has_child_lists:
            return proc.child_pids
        below: defaultdict[int, list[int]] = defaultdict(list)
        for pid in proc.all_pids():
            stat = proc.read_stat(pid)
            if stat is not None:
                below[stat.ppid].append(pid)
        return lambda pid: below.get(pid, [])


def system_table() -> ProcessTable:
    """Return the table of this system."""
    if sys.platform == "linux":
        return ProcTable()
    from bbhost.processes.ps_table import PsTable

    return PsTable()
