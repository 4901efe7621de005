"""The scripted server of the tests, made fit for floods: it counts terminal output and keeps none."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from tests.fakes.http_server import Application, serve
from tests.fakes.stock_server import StockServer, StockSession

OutputSink = Callable[[str, bytes], None]
"""Told of terminal output: id of the terminal, bytes."""


class BenchServer(StockServer):
    """A stock server that hands terminal messages on."""

    heartbeat_interval_ms = 5000

    def __init__(self) -> None:
        super().__init__()
        self.on_output: OutputSink | None = None
        self.terminal_messages: list[dict[str, Any]] = []
        self.told_at: list[tuple[float, str, str]] = []
        """When each change arrived, of which environment, and its kind."""

    async def _receive(self, session: StockSession, data: str | bytes) -> None:
        message = json.loads(data)
        session.lease_until = trio.current_time() + self.lease_timeout_ms / 1000
        if message["type"] == "terminal.output":
            if self.on_output is not None:
                content = base64.b64decode(message["chunk"]["dataBase64"])
                self.on_output(message["terminalId"], content)
            return
        if message["type"] != "heartbeat":
            self.terminal_messages.append(message)
            await self._notify()

    async def _environment_change(self, request: Any, host_id: str) -> Any:
        answer = await super()._environment_change(request, host_id)
        self.told_at.append((trio.current_time(), *self.changes[-1]))
        return answer


@asynccontextmanager
async def run_bench_server() -> AsyncIterator[BenchServer]:
    """Serve on a free port."""
    server = BenchServer()
    application = Application(server.handle, server.open_socket, server.handle_socket)
    async with serve(application) as url, trio.open_nursery() as nursery:
        server.url = url
        nursery.start_soon(server.run_sweeps)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
