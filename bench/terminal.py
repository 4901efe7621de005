"""A terminal seen from the server."""

import base64
from collections.abc import Callable

import trio
from attrs import define, field

from bench.rig import Rig


@define(eq=False)
class BenchTerminal:
    """An open terminal. Made by :func:`open_terminal`."""

    rig: Rig
    terminal_id: str
    received: int = 0
    """Bytes of output so far."""
    _tail: bytes = b""
    _changed: trio.Event = field(factory=trio.Event)

    async def type(self, text: str) -> None:
        """Type ``text``."""
        data = base64.b64encode(text.encode()).decode()
        message = {"type": "terminal.input", "terminalId": self.terminal_id, "dataBase64": data}
        await self.rig.server.send(message)

    async def wait_for(self, text: bytes) -> None:
        """Wait until ``text`` has come since the last time."""
        await self._wait(lambda: text in self._tail)
        self._tail = self._tail[self._tail.index(text) + len(text) :]

    async def wait_bytes(self, count: int) -> None:
        """Wait until ``count`` bytes have come in all."""
        await self._wait(lambda: self.received >= count)

    def take(self, data: bytes) -> None:
        """Output has come."""
        self.received += len(data)
        self._tail = (self._tail + data)[-4096:]
        self._changed.set()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(120):
            while not condition():
                self._changed = trio.Event()
                await self._changed.wait()

    async def close(self) -> None:
        """Have it closed."""
        message = {"type": "terminal.close", "terminalId": self.terminal_id, "reason": "user"}
        await self.rig.server.send(message)


async def open_terminal(rig: Rig, environment_id: str) -> BenchTerminal:
    """Open a terminal in an environment and route its output here."""
    terminal = BenchTerminal(rig, f"term_{rig.new_id()}")
    known = rig.server.on_output

    def route(terminal_id: str, data: bytes) -> None:
        if terminal_id == terminal.terminal_id:
            terminal.take(data)
        elif known is not None:
            known(terminal_id, data)

    rig.server.on_output = route
    await rig.server.send(
        {
            "type": "terminal.open",
            "requestId": f"req_{terminal.terminal_id}",
            "terminalId": terminal.terminal_id,
            "threadId": "thr_bench00001",
            "environmentId": environment_id,
            "workspaceContext": rig.context(environment_id),
            "cols": 80,
            "rows": 24,
        }
    )
    with trio.fail_after(30):
        await rig.server.wait(
            lambda: any(
                message["terminalId"] == terminal.terminal_id
                for message in rig.server.terminal_messages
            )
        )
    return terminal
