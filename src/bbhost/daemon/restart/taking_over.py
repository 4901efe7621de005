"""Going on with the terminals that the daemon before has left.

A terminal is taken over only if everything fits: the service manager still has its pty, its shell is
the very process that was left, and its environment is ready in the same incarnation. Of whatever does
not fit the pty is closed, and the sweep ends the processes.
"""

import logging
import os
from collections.abc import MutableMapping, Sequence

import trio
from attrs import define, field, frozen

from bbhost.contract.messages import TerminalChunk
from bbhost.daemon.assembly import Parts
from bbhost.daemon.notify import Notifier
from bbhost.daemon.restart.note import remove_note
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.domain.workspace import WorkspaceContext
from bbhost.errors import BbhostError
from bbhost.journal.values import KeptTerminal
from bbhost.processes import proc
from bbhost.processes.boundary import Boundary
from bbhost.processes.marker import parse_markers
from bbhost.processes.proc import ProcessIdentity
from bbhost.processes.records import ProcessRecord
from bbhost.processes.sparing import SparedShell
from bbhost.terminals.pty import PtyMaster
from bbhost.terminals.scrollback import Scrollback
from bbhost.terminals.shell import shell_mark
from bbhost.terminals.shell_process import AdoptedShell
from bbhost.terminals.terminal import LiveShell, Terminal
from bbhost.toolkit.faults import fault_point

log = logging.getLogger(__name__)

ADOPT_SECONDS = 10.0
"""For the environments to be ready; terminals of one that is not by then end."""
GRACE_SECONDS = 0.5
"""Between TERM and KILL for what else the daemon before has left in a boundary that is taken over."""


@frozen
class _Adoption:
    kept: KeptTerminal
    record: EnvironmentRecord
    boundary: Boundary
    shell: LiveShell


@define(eq=False)
class TakeOver:
    """The take-over of one start."""

    parts: Parts
    notifier: Notifier
    descriptors: MutableMapping[str, int]
    """What the service manager had kept, by name; taken from here."""
    _adoptions: list[_Adoption] = field(factory=list, init=False)

    async def prepare(self) -> None:
        """Decide which terminals go on, before the sweep: it ends the others.

        Raises:
            JournalError: what was left cannot be read.
        """
        kept = await self.parts.journal.take_terminals()
        records = {one.environment_id: one for one in await self.parts.journal.environments()}
        boundaries: dict[int, Boundary] = {}
        for one in kept:
            trouble = self._trouble_with(one, records.get(one.environment_id))
            if trouble:
                log.warning(
                    "a terminal of the last daemon ends: %s",
                    trouble,
                    extra={"terminal": one.terminal_id, "environment": one.environment_id},
                )
                continue
            if one.tag not in boundaries:
                (marker,) = parse_markers(one.marker)
                boundaries[one.tag] = self.parts.keeper.adopt_boundary(marker, one.tag)
            identity = ProcessIdentity(one.pid, one.start_time)
            pty = PtyMaster(self.descriptors.pop(one.descriptor_name))
            shell = LiveShell(AdoptedShell(identity, proc.read_stat), pty)
            record = records[one.environment_id]
            self._adoptions.append(_Adoption(one, record, boundaries[one.tag], shell))
            self.notifier.unstore(one.descriptor_name)
        self._close_rest()
        remove_note(self.parts.data_dir)
        fault_point("restart.prepared")

    async def settle(self) -> None:
        """End what else is in the boundaries taken over, and journal the shells; after the sweep."""
        await self._end_others(self._adoptions)
        for one in self._adoptions:
            kept = one.kept
            self.parts.processes.note_started(
                ProcessRecord(
                    kept.environment_id,
                    kept.incarnation,
                    kept.pid,
                    kept.start_time,
                    kept.boot_id,
                    kept.marker,
                )
            )

    async def finish(self) -> int:
        """Put the terminals into their environments, once these are restored.

        Returns:
            How many there are.

        Cancellation: safe; the rest ends.
        """
        done: list[_Adoption] = []
        try:
            with trio.move_on_after(ADOPT_SECONDS):
                async with trio.open_nursery() as adopting:
                    for one in self._adoptions:
                        adopting.start_soon(self._adopt, one, done)
        finally:
            for one in self._adoptions:
                if one not in done:
                    one.shell.pty.close()
        await self.parts.keeper.end_unclaimed()
        if len(done) < len(self._adoptions):
            # Hung up on, but a shell may ignore that.
            await self._end_others(done)
        if self._adoptions:
            log.info(
                "terminals taken over from the last daemon",
                extra={"terminals": len(done), "ended": len(self._adoptions) - len(done)},
            )
        return len(done)

    async def _adopt(self, one: _Adoption, done: list[_Adoption]) -> None:
        kept = one.kept
        terminal = Terminal(
            kept.terminal_id, self.parts.link, kept.cols, kept.rows, _scrollback(kept)
        )
        context = WorkspaceContext(one.record.path, one.record.kind)
        try:
            handle = await self.parts.supervisor.enter(kept.environment_id, context)
            if handle.boundary is not one.boundary:
                raise BbhostError("its environment did not take its processes over")
            await self.parts.terminals.adopt(handle, terminal, one.shell)
        except BbhostError as error:
            log.warning(
                "a terminal of the last daemon ends: %s",
                error.message,
                extra={"terminal": kept.terminal_id, "environment": kept.environment_id},
            )
        else:
            done.append(one)

    def _trouble_with(self, kept: KeptTerminal, record: EnvironmentRecord | None) -> str:
        """Why this one cannot go on; empty where it can."""
        if kept.descriptor_name not in self.descriptors:
            return "the service manager has not kept its pty"
        stat = proc.read_stat(kept.pid)
        if (
            kept.boot_id != proc.boot_id()
            or stat is None
            or stat.is_dead
            or stat.start_time != kept.start_time
        ):
            return "its shell has exited"
        if record is None or record.state is not EnvironmentState.READY:
            return "its environment is not there any more"
        markers = parse_markers(kept.marker)
        named = (record.environment_id, record.incarnation)
        if (
            record.incarnation != kept.incarnation
            or len(markers) != 1
            or (markers[0].environment_id, markers[0].incarnation) != named
        ):
            return "its environment is another incarnation"
        return ""

    async def _end_others(self, spared: Sequence[_Adoption]) -> None:
        """End everything in the boundaries taken over but the shells of ``spared``."""
        async with trio.open_nursery() as ending:
            for boundary in {one.boundary.tag: one.boundary for one in self._adoptions}.values():
                shells = [
                    SparedShell(one.kept.pid, shell_mark(one.kept.terminal_id))
                    for one in spared
                    if one.boundary is boundary
                ]
                ending.start_soon(boundary.end_others, shells, GRACE_SECONDS)

    def _close_rest(self) -> None:
        """Closing the last descriptor of a pty hangs up on what uses it."""
        while self.descriptors:
            name, descriptor = self.descriptors.popitem()
            self.notifier.unstore(name)
            os.close(descriptor)


def _scrollback(kept: KeptTerminal) -> Scrollback:
    chunks = []
    seq, start = kept.next_seq - len(kept.chunk_sizes), 0
    for size in kept.chunk_sizes:
        chunks.append(TerminalChunk(seq, kept.output[start : start + size]))
        seq, start = seq + 1, start + size
    return Scrollback.restored(chunks, kept.next_seq)
