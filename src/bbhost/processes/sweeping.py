"""What a killed daemon left behind, found by positive evidence and ended.

A daemon that is killed cannot end its boundaries; their processes go on under init. Each that is
ended here either is a journalled process (same boot, pid and start time), or sits in a leaf of our
name, or carries a tag or marker of this very data directory from an earlier run, or descends from
such a process. The sweeping daemon and its own ancestors are left out: it may itself have been
started from within one of its environments.
"""

import os
from collections.abc import Iterator, Sequence

from attrs import define, field

from bbhost.processes.ending import Ending
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.leaf import Leaf
from bbhost.processes.lineage import Lineage
from bbhost.processes.lineage_tag import is_tag, tag_data_id
from bbhost.processes.marker import parse_markers
from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.records import ProcessRecord, SweepReport
from bbhost.processes.table import ProcessTable

SWEEP_GRACE_SECONDS = 1.0
"""Between TERM and KILL: agents get the chance to save their state, as at an ordinary end."""


async def sweep_leftovers(
    lineage: Lineage,
    *,
    data_id: str,
    nonce: str,
    records: Sequence[ProcessRecord],
    leaves: Sequence[Leaf],
) -> SweepReport:
    """End the leftovers. Takes at most the grace + ``ending.KILL_SECONDS``; may be cancelled and repeated."""
    search = LeftoverSearch(
        lineage=lineage,
        data_id=data_id,
        nonce=nonce,
        recorded=frozenset(ProcessIdentity(record.pid, record.start_time) for record in records),
        leaves=tuple(leaves),
        spared=_self_and_ancestors(lineage.table),
    )

    def kill_all() -> None:
        for leaf in leaves:
            if not any(leaf.holds(pid) for pid in search.spared):
                leaf.kill()

    ending = Ending(walk=search.walk, read_stat=lineage.table.read_stat, kill_all=kill_all)
    await ending.run(SWEEP_GRACE_SECONDS)
    survivors = tuple(member.identity for member in ending.alive)
    removed = sum(leaf.remove() for leaf in leaves)
    return SweepReport(tuple(ending.found.difference(survivors)), survivors, removed)


@define(eq=False)
class LeftoverSearch:
    """Knows a leftover when it sees one."""

    lineage: Lineage
    data_id: str
    nonce: str
    recorded: frozenset[ProcessIdentity]
    leaves: tuple[Leaf, ...]
    spared: frozenset[int]
    known: set[ProcessIdentity] = field(factory=set)
    """Found in an earlier round; what loses its mark meanwhile stays known."""

    def walk(self) -> "LeftoverWalk":
        """Return one round over the whole process table."""
        return LeftoverWalk(self)

    def is_leftover(self, stat: ProcessStat) -> bool:
        """Whether there is positive evidence that an earlier run of this daemon started it."""
        if stat.identity in self.recorded or stat.identity in self.known:
            return True
        table = self.lineage.table
        tag = table.tag_of(stat.pid)
        if (
            tag is not None
            and is_tag(tag)
            and tag_data_id(tag) == int(self.data_id, 16)
            and not self.lineage.is_live(tag)
        ):
            return True
        markers = parse_markers(table.variable_of(stat.pid, MARKER_VARIABLE))
        if any(mark.data_id == self.data_id and mark.nonce != self.nonce for mark in markers):
            # One of an earlier run, unless its boundary was taken over.
            return not any(map(self.lineage.is_live_marker, markers))
        return any(leaf.holds(stat.pid) for leaf in self.leaves)


class LeftoverWalk:
    """One round: every process with evidence of its own, and all that hangs below it."""

    def __init__(self, search: LeftoverSearch) -> None:
        self._search = search
        self.is_settled = True

    def __iter__(self) -> Iterator[ProcessStat]:
        search = self._search
        table = search.lineage.table
        children = table.child_lists()
        seen: set[int] = set(search.spared)
        for pid in table.all_pids():
            stat = None if pid in seen else table.read_stat(pid)
            if stat is None or stat.is_dead or not search.is_leftover(stat):
                continue
            waiting = [stat]
            while waiting:
                member = waiting.pop()
                if member.pid in seen or member.is_dead:
                    continue
                seen.add(member.pid)
                search.known.add(member.identity)
                self.is_settled = False
                below = children(member.pid)
                yield member
                stats = (table.read_stat(pid) for pid in below)
                waiting.extend(s for s in stats if s is not None and s.ppid == member.pid)


def _self_and_ancestors(table: ProcessTable) -> frozenset[int]:
    spared: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in spared:
        spared.add(pid)
        stat = table.read_stat(pid)
        pid = stat.ppid if stat is not None else 0
    return frozenset(spared)
