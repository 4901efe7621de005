"""The terminals of one environment. They live in a nursery that its ready state opens."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio
from attrs import define, field, frozen

from bbhost.contract.messages import TerminalCloseReason, TerminalOpen, TerminalOpened
from bbhost.errors import BbhostError
from bbhost.processes.environ import child_environ
from bbhost.processes.spawn import ProcessOpener
from bbhost.terminals.directory import (
    EXISTS,
    OPEN_FAILED,
    TerminalDirectory,
    terminal_error,
)
from bbhost.terminals.pty import open_pty
from bbhost.terminals.shell import ShellSettings, choose_shell, shell_environ, shell_title
from bbhost.terminals.terminal import LiveShell, Terminal
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.value import AsyncValue


@frozen
class TerminalPlace:
    """Where the terminals of an environment run."""

    workspace_path: str
    """Absolute; working directory of the shells."""
    boundary: ProcessOpener
    """What the shells and all they start belong to."""
    settings: ShellSettings = field(factory=ShellSettings)
    environ: Callable[[], Mapping[str, str]] = child_environ
    """What every child of the daemon gets."""


@define(eq=False)
class Terminals:
    """The terminals of one environment. Made by :func:`open_terminals`."""

    directory: TerminalDirectory
    place: TerminalPlace
    on_change: Callable[[], None]
    _shells: trio.Nursery
    leave_reason: TerminalCloseReason = TerminalCloseReason.DAEMON_DISCONNECT
    """Told by terminals that are open when the environment leaves its ready state."""
    _open: set[Terminal] = field(factory=set, init=False)
    _count: AsyncValue[int] = field(factory=lambda: AsyncValue(0), init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def open_count(self) -> int:
        """Terminals that have not ended, those that are opening included."""
        return len(self._open)

    def open_nowait(self, message: TerminalOpen) -> None:
        """``terminal.open``: start a shell; the answer goes to the sink."""
        if message.terminal_id in self.directory:
            text = f"Terminal {message.terminal_id} is open already"
            self._shells.start_soon(self._refuse, message, EXISTS, text)
        elif self._closed:
            text = "The environment is being closed"
            self._shells.start_soon(self._refuse, message, OPEN_FAILED, text)
        else:
            terminal = Terminal(
                message.terminal_id, self.directory.sink, message.cols, message.rows
            )
            self._add(terminal)
            self._shells.start_soon(self._open_and_run, terminal, message)

    def adopt_nowait(self, terminal: Terminal, shell: LiveShell) -> None:
        """Go on with a terminal whose shell runs already: that of an earlier daemon."""
        self._add(terminal)
        self._shells.start_soon(self._run, terminal, shell, None)

    def close_nowait(self, reason: TerminalCloseReason) -> None:
        """Close all and accept no more. Does not wait for the end."""
        self._closed = True
        for terminal in self._open:
            terminal.close(reason)

    async def close_all(self, reason: TerminalCloseReason) -> None:
        """Close all, accept no more, and wait until all have ended (bounded, see ``terminal.py``).

        Cancellation: safe; they end all the same.
        """
        self.close_nowait(reason)
        await self._count.wait_value(lambda count: count == 0)

    async def hand_over(self) -> list[Terminal]:
        """Let go of every terminal that is open, for the next daemon; accept no more.

        Returns:
            Those handed over; the others are still here and end with the environment's stay.
        """
        self._closed = True
        return [terminal for terminal in tuple(self._open) if await terminal.hand_over()]

    async def _open_and_run(self, terminal: Terminal, message: TerminalOpen) -> None:
        try:
            shell, opened = await self._start(terminal, message)
        except (OSError, ValueError, BbhostError) as error:
            terminal.open_failed()
            self._remove(terminal)
            await self._refuse(message, OPEN_FAILED, f"The shell could not be started: {error}")
            return
        except BaseException:
            self._remove(terminal)
            raise
        await self._run(terminal, shell, opened)

    async def _start(
        self, terminal: Terminal, message: TerminalOpen
    ) -> tuple[LiveShell, TerminalOpened]:
        inherited = self.place.environ()
        program = choose_shell(inherited)
        if program is None:
            raise BbhostError("no shell was found", code=OPEN_FAILED)
        cwd = self.place.workspace_path
        with open_pty(terminal.cols, terminal.rows) as (pty, slave):
            process = await self.place.boundary.open_process(
                [program],
                cwd=cwd,
                env=shell_environ(inherited, self.place.settings, terminal.terminal_id),
                pty=slave,
            )
        fault_point("terminals.opened")
        opened = TerminalOpened(
            message.request_id,
            message.terminal_id,
            shell=program,
            title=shell_title(program),
            initial_cwd=cwd,
            current_cwd=None,
            cols=message.cols,
            rows=message.rows,
        )
        return LiveShell(process, pty), opened

    async def _run(
        self, terminal: Terminal, shell: LiveShell, opened: TerminalOpened | None
    ) -> None:
        try:
            await terminal.run(shell, opened)
        finally:
            self._remove(terminal)

    async def _refuse(self, message: TerminalOpen, code: str, text: str) -> None:
        await self.directory.sink.send(terminal_error(message, code, text))

    def _add(self, terminal: Terminal) -> None:
        self.directory.add(terminal)
        self._open.add(terminal)
        self._changed()

    def _remove(self, terminal: Terminal) -> None:
        self.directory.remove(terminal)
        self._open.remove(terminal)
        self._changed()

    def _changed(self) -> None:
        self._count.value = len(self._open)
        self.on_change()


@asynccontextmanager
async def open_terminals(
    directory: TerminalDirectory,
    place: TerminalPlace,
    on_change: Callable[[], None] = lambda: None,
) -> AsyncIterator[Terminals]:
    """Hold the terminals of an environment; leaving closes all of them.

    Args:
        on_change: called when the number of open terminals has changed. Must not block.

    Leaving, however it comes about, closes what is open with ``leave_reason`` and waits for it, also
    when cancelled: for at most ``CLOSE_SECONDS`` and ``EXITED_SECONDS`` of ``terminal.py``.
    """
    async with trio.open_nursery() as shells:
        terminals = Terminals(directory, place, on_change, shells)
        try:
            yield terminals
        finally:
            terminals.close_nowait(terminals.leave_reason)
