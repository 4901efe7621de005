"""Which boundary a process belongs to: the evidence, and the walk that gathers it.

The daemon is the subreaper of everything it started (``subreaper.py``), so every candidate is a
descendant of the daemon, and a stranger never is. What is left to decide is *which boundary*.
While the chain of parents up to a child that the daemon started is whole, it answers. When a link
dies, what hung below it becomes a child of the daemon itself, and one of these has to speak, in
this order:

1. *started*: the daemon started it: it is in the table of children.
2. *recorded*: an earlier walk or the reaper's pass found whose it is, by (pid, start time).
3. *tag*: the resource limit it inherited (``lineage_tag.py``). Survives setsid, double forks,
   ``env -i`` and an overwritten environment block; only a program that sets RLIMIT_RTTIME itself
   loses it.
4. *marker*: the variable in the environment it was executed with.
5. *session*: it is in a session whose leader this boundary started, and no child of the daemon was
   started under that number since. Needed only where tag and marker are both gone.

Everything below a process that belongs to a boundary belongs to it too.

Considered instead: a keeper process per boundary which is itself a subreaper, so that the parent
chain stays whole. Exact as long as the keeper lives, but the children are then not the daemon's
own: spawning, exit codes and terminals have to be relayed, the smallest Python keeper costs 9 MiB
resident (3 MiB its own) and 17 ms for each boundary that starts anything (measured), and an agent
that kills its parent undoes it. The inherited limit gives the same answer for 9 microseconds a
start.

What this cannot know: the boundary of a process that was orphaned between two passes, left its
session, was executed with another environment *and* set its own RLIMIT_RTTIME. It is still below
the daemon, is counted as ``unattributed``, and is left alone while boundaries live. Nor does it
see what was started on request by somebody outside: a container engine, ``systemd-run``, ``at``;
those processes descend from others and carry none of the evidence.
"""

import os
from collections.abc import Callable, Iterator

from attrs import define, field

from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.leaf import Leaf
from bbhost.processes.lineage_tag import UNBOUNDED, is_tag, tags_available
from bbhost.processes.marker import Marker, parse_markers
from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.sparing import Spared
from bbhost.processes.spawn import started_children
from bbhost.processes.table import ProcessTable

Children = Callable[[int], list[int]]


@define(eq=False)
class Lineage:
    """What is known about whose processes are whose. Boundaries are named by their tag."""

    table: ProcessTable
    is_subreaper: bool
    _tags: set[int] = field(factory=set)
    _markers: dict[Marker, int] = field(factory=dict)
    _sessions: dict[int, int] = field(factory=dict)
    _recorded: dict[ProcessIdentity, int] = field(factory=dict)
    _adopted: dict[int, int] = field(factory=dict)
    """Owners of adopted children by pid. Only the daemon reaps these, so the pid stays theirs till then."""
    _leaves: dict[int, Leaf] = field(factory=dict)
    _inherited: set[int] = field(factory=set)
    """Boundaries that an earlier daemon began: their processes need not be below this one."""
    _corpses: set[ProcessIdentity] = field(factory=set)
    """Children of the daemon seen dead and not reaped yet by whoever waits for them."""
    _tags_available: bool = field(factory=tags_available, init=False)
    _own_tag: int | None = field(init=False)
    reaped: int = 0
    """Adopted orphans reaped so far."""
    unattributed: int = 0
    """Live orphans of unknown boundary, as of the last pass."""

    def __attrs_post_init__(self) -> None:
        self._own_tag = self.table.tag_of(os.getpid())

    def add(self, tag: int, marker: Marker) -> None:
        """Begin to recognise a boundary."""
        self._tags.add(tag)
        self._markers[marker] = tag

    def remove(self, tag: int) -> None:
        """Forget a boundary that holds nothing any more."""
        self._tags.discard(tag)
        self._inherited.discard(tag)
        self._leaves.pop(tag, None)
        self._markers = {key: owner for key, owner in self._markers.items() if owner != tag}
        self._sessions = {key: owner for key, owner in self._sessions.items() if owner != tag}
        self._recorded = {key: owner for key, owner in self._recorded.items() if owner != tag}
        self._adopted = {key: owner for key, owner in self._adopted.items() if owner != tag}

    def inherit(self, tag: int) -> None:
        """The boundary was begun by an earlier daemon: its members are looked for everywhere."""
        self._inherited.add(tag)

    def is_inherited(self, tag: int) -> bool:
        """Whether an earlier daemon began the boundary."""
        return tag in self._inherited

    def is_live(self, tag: int) -> bool:
        """Whether the tag is that of a boundary of this run."""
        return tag in self._tags

    def is_live_marker(self, marker: Marker) -> bool:
        """Whether the marker is that of a boundary of this run."""
        return marker in self._markers

    def set_leaf(self, tag: int, leaf: Leaf) -> None:
        """Also count whoever is in ``leaf`` as a member: the kernel's own record, and exact."""
        self._leaves[tag] = leaf

    def leaf_pids(self, tag: int) -> list[int]:
        """Return the ids of the processes in the boundary's leaf."""
        leaf = self._leaves.get(tag)
        return [] if leaf is None else leaf.pids()

    def is_in_leaf(self, tag: int, stat: ProcessStat) -> bool:
        """Whether the process is in the boundary's leaf; asked after ``stat`` was read."""
        leaf = self._leaves.get(tag)
        return leaf is not None and leaf.holds(stat.pid)

    def first_seen_dead(self, stat: ProcessStat) -> bool:
        """Whether this corpse is a new one."""
        if stat.identity in self._corpses:
            return False
        self._corpses.add(stat.identity)
        return True

    def started(self, pid: int, tag: int) -> None:
        """Note a session leader; a number used again no longer speaks for its earlier owner."""
        if tag == UNBOUNDED:
            self._sessions.pop(pid, None)
        else:
            self._sessions[pid] = tag

    def walk(self, tag: int, spared: Spared | None = None) -> "Walk":
        """Return a walk over the members of one boundary, to be iterated once.

        Args:
            spared: passed over, as if they were not members.
        """
        return Walk(self, tag, spared)

    def pass_over_children(self) -> None:
        """Reap what exited among the adopted and record whose the others are."""
        recorded: dict[ProcessIdentity, int] = {}
        unattributed = 0
        self._corpses.clear()
        self._adopted.clear()
        for pid in self.table.child_lists()(os.getpid()):
            stat = None if pid in started_children else self.table.read_stat(pid)
            if stat is None:
                continue
            if stat.is_dead:
                self.reap(stat)
                continue
            owner = self.owner_of_root(stat)
            if owner is not None:
                recorded[stat.identity] = owner
            elif self._is_stray(stat) and self.table.tag_of(stat.pid) != UNBOUNDED:
                unattributed += 1
        self._recorded = recorded
        self.unattributed = unattributed

    def owner_of_root(self, stat: ProcessStat) -> int | None:
        """Return the tag of the boundary that a child of the daemon belongs to, None if unknown."""
        child = started_children.get(stat.pid)
        if child is not None:
            return child.tag
        owner = self._recorded.get(stat.identity)
        if owner is None:
            owner = self.owner_by_attributes(stat)
        if owner is not None:
            self._adopted[stat.pid] = owner
        return owner

    def is_anothers(self, pid: int, tag: int) -> bool:
        """Whether a child of the daemon is known, without reading anything, to be of another boundary."""
        child = started_children.get(pid)
        owner = self._adopted.get(pid) if child is None else child.tag
        return owner is not None and owner != tag

    def owner_by_attributes(self, stat: ProcessStat) -> int | None:
        """Return the owner by what the process itself carries."""
        tag = self.table.tag_of(stat.pid)
        if tag is not None and tag in self._tags:
            return tag
        for marker in parse_markers(self.table.variable_of(stat.pid, MARKER_VARIABLE)):
            if marker in self._markers:
                return self._markers[marker]
        # A session number alone proves nothing about a process that is not below the daemon: it
        # may have been reused, unless the leader's corpse still holds it.
        below_us = stat.ppid == os.getpid() or stat.sid in started_children
        if tag == UNBOUNDED or not below_us:
            return None
        return self._sessions.get(stat.sid)

    def reap(self, stat: ProcessStat) -> bool:
        """Collect an exited orphan by its pid, never "any child": that would steal others' exit codes."""
        if stat.pid in started_children or not self._may_reap(stat):
            return False
        try:
            pid, _status = os.waitpid(stat.pid, os.WNOHANG)
        except ChildProcessError:
            return False
        self._adopted.pop(stat.pid, None)
        self.reaped += pid != 0
        return pid != 0

    def _may_reap(self, stat: ProcessStat) -> bool:
        # A child that some library started behind our back must keep its exit code. It carries no
        # tag of a child of ours, at most the one the daemon itself was started with.
        if self._tags_available:
            tag = self.table.tag_of(stat.pid)
            return is_tag(tag) and tag != self._own_tag
        return self._is_stray(stat)

    @staticmethod
    def _is_stray(stat: ProcessStat) -> bool:
        # Nothing that was started here shares the daemon's session.
        return stat.sid != os.getsid(0)


class Walk:
    """One round over the members of a boundary.

    Yields each living member once, parents before their children, having already read the list of
    its children: the one who iterates may kill it at once. ``is_settled`` tells afterwards whether
    nothing can have slipped past. It can when a member was seen to have died: what it forked last
    is re-parented to the daemon after the daemon's list of children was read.
    """

    def __init__(self, lineage: Lineage, tag: int, spared: Spared | None = None) -> None:
        self._lineage = lineage
        self._tag = tag
        self._spared = spared
        self.is_settled = True

    def __iter__(self) -> Iterator[ProcessStat]:
        lineage = self._lineage
        children = lineage.table.child_lists()
        me = os.getpid()
        # The leaf first: what escapes from it later is among the daemon's children afterwards.
        inside = lineage.leaf_pids(self._tag)
        # With hundreds of boundaries nearly all of the daemon's children are others': not even
        # looked at.
        mine = (pid for pid in children(me) if not lineage.is_anothers(pid, self._tag))
        roots = [*inside, *mine]
        if not lineage.is_subreaper or lineage.is_inherited(self._tag):
            # Orphans have gone to init: whoever carries our mark is looked for everywhere.
            roots = [*roots, *(pid for pid in lineage.table.all_pids() if pid != me)]
        seen: set[int] = set()
        for pid in roots:
            stat = lineage.table.read_stat(pid)
            if stat is None or pid in seen:
                continue
            if pid in inside and lineage.is_in_leaf(self._tag, stat):
                owner: int | None = self._tag
            elif stat.ppid == me:
                owner = lineage.owner_of_root(stat)
            else:
                owner = lineage.owner_by_attributes(stat)
            if owner == self._tag or (owner is None and stat.is_dead):
                yield from self._subtree(stat, children, seen)

    def _subtree(
        self, root: ProcessStat, children: Children, seen: set[int]
    ) -> Iterator[ProcessStat]:
        lineage = self._lineage
        waiting = [root]
        while waiting:
            stat = waiting.pop()
            if stat.pid in seen:
                continue
            seen.add(stat.pid)
            if stat.is_dead:
                if stat.ppid == os.getpid() and (
                    lineage.reap(stat) or lineage.first_seen_dead(stat)
                ):
                    self.is_settled = False
                continue
            below = children(stat.pid)
            if self._spared is None or not self._spared.covers(stat):
                self.is_settled = False
                yield stat
            for pid in below:
                child = lineage.table.read_stat(pid)
                # A number that now belongs elsewhere: gone, reused, or already re-parented to the
                # daemon.
                if child is not None and child.ppid == stat.pid:
                    waiting.append(child)
