"""The shell's process, whether this daemon started it or took it over from an earlier one."""

import os
import signal
from contextlib import suppress
from typing import Protocol

from bbhost.processes.proc import ProcessIdentity
from bbhost.processes.signalling import ReadStat, wait_ended


class ShellProcess(Protocol):
    """A process that leads its own session and group. ``processes.spawn.Child`` is one."""

    @property
    def pid(self) -> int:
        """Its process id, also that of its session and group."""
        ...

    async def wait(self) -> int | None:
        """Wait for its end; its exit status (negative: the signal), None where that is unknown."""
        ...

    def signal_group(self, signum: signal.Signals) -> None:
        """Signal every process of its group; nothing where it has ended."""
        ...


class AdoptedShell:
    """A shell that an earlier daemon started: not our child, so its exit status stays unknown."""

    def __init__(self, identity: ProcessIdentity, read_stat: ReadStat) -> None:
        self._identity = identity
        self._read_stat = read_stat

    @property
    def pid(self) -> int:
        """Its process id, also that of its session and group."""
        return self._identity.pid

    async def wait(self) -> int | None:
        """Wait for its end; the exit status is its parent's to know. Cancellation: safe."""
        await wait_ended([self._identity], self._read_stat)
        return None

    def signal_group(self, signum: signal.Signals) -> None:
        """Signal every process of its group; nothing where it has ended."""
        found = self._read_stat(self.pid)
        if found is not None and found.identity == self._identity:
            signal_group(self.pid, signum)


def signal_group(group: int, signum: signal.Signals) -> None:
    """Signal a process group; nothing where it is empty or not ours to signal."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)


def is_in_session(group: int, session: int) -> bool:
    """Whether the leader of ``group`` belongs to ``session``."""
    try:
        return os.getsid(group) == session
    except OSError:
        return False
