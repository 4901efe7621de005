"""The processes of one incarnation of an environment: started here, found again, ended together."""

import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field

from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.errors import BoundaryClosedError
from bbhost.processes.bystanders import find_bystanders
from bbhost.processes.ending import Ending
from bbhost.processes.environ import MARKER_VARIABLE, child_environ
from bbhost.processes.leaf import Leaf
from bbhost.processes.lineage import Lineage
from bbhost.processes.marker import Marker
from bbhost.processes.proc import ProcessIdentity, ProcessStat
from bbhost.processes.records import EndReport
from bbhost.processes.sparing import Spared, SparedShell
from bbhost.processes.spawn import Child, Stdio, spawn, started_children
from bbhost.toolkit.faults import fault_point

GRACE_SECONDS = 1.0
"""Between TERM and KILL at the end of a boundary; with the rounds of KILL it stays below 2 s."""


@define(eq=False)
class Boundary:
    """One incarnation's processes. Made by ``ProcessKeeper.open_boundary``; costs nothing until used."""

    marker: Marker
    tag: int
    _lineage: Lineage = field(alias="lineage")
    _bystander_limiter: trio.CapacityLimiter = field(alias="bystander_limiter")
    _leaf: Leaf | None = field(default=None, alias="leaf")
    _on_started: "Callable[[Boundary, Child], None] | None" = field(
        default=None, alias="on_started"
    )
    _on_ended: "Callable[[Boundary, EndReport], None] | None" = field(
        default=None, alias="on_ended"
    )
    _closed: bool = field(default=False, init=False)
    _used: bool = field(default=False, init=False)
    _ending: trio.Lock = field(factory=trio.Lock, init=False)

    @property
    def environment_id(self) -> EnvironmentId:
        """Whose processes these are."""
        return self.marker.environment_id

    @property
    def incarnation(self) -> Incarnation:
        """Of which life of the environment."""
        return self.marker.incarnation

    @classmethod
    def used(cls, **parts: Any) -> "Boundary":  # noqa: ANN401 - those of the constructor
        """Return one that holds processes already: an earlier daemon's."""
        boundary = cls(**parts)
        boundary._used = True
        return boundary

    @property
    def leaf_path(self) -> Path | None:
        """Its cgroup directory, where it has one."""
        return None if self._leaf is None else self._leaf.path

    async def open_process(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str,
        env: Mapping[str, str] | None = None,
        stdin: Stdio = subprocess.DEVNULL,
        stdout: Stdio = subprocess.DEVNULL,
        stderr: Stdio = subprocess.DEVNULL,
        pty: int | None = None,
    ) -> Child:
        """Start ``argv`` in this boundary, as leader of its own session.

        Args:
            env: complete environment, to which the marker is added; ``child_environ()`` where
                omitted.
            pty: slave side of a pseudo-terminal: becomes stdin, stdout, stderr and the controlling
                terminal. It stays the caller's to close.

        Raises:
            BoundaryClosedError: the boundary was ended.
            OSError: as ``execve`` would have it; also where the leaf cannot be made.

        Cancellation: safe; either not started or returned.
        """
        await trio.lowlevel.checkpoint()
        # From here to the registration there is no checkpoint: the end cannot come in between.
        if self._closed:
            raise BoundaryClosedError(f"the processes of {self.environment_id} have been ended")
        self._used = True
        if self._leaf is not None:
            self._leaf.make()
        variables = dict(child_environ() if env is None else env)
        variables[MARKER_VARIABLE] = self.marker.variable()
        child = spawn(
            argv,
            cwd=cwd,
            env=variables,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pty=pty,
            leaf_procs=None if self._leaf is None else self._leaf.procs,
            tag=self.tag,
        )
        self._lineage.started(child.pid, self.tag)
        fault_point("processes.started")
        if self._on_started is not None:
            self._on_started(self, child)
        return child

    def members(self) -> list[ProcessStat]:
        """Return its living processes as of now, parents before children."""
        return list(self._lineage.walk(self.tag)) if self._used else []

    def processes(self) -> list[ProcessIdentity]:
        """Return the identities of its living processes as of now."""
        return [member.identity for member in self.members()]

    async def end(
        self, grace_seconds: float = GRACE_SECONDS, *, workspace: Path | None = None
    ) -> EndReport:
        """End every process of the boundary; none can be started in it afterwards.

        Args:
            grace_seconds: between TERM and KILL.
            workspace: where given, others' processes with their working directory inside are
                reported.

        Takes at most ``grace_seconds`` + ``ending.KILL_SECONDS``. May be called again, for
        survivors.
        Cancellation: safe at any point; members may be left, and the boundary stays closed.
        """
        self._closed = True
        report = EndReport()
        async with self._ending:
            if self._used:
                report = await self._end_members(grace_seconds)
        if workspace is not None:
            seek = partial(find_bystanders, self._lineage.table, workspace)
            # A read of every process's cwd: some milliseconds, so not in the event loop.
            found = await trio.to_thread.run_sync(seek, limiter=self._bystander_limiter)
            ours = {*report.ended, *report.survivors}
            report = evolve(report, bystanders=tuple(b for b in found if b.identity not in ours))
        if self._on_ended is not None:
            self._on_ended(self, report)
        return report

    async def end_others(self, shells: Collection[SparedShell], grace_seconds: float) -> EndReport:
        """End all but ``shells`` and what was started in them. The boundary stays open.

        For a restart: the next daemon goes on with what is left (``ProcessKeeper.adopt_boundary``).

        Takes at most ``grace_seconds`` + ``ending.KILL_SECONDS``. Cancellation: as of :meth:`end`.
        """
        spared = Spared(shells, self._lineage.table)
        async with self._ending:
            ending = Ending(
                walk=partial(self._lineage.walk, self.tag, spared),
                read_stat=self._lineage.table.read_stat,
            )
            await ending.run(grace_seconds)
        survivors = tuple(member.identity for member in ending.alive)
        return EndReport(tuple(ending.found.difference(survivors)), survivors)

    async def _end_members(self, grace_seconds: float) -> EndReport:
        ending = Ending(
            walk=partial(self._lineage.walk, self.tag),
            read_stat=self._lineage.table.read_stat,
            kill_all=(lambda: None) if self._leaf is None else self._leaf.kill,
        )
        await ending.run(grace_seconds)
        fault_point("processes.ended")
        # Whoever waited for these may have been cancelled; unreaped, they would stay zombies.
        for child in list(started_children.values()):
            if child.tag == self.tag:
                child.poll()
        survivors = tuple(member.identity for member in ending.alive)
        if self._leaf is not None and not survivors:
            self._leaf.remove()
        return EndReport(tuple(ending.found.difference(survivors)), survivors)
