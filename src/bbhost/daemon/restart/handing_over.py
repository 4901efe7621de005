"""Leaving the open terminals to the next daemon, where there is going to be one.

The order: the terminals are let go of (nothing is read any more), what the next daemon needs is in the
journal, the service manager has the ptys, and last the note that keeps the shells from being ended. A
hand-over that fails, or is cut short, at any of these steps ends the terminals instead: without the
note everything is ended, and without the shell a kept pty is worth nothing.
"""

import logging
import secrets
from collections.abc import Collection, Sequence

import trio
from attrs import define, evolve, field, frozen

from bbhost.contract.messages import TerminalCloseReason, TerminalExited
from bbhost.daemon.assembly import Parts
from bbhost.daemon.notify import Notifier
from bbhost.daemon.restart.note import RestartNote, write_note
from bbhost.daemon.restart.unit import MOST_TERMINALS, Unit
from bbhost.environment.handle import ReadyHandle
from bbhost.errors import BbhostError
from bbhost.journal.values import KeptTerminal
from bbhost.processes import proc
from bbhost.processes.boundary import Boundary
from bbhost.processes.sparing import SparedShell
from bbhost.terminals.shell import shell_mark
from bbhost.terminals.terminal import LiveShell, Terminal
from bbhost.toolkit.faults import fault_point

log = logging.getLogger(__name__)

MOST_OUTPUT_BYTES = 64 * 1024 * 1024
"""Of scrollback handed over, shared evenly; of each terminal the newest is kept."""
HAND_OVER_SECONDS = 3.0
"""For all of it; beyond it the terminals end."""
SAY_ENDED_SECONDS = 0.3
"""For telling the server that they have."""


@frozen
class _Letting:
    """A terminal that was let go of."""

    terminal: Terminal
    shell: LiveShell
    boundary: Boundary
    kept: KeptTerminal


@define(eq=False)
class HandOver:
    """The hand-over of one stop."""

    parts: Parts
    notifier: Notifier
    unit: Unit | None
    """None: started by nobody who could keep a pty."""
    _letting: list[_Letting] = field(factory=list, init=False)
    _is_done: bool = field(default=False, init=False)

    async def run(self) -> int:
        """Hand over what can be handed over; what cannot is still there, or has been told of its end.

        Returns:
            How many terminals the next daemon will find.

        Cancellation: safe; the terminals end.
        """
        try:
            with trio.move_on_after(HAND_OVER_SECONDS):
                await self._run()
        finally:
            if not self._is_done:
                self._give_up()
        if not self._is_done:
            await self._say_ended()
            return 0
        return len(self._letting)

    def shells_of(self, boundary: Boundary) -> Collection[SparedShell]:
        """The shells in a boundary that are to run on."""
        if not self._is_done:
            return ()
        return [
            SparedShell(one.kept.pid, shell_mark(one.kept.terminal_id))
            for one in self._letting
            if one.boundary is boundary
        ]

    async def _run(self) -> None:
        unit = self.unit
        if unit is None or not self.notifier.is_wanted or not len(self.parts.terminals.directory):
            await trio.lowlevel.checkpoint()
            return
        if not await unit.restart_is_coming():
            return
        for handle, terminal in await self.parts.terminals.hand_over(MOST_TERMINALS):
            self._take(handle, terminal)
        share = MOST_OUTPUT_BYTES // max(1, len(self._letting))
        kept = [_newest(one.kept, share) for one in self._letting]
        try:
            await self.parts.journal.keep_terminals(kept)
            fault_point("restart.journalled")
            for one in self._letting:
                await self._store(one)
            fault_point("restart.stored")
            leaves = {leaf.name for one in self._letting if (leaf := one.boundary.leaf_path)}
            write_note(self.parts.data_dir, RestartNote(unit.invocation_id, tuple(sorted(leaves))))
        except (BbhostError, OSError) as error:
            log.warning("terminals cannot be handed over: %s", error)
            return
        self._is_done = True
        log.info("terminals left to the next daemon", extra={"terminals": len(self._letting)})

    def _take(self, handle: ReadyHandle, terminal: Terminal) -> None:
        shell = terminal.shell
        boundaries = (one for one in self.parts.keeper.boundaries if one is handle.boundary)
        boundary = next(boundaries, None)
        stat = None if shell is None else proc.read_stat(shell.process.pid)
        if shell is None or boundary is None or stat is None:
            if shell is not None:
                shell.pty.close()
            return
        chunks = terminal.scrollback.chunks()
        kept = KeptTerminal(
            descriptor_name=f"terminal-{secrets.token_hex(8)}",
            terminal_id=terminal.terminal_id,
            environment_id=handle.environment_id,
            incarnation=handle.record.incarnation,
            pid=stat.pid,
            start_time=stat.start_time,
            boot_id=proc.boot_id(),
            marker=str(boundary.marker),
            tag=boundary.tag,
            cols=terminal.cols,
            rows=terminal.rows,
            next_seq=terminal.scrollback.next_seq,
            chunk_sizes=tuple(len(chunk.data) for chunk in chunks),
            output=b"".join(chunk.data for chunk in chunks),
        )
        self._letting.append(_Letting(terminal, shell, boundary, kept))

    async def _store(self, one: _Letting) -> None:
        # One at a time: the queue of a datagram socket is short, and what does not fit is dropped.
        sent = self.notifier.store(one.kept.descriptor_name, one.shell.pty.descriptor)
        if not sent or not await self.notifier.barrier():
            raise BbhostError("the service manager does not take their ptys")

    def _give_up(self) -> None:
        """Closing a pty hangs up on its shell; the end of its boundary does the rest."""
        for one in self._letting:
            self.notifier.unstore(one.kept.descriptor_name)
            one.shell.pty.close()

    async def _say_ended(self) -> None:
        with trio.move_on_after(SAY_ENDED_SECONDS):  # the socket may be congested
            for one in self._letting:
                exited = TerminalExited(
                    one.terminal.terminal_id, None, TerminalCloseReason.DAEMON_DISCONNECT
                )
                await self.parts.link.send(exited)


def _newest(kept: KeptTerminal, most: int) -> KeptTerminal:
    """Leave out the oldest output beyond ``most`` bytes."""
    sizes: Sequence[int] = kept.chunk_sizes
    first, left = 0, len(kept.output)
    while left > most:
        left -= sizes[first]
        first += 1
    output = kept.output[len(kept.output) - left :]
    return evolve(kept, chunk_sizes=tuple(sizes[first:]), output=output)
