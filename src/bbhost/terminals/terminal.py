"""One terminal: a shell on a pty, from the moment it is asked for to the one message of its end.

Output is read in slices and handed to the sink one chunk at a time. While the sink is full nothing
is read, so the program in the terminal stops; while there is no link, output is only remembered.
Neither costs more memory than the scrollback and one slice.

A terminal ends when its shell has exited, whatever else still has the pty open. Asked to close, it
hangs up, then kills; the whole end is bounded by the sum of the limits below. Handed over, it lets go
of shell and pty, and what the pty holds is read by the next daemon.
"""

import math
import signal

import trio
from attrs import define, field, frozen

from bbhost.contract.messages import (
    DaemonMessage,
    TerminalChunk,
    TerminalCloseReason,
    TerminalExited,
    TerminalOutput,
    TerminalReplay,
)
from bbhost.domain.ids import TerminalId
from bbhost.lifecycle.terminal import TerminalCore, TerminalState
from bbhost.terminals.input_queue import InputQueue
from bbhost.terminals.pty import PtyMaster
from bbhost.terminals.replay import replay_steps
from bbhost.terminals.replay_guard import ReplayGuard
from bbhost.terminals.scrollback import MAX_CHUNK_BYTES, Scrollback
from bbhost.terminals.shell_process import ShellProcess, is_in_session, signal_group
from bbhost.terminals.sink import TerminalSink
from bbhost.toolkit.faults import fault_point

HANGUP_SECONDS = 1.0
"""Between SIGHUP and SIGKILL when a terminal is closed."""
CLOSE_SECONDS = 3.0
"""From the request to close to giving up on a shell that not even SIGKILL ends."""
QUIET_SECONDS = 0.02
"""After the shell has exited: its output is complete when nothing comes for this long."""
DRAIN_SECONDS = 1.0
"""The same, at most, where something else keeps writing or the sink is full."""
EXITED_SECONDS = 2.0
"""For handing over the last message; with a full sink it is lost, as all else is. Before that, as long
again, only where the shell could not be ended within ``CLOSE_SECONDS``."""
STREAMING_SECONDS = 0.01
"""Output that follows other output this closely is a stream, and may linger for a larger slice."""


@frozen
class LiveShell:
    """A running shell and the daemon's side of its pty."""

    process: ShellProcess
    pty: PtyMaster


@define(eq=False)
class Terminal:
    """One terminal. Made when it is asked for (or adopted); :meth:`run` is its life."""

    terminal_id: TerminalId
    sink: TerminalSink
    cols: int
    rows: int
    scrollback: Scrollback = field(factory=Scrollback)
    """What it wrote so far; that of an adopted one is given."""
    _core: TerminalCore = field(factory=TerminalCore, init=False)
    _input: InputQueue = field(factory=InputQueue, init=False)
    _guard: ReplayGuard = field(init=False)
    _shell: LiveShell | None = field(default=None, init=False)
    _close_asked: trio.Event = field(factory=trio.Event, init=False)
    _shell_gone: bool = field(default=False, init=False)
    _reading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _life: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _work: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _left: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._guard = ReplayGuard(trio.current_time())

    # --- what others may ask, none of which waits ---------------------------------------------

    @property
    def state(self) -> TerminalState:
        """Where in its life it is."""
        return self._core.state

    @property
    def shell(self) -> LiveShell | None:
        """Its process and pty while it lives, or was handed over: what the next daemon goes on with."""
        return self._shell

    @property
    def dropped_input_bytes(self) -> int:
        """Input that was dropped because the shell did not read."""
        return self._input.dropped_bytes

    def input_nowait(self, data: bytes) -> bool:
        """Type ``data``; False where it was dropped (too much waits, or it answers a replay)."""
        if self._guard.refuses(data, trio.current_time()):
            return False
        return self._input.put(data)

    def resize(self, cols: int, rows: int) -> None:
        """Give it another size, in characters."""
        self.cols, self.rows = cols, rows
        if self._shell is not None:
            self._shell.pty.resize(cols, rows)

    def close(self, reason: TerminalCloseReason) -> None:
        """Ask for its end; the first reason counts. :meth:`run` does it."""
        if self._core.close(reason):
            self._life.deadline = trio.current_time() + CLOSE_SECONDS
            self._close_asked.set()

    async def hand_over(self) -> bool:
        """Let go of the shell, which goes on; afterwards nothing is read and nothing is sent.

        :attr:`shell` and :attr:`scrollback` are then the caller's, who must see to their future. Input
        that the shell has not taken yet is dropped.

        Returns:
            False where it is not open, or its shell has exited: it ends as any other does.

        Cancellation: it is handed over all the same.
        """
        if self._shell is None or self._shell_gone or not self._core.hand_over():
            await trio.lowlevel.checkpoint()
            return False
        self._work.cancel(reason="the next daemon goes on with the terminal")
        await self._left.wait()
        return True

    # --- replay -------------------------------------------------------------------------------

    async def replay(self, request_id: str, since_seq: int) -> None:
        """Send what it wrote from chunk ``since_seq`` on. Cancellation: nothing was sent."""
        chunks, next_seq = self.scrollback.chunks(), self.scrollback.next_seq
        if not self._guard.begin_replay(trio.current_time()):
            kept = [chunk for chunk in chunks if chunk.seq >= since_seq]
            await self._send_replay(request_id, kept, next_seq)
            return
        try:
            kept = []
            # All of it is looked at: a query may begin before ``since_seq``.
            for step in replay_steps(chunks):
                kept += [chunk for chunk in step if chunk.seq >= since_seq]
                await trio.lowlevel.checkpoint()
            await self._send_replay(request_id, kept, next_seq)
        finally:
            self._guard.end_replay(trio.current_time())

    async def _send_replay(
        self, request_id: str, chunks: list[TerminalChunk], next_seq: int
    ) -> None:
        await self.sink.send(TerminalReplay(request_id, self.terminal_id, tuple(chunks), next_seq))

    # --- life ---------------------------------------------------------------------------------

    def open_failed(self) -> None:
        """Its shell could not be started: it ends without a message of its own."""
        self._core.ended()

    async def run(self, shell: LiveShell, opened: DaemonMessage | None = None) -> None:
        """Live until the shell has exited, then say so, once.

        Args:
            opened: announced before any output; None for an adopted terminal. Also left out where it
                was asked to close before.

        Cancellation: only :meth:`close` ends a terminal, and :meth:`hand_over` its run. Until then, and
        for the bounded time that takes, this is shielded; so whoever cancels it must ask for the close
        as well.
        """
        self._shell = shell
        shell.pty.resize(self.cols, self.rows)
        if not self._core.opened():
            opened = None
        exit_status = None
        try:
            with self._life:
                self._life.shield = True
                exit_status = await self._live(shell, opened)
        finally:
            if self._core.state is TerminalState.HANDED_OVER:
                self.scrollback.append(shell.pty.take_unread())
                self._left.set()
            else:
                # Budget: the two waits of the ending itself.
                with trio.move_on_after(2 * EXITED_SECONDS, shield=True):
                    await self._end(shell, exit_status)

    async def _end(self, shell: LiveShell, exit_status: int | None) -> None:
        self._shell = None
        shell.pty.close()
        self._core.ended()
        fault_point("terminals.exited")
        with trio.move_on_after(EXITED_SECONDS, shield=True):
            if not self._shell_gone:  # given up, or a defect: leave no zombie if it can be helped
                shell.process.signal_group(signal.SIGKILL)
                await shell.process.wait()
        with trio.move_on_after(EXITED_SECONDS, shield=True):
            await self.sink.send(self._exited(exit_status))

    def _exited(self, exit_status: int | None) -> TerminalExited:
        asked = self._core.close_reason
        reason = TerminalCloseReason.PROCESS_EXIT if asked is None else TerminalCloseReason(asked)
        if exit_status is not None and exit_status < 0:
            exit_status = None  # ended by a signal
        return TerminalExited(self.terminal_id, exit_status, reason)

    async def _live(self, shell: LiveShell, opened: DaemonMessage | None) -> int | None:
        drained = trio.Event()
        exit_status = None
        with self._work:
            async with trio.open_nursery() as work:
                work.start_soon(self._pump_output, shell.pty, opened, drained)
                work.start_soon(self._pump_input, shell.pty)
                work.start_soon(self._end_when_asked, shell)
                exit_status = await shell.process.wait()
                self._shell_gone = True
                self._reading.cancel()
                with trio.move_on_after(DRAIN_SECONDS):
                    await drained.wait()
                work.cancel_scope.cancel()
        return exit_status

    async def _pump_output(
        self, pty: PtyMaster, opened: DaemonMessage | None, drained: trio.Event
    ) -> None:
        """Hand over output until it ends; after the shell's end, until it is quiet."""
        if opened is not None:
            await self.sink.send(opened)
        last_output = -math.inf
        data = b""
        while True:
            draining = self._shell_gone
            quiet_at = trio.current_time() + QUIET_SECONDS if draining else math.inf
            with trio.CancelScope(deadline=quiet_at) as self._reading:
                data = await pty.read_slice(MAX_CHUNK_BYTES, last_output + STREAMING_SECONDS)
            if self._reading.cancelled_caught:
                if draining:
                    break
                continue
            if not data:
                break
            last_output = trio.current_time()
            self._guard.note_output(data, last_output)
            for chunk in self.scrollback.append(data):
                await self.sink.send(TerminalOutput(self.terminal_id, chunk))
        drained.set()

    async def _pump_input(self, pty: PtyMaster) -> None:
        while True:
            await pty.write(await self._input.get())

    async def _end_when_asked(self, shell: LiveShell) -> None:
        """Once asked to close: hang up, and kill what does not listen."""
        await self._close_asked.wait()
        # A stopped program gets the hang-up only once it goes on.
        self._signal(shell, signal.SIGHUP, signal.SIGCONT)
        await trio.sleep(HANGUP_SECONDS)
        self._signal(shell, signal.SIGKILL)

    def _signal(self, shell: LiveShell, *signums: signal.Signals) -> None:
        """Signal the shell and the program that has the terminal now."""
        session, group = shell.process.pid, shell.pty.foreground_group()
        other = group is not None and group != session and is_in_session(group, session)
        for signum in signums:
            shell.process.signal_group(signum)
            if group is not None and other:
                signal_group(group, signum)
