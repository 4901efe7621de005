"""Which members of a boundary are left alone when the rest of it is ended for a restart.

A terminal that the next daemon goes on with keeps its shell, whatever is in the shell's session, and
whatever descends from it. A program that has left both (a double fork into a session of its own)
cannot be told from what a hook left behind, and is ended with the rest.
"""

from attrs import define, field

from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.signalling import ReadStat

_GENERATIONS = 64
"""Parents looked at; a process further down counts as strange and is ended."""


@define(eq=False)
class Spared:
    """The sessions of some shells, with all that descends from them."""

    shells: frozenset[int]
    """Pids of session leaders; the caller answers for their being alive."""
    read_stat: ReadStat
    _known: set[ProcessIdentity] = field(factory=set, init=False)

    def covers(self, stat: ProcessStat) -> bool:
        """Whether this process is one of them."""
        known = self._belongs(stat)
        if known:
            self._known.add(stat.identity)
        return known

    def _belongs(self, stat: ProcessStat) -> bool:
        for _ in range(_GENERATIONS):
            if stat.sid in self.shells or stat.identity in self._known:
                return True
            parent = self.read_stat(stat.ppid) if stat.ppid > 1 else None
            if parent is None:
                return False
            stat = parent
        return False
