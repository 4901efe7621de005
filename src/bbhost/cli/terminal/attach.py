"""Attaching: what is typed goes to the terminal, what it prints comes here."""

import signal
from contextlib import aclosing

import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection

from bbhost.cli.client import segment
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server
from bbhost.cli.printing import note
from bbhost.cli.sockets import messages, open_socket
from bbhost.cli.terminal.keys import KeyScanner
from bbhost.cli.terminal.local import raw_mode, read_input, window_size, write_output
from bbhost.cli.terminal.modes import ModeTracker
from bbhost.contract.codec import encode_json, parse_json, structure
from bbhost.hub.api.terminals import (
    ExitedMessage,
    OutputMessage,
    ReplayMessage,
    TerminalErrorMessage,
    ViewerInput,
    ViewerResize,
)
from bbhost.toolkit.running import running

RESET_SECONDS = 1.0


@define(eq=False)
class Attachment:
    """One use of a terminal."""

    socket: WebSocketConnection
    scope: trio.CancelScope
    exited: ExitedMessage | None = None
    detached: bool = False
    _keys: KeyScanner = field(factory=KeyScanner)
    _modes: ModeTracker = field(factory=ModeTracker)
    _next_seq: int = 0

    async def run(self) -> None:
        """Pass bytes both ways until the terminal ends, the user leaves, or the socket is lost.

        Raises:
            CommandError: the terminal cannot be attached, or the hub has gone.
        """
        try:
            async with running(self._type), running(self._follow_size):
                with raw_mode():
                    await self._show()
        finally:
            with trio.move_on_after(RESET_SECONDS, shield=True):
                await write_output(self._modes.reset())

    async def _type(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while typed := await read_input():
            forward, leave = self._keys.feed(typed)
            if forward:
                await self._send(ViewerInput(forward))
            if leave:
                self.detached = True
                self.scope.cancel(reason="the user leaves")

    async def _follow_size(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGWINCH) as changes:
            task_status.started()
            await self._send(ViewerResize(*window_size()))
            async for _ in changes:
                await self._send(ViewerResize(*window_size()))

    async def _send(self, message: object) -> None:
        try:
            await self.socket.send_message(encode_json(message))
        except ConnectionClosed:
            return  # the reading side says why

    async def _show(self) -> None:
        async with aclosing(messages(self.socket)) as received:
            async for text in received:
                message = parse_json(text)
                match message["type"]:
                    case "replay":
                        replay = structure(ReplayMessage, message)
                        await self._print(b"".join(chunk.data for chunk in replay.chunks))
                        self._next_seq = replay.next_seq
                    case "output":
                        chunk = structure(OutputMessage, message).chunk
                        if chunk.seq >= self._next_seq:
                            await self._print(chunk.data)
                    case "exited":
                        self.exited = structure(ExitedMessage, message)
                        return
                    case "error":
                        error = structure(TerminalErrorMessage, message)
                        raise CommandError(Outcome.REFUSED, error.message, code=error.code)
        note("")  # the message is not to stand at the prompt of the shell
        raise CommandError(
            Outcome.UNREACHABLE,
            "The hub has closed the connection; 'bbhost term ls' tells what became of the terminal",
        )

    async def _print(self, data: bytes) -> None:
        self._modes.follow(data)
        await write_output(data)


async def attach(server: Server, terminal_id: str) -> Attachment:
    """Use a terminal until it ends or the user leaves it; SIGTERM and SIGHUP leave it, too."""
    async with open_socket(server, f"/terminals/{segment(terminal_id)}/attach") as socket:
        scope = trio.CancelScope()
        attachment = Attachment(socket, scope)
        with scope:
            async with running(_leave_on_signal, attachment):
                await attachment.run()
    return attachment


async def _leave_on_signal(attachment: Attachment, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            attachment.detached = True
            attachment.scope.cancel(reason="a signal")
