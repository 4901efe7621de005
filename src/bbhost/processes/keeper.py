"""The one keeper of all process boundaries of a daemon."""

import secrets
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.processes import proc
from bbhost.processes.boundary import Boundary
from bbhost.processes.leaf import Leaf, LeafTree, find_delegated_tree
from bbhost.processes.lineage import Lineage
from bbhost.processes.lineage_tag import make_tag, tags_available
from bbhost.processes.marker import Marker, data_directory_id, new_nonce, parse_markers
from bbhost.processes.records import (
    Backend,
    EndReport,
    ProcessRecord,
    ProcessStatistics,
    SweepReport,
)
from bbhost.processes.spawn import Child, started_children
from bbhost.processes.subreaper import become_subreaper
from bbhost.processes.sweeping import sweep_leftovers
from bbhost.processes.table import system_table

REAP_DELAY_SECONDS = 0.5
"""Between a child's exit and the look for exited orphans: many exits cost one look."""


class ProcessKeeper:
    """Makes boundaries, reaps orphans and sweeps up after a killed daemon. One per daemon.

    Args:
        data_dir: names the daemon in the marker: processes of another data directory are never
            touched.
        use_cgroup: False: no leaves even where the tree is delegated.
        on_started: called in the event loop with each process started in a boundary, for the
            journal.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        use_cgroup: bool = True,
        on_started: Callable[[ProcessRecord], None] | None = None,
    ) -> None:
        self.data_id = data_directory_id(data_dir)
        self.nonce = new_nonce()
        self._tree: LeafTree | None = find_delegated_tree() if use_cgroup else None
        self._lineage = Lineage(system_table(), become_subreaper())
        self._boundaries: dict[int, Boundary] = {}
        self._unclaimed: dict[tuple[EnvironmentId, Incarnation], Boundary] = {}
        """Taken over from an earlier daemon, and not asked for yet."""
        self._on_started = on_started
        self._boot_id = proc.boot_id()
        self._ended = 0
        self._survivors = 0
        # Two at a time: searching the process table is mostly kernel time.
        self._limiter = trio.CapacityLimiter(2)

    @property
    def backend(self) -> Backend:
        """What holds the boundaries together."""
        if self._tree is not None:
            return Backend.CGROUP
        return Backend.SUBREAPER if self._lineage.is_subreaper else Backend.PLAIN

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        """The boundaries that are open, or closed with survivors."""
        return tuple(self._boundaries.values())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reap adopted orphans until cancelled. Idle, it costs nothing: it sleeps until a child exits.

        Must run in the main thread, for it receives SIGCHLD.
        """
        with trio.open_signal_receiver(signal.SIGCHLD) as exits:
            task_status.started()
            async for _ in exits:
                await trio.sleep(REAP_DELAY_SECONDS)
                self._lineage.pass_over_children()

    def open_boundary(self, environment_id: EnvironmentId, incarnation: Incarnation) -> Boundary:
        """Return the boundary that was adopted for this incarnation, the first time; else a new one.

        A new one holds nothing, and costs a few hundred bytes, until it is used.
        """
        adopted = self._unclaimed.pop((environment_id, incarnation), None)
        if adopted is not None:
            return adopted
        tag = make_tag(int(self.data_id, 16), self._new_number())
        marker = Marker(self.data_id, self.nonce, incarnation, environment_id)
        return self._add_boundary(Boundary, tag, marker)

    def adopt_boundary(self, marker: Marker, tag: int) -> Boundary:
        """Go on with the boundary of an earlier daemon. Call it before :meth:`sweep`.

        What carries its tag or marker, or is in its leaf, is then no leftover but a member.
        """
        boundary = self._add_boundary(Boundary.used, tag, marker)
        self._lineage.inherit(tag)
        self._unclaimed[marker.environment_id, marker.incarnation] = boundary
        return boundary

    async def end_unclaimed(self) -> None:
        """End what was adopted and that no environment asked for. Cancellation: some may be left."""
        async with trio.open_nursery() as ending:
            while self._unclaimed:
                _, boundary = self._unclaimed.popitem()
                ending.start_soon(boundary.end)

    def _add_boundary(self, make: Callable[..., Boundary], tag: int, marker: Marker) -> Boundary:
        leaf = None
        if self._tree is not None:
            leaf = self._tree.leaf(self.data_id, f"{tag & 0x3FFFFFFF:08x}")
            self._lineage.set_leaf(tag, leaf)
        boundary = make(
            marker=marker,
            tag=tag,
            lineage=self._lineage,
            bystander_limiter=self._limiter,
            leaf=leaf,
            on_started=self._started,
            on_ended=self._end,
        )
        self._boundaries[tag] = boundary
        self._lineage.add(tag, marker)
        return boundary

    async def sweep(self, records: Iterable[ProcessRecord] = ()) -> SweepReport:
        """End what an earlier run of this daemon left behind; nothing else.

        Call it at start, before boundaries are opened. Found by the journal's records (this boot
        only, same pid and start time), by tag and marker of this data directory, and by leaves of
        its name.

        Cancellation: safe at any point; what is left is found by the next sweep.
        """
        leaves: list[Leaf] = []
        if self._tree is not None:
            live = {boundary.leaf_path for boundary in self.boundaries}
            leaves = [leaf for leaf in self._tree.leaves(self.data_id) if leaf.path not in live]
        return await sweep_leftovers(
            self._lineage,
            data_id=self.data_id,
            nonce=self.nonce,
            records=[record for record in records if self._is_leftover(record)],
            leaves=leaves,
        )

    def _is_leftover(self, record: ProcessRecord) -> bool:
        markers = parse_markers(record.marker)
        return record.boot_id == self._boot_id and not any(
            map(self._lineage.is_live_marker, markers)
        )

    def statistics(self) -> ProcessStatistics:
        """Return a snapshot of the counters."""
        return ProcessStatistics(
            backend=self.backend,
            tags_available=tags_available(),
            boundaries=len(self._boundaries),
            children=len(started_children),
            orphans_reaped=self._lineage.reaped,
            unattributed=self._lineage.unattributed,
            ended=self._ended,
            survivors=self._survivors,
        )

    def _new_number(self) -> int:
        # Random, so that it differs from those of an earlier run whose processes may still live.
        while True:
            number = 1 + secrets.randbelow((1 << 30) - 1)
            if make_tag(int(self.data_id, 16), number) not in self._boundaries:
                return number

    def _started(self, boundary: Boundary, child: Child) -> None:
        stat = self._lineage.table.read_stat(child.pid) if self._on_started else None
        if self._on_started is not None and stat is not None:
            self._on_started(
                ProcessRecord(
                    environment_id=boundary.environment_id,
                    incarnation=boundary.incarnation,
                    pid=child.pid,
                    start_time=stat.start_time,
                    boot_id=self._boot_id,
                    marker=str(boundary.marker),
                )
            )

    def _end(self, boundary: Boundary, report: EndReport) -> None:
        self._ended += len(report.ended)
        self._survivors += len(report.survivors)
        if not report.survivors:
            self._boundaries.pop(boundary.tag, None)
            self._lineage.remove(boundary.tag)
