"""Which members of a boundary are left alone when the rest of it is ended for a restart.

A terminal that the next daemon goes on with keeps its shell, whatever is in the shell's session,
whatever descends from it, and whatever carries the variable that the shell was started with: programs
that left session and parents behind (a double fork) are known by that.
"""

from collections.abc import Collection

from attrs import define, field, frozen

from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.table import ProcessTable

_GENERATIONS = 64
"""Parents looked at; a process further down is only known by its session and variable."""


@frozen
class SparedShell:
    """A shell that goes on."""

    pid: int
    """Of a living session leader; the caller answers for that."""
    variable: tuple[str, str]
    """Name and value of a variable that it was started with, and nothing else was."""


@define(eq=False)
class Spared:
    """Some shells, with all that was started in them."""

    shells: Collection[SparedShell]
    table: ProcessTable
    _known: set[ProcessIdentity] = field(factory=set, init=False)

    def covers(self, stat: ProcessStat) -> bool:
        """Whether this process is one of them."""
        known = self._descends(stat) or any(
            self.table.variable_of(stat.pid, name) == value
            for name, value in (shell.variable for shell in self.shells)
        )
        if known:
            self._known.add(stat.identity)
        return known

    def _descends(self, stat: ProcessStat) -> bool:
        sessions = {shell.pid for shell in self.shells}
        for _ in range(_GENERATIONS):
            if stat.sid in sessions or stat.identity in self._known:
                return True
            parent = self.table.read_stat(stat.ppid) if stat.ppid > 1 else None
            if parent is None:
                return False
            stat = parent
        return False
