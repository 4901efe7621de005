"""Terminals of the server's messages, each hosted by the ready state of its environment."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field

from bbhost.contract.messages import (
    TerminalAttach,
    TerminalClose,
    TerminalCloseReason,
    TerminalError,
    TerminalExited,
    TerminalInput,
    TerminalOpen,
    TerminalResize,
)
from bbhost.domain.ids import EnvironmentId, TerminalId
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.stay import ReadyStay
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError
from bbhost.session.hooks import TerminalMessage
from bbhost.terminals.directory import EXISTS, OPEN_FAILED, TerminalDirectory, terminal_error
from bbhost.terminals.registry import TerminalPlace, Terminals, open_terminals
from bbhost.terminals.shell import ShellSettings
from bbhost.terminals.terminal import LiveShell, Terminal

log = logging.getLogger(__name__)

OPENING_LIMIT = 64
"""Terminals that wait for their environment at a time; further ones are refused."""


@define(eq=False)
class _Hosted:
    """The terminals of one stay."""

    handle: ReadyHandle
    started: trio.Event = field(factory=trio.Event)
    terminals: Terminals | None = None


@define(eq=False)
class _Opening:
    """A terminal that waits for its environment."""

    scope: trio.CancelScope = field(factory=trio.CancelScope)
    close_reason: TerminalCloseReason | None = None
    """Why it is not to be opened any more."""

    def close(self, reason: TerminalCloseReason) -> None:
        """Nobody waits for it any more; the first reason counts."""
        self.close_reason = self.close_reason or reason
        self.scope.cancel(reason="the terminal was closed before it was open")


class TerminalHosting:
    """Opens terminals inside environments and routes messages to them. One per daemon."""

    def __init__(
        self, supervisor: Supervisor, directory: TerminalDirectory, settings: ShellSettings
    ) -> None:
        self._supervisor = supervisor
        self.directory = directory
        self._settings = settings
        self._hosted: dict[EnvironmentId, _Hosted] = {}
        self._requests: trio.Nursery | None = None
        self._opening: dict[TerminalId, _Opening] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the requests that wait for an environment or for a replay. Never returns."""
        async with trio.open_nursery() as requests:
            self._requests = requests
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._requests = None

    def handle(self, message: TerminalMessage) -> None:
        """Take one message, in order. Never blocks."""
        match message:
            case TerminalInput():
                self.directory.input_nowait(message)
            case TerminalResize():
                self.directory.resize(message)
            case TerminalClose():
                opening = self._opening.get(message.terminal_id)
                if opening is not None:
                    opening.close(message.reason)
                self.directory.close(message)
            case TerminalAttach():
                self._start(self.directory.attach, message)
            case TerminalOpen():
                self._begin(message)

    def _begin(self, message: TerminalOpen) -> None:
        """Note that a terminal is being opened before anything else is handled: a close may be next."""
        if message.terminal_id in self._opening:
            self._start(self._refuse_second, message)
        elif len(self._opening) >= OPENING_LIMIT:
            text = "Too many terminals are being opened; try again"
            self._start(partial(self._refuse, text=text), message)
        elif self._requests is not None:
            opening = self._opening[message.terminal_id] = _Opening()
            self._start(partial(self._open, opening), message)

    async def _refuse_second(self, message: TerminalOpen) -> None:
        text = f"Terminal {message.terminal_id} is open already"
        await self.directory.sink.send(terminal_error(message, EXISTS, text))

    def _start(
        self, fn: Callable[[Any], Awaitable[None]], message: TerminalOpen | TerminalAttach
    ) -> None:
        if self._requests is not None:
            self._requests.start_soon(self._guarded, fn, message)

    async def _guarded(
        self, fn: Callable[[Any], Awaitable[None]], message: TerminalOpen | TerminalAttach
    ) -> None:
        """The bulkhead: a defect over one message must not end the daemon."""
        try:
            await fn(message)
        except Exception:
            log.exception("a message about terminal %s failed", message.terminal_id)

    async def _open(self, opening: _Opening, message: TerminalOpen) -> None:
        try:
            with opening.scope:
                handle = await self._supervisor.enter(
                    message.environment_id, message.workspace_context
                )
                terminals = await self._terminals_of(handle)
                terminals.open_nowait(message)
        except BbhostError as error:
            await self._refuse(message, f"{error.message} ({error.code})")
        finally:
            del self._opening[message.terminal_id]
        if opening.scope.cancelled_caught and opening.close_reason is not None:
            await self.directory.sink.send(
                TerminalExited(message.terminal_id, None, opening.close_reason)
            )

    async def adopt(self, handle: ReadyHandle, terminal: Terminal, shell: LiveShell) -> None:
        """Go on with a terminal of an earlier daemon.

        Raises:
            BbhostError: the environment is being left; the terminal is as it was.
        """
        terminals = await self._terminals_of(handle)
        terminals.adopt_nowait(terminal, shell)

    async def hand_over(self, most: int) -> list[tuple[ReadyHandle, Terminal]]:
        """Let go of the open terminals, for the next daemon; see ``Terminal.hand_over``.

        Args:
            most: environments beyond so many terminals keep theirs.
        """
        handed: list[tuple[ReadyHandle, Terminal]] = []
        for hosted in tuple(self._hosted.values()):
            terminals = hosted.terminals
            if terminals is not None and len(handed) + terminals.open_count <= most:
                handed += [(hosted.handle, one) for one in await terminals.hand_over()]
        return handed

    async def _refuse(self, message: TerminalOpen, text: str) -> None:
        answer: TerminalError = terminal_error(message, OPEN_FAILED, text)
        await self.directory.sink.send(answer)

    async def _terminals_of(self, handle: ReadyHandle) -> Terminals:
        hosted = self._hosted.get(handle.environment_id)
        if hosted is None or hosted.handle.stay is not handle.stay:
            hosted = self._hosted[handle.environment_id] = _Hosted(handle)
            handle.stay.host(self._host, handle, hosted)
        await hosted.started.wait()
        if hosted.terminals is None:
            handle.stay.refuse_if_closing()
            raise BbhostError("The environment was left meanwhile")
        return hosted.terminals

    async def _host(self, handle: ReadyHandle, hosted: _Hosted) -> None:
        """Hold the terminals of one stay; leaving it closes them with the right reason."""
        place = TerminalPlace(handle.path, handle.boundary, self._settings)
        try:
            with _busy_while_open(handle.stay) as on_change:
                async with open_terminals(self.directory, place, on_change) as terminals:
                    on_change.watch(terminals)
                    hosted.terminals = terminals
                    hosted.started.set()
                    try:
                        await trio.sleep_forever()
                    finally:
                        if handle.stay.is_closing:
                            terminals.leave_reason = TerminalCloseReason.ENVIRONMENT_DESTROYED
        finally:
            hosted.terminals = None
            hosted.started.set()
            if self._hosted.get(handle.environment_id) is hosted:
                del self._hosted[handle.environment_id]


class _BusyWhileOpen:
    """Keeps an environment from being idle while it has an open terminal."""

    def __init__(self, stay: ReadyStay) -> None:
        self._stay = stay
        self._terminals: Terminals | None = None
        self._activity = ExitStack()
        self._busy = False

    def watch(self, terminals: Terminals) -> None:
        """These are the terminals that count."""
        self._terminals = terminals

    def __call__(self) -> None:
        """The number of open terminals has changed."""
        count = self._terminals.open_count if self._terminals is not None else 0
        if count and not self._busy and not self._stay.is_closing:
            self._activity.enter_context(self._stay.activity("terminal"))
            self._busy = True
        elif not count and self._busy:
            self._busy = False
            self._activity.close()

    def close(self) -> None:
        """No terminal is left."""
        self._activity.close()


@contextmanager
def _busy_while_open(stay: ReadyStay) -> Iterator[_BusyWhileOpen]:
    busy = _BusyWhileOpen(stay)
    try:
        yield busy
    finally:
        busy.close()
