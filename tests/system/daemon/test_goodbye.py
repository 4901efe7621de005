"""How a daemon that stops leaves its server."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from wsproto.events import CloseConnection

from tests.fakes import http_server
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import run_daemon_process, succeed

pytestmark = pytest.mark.slow


async def test_the_socket_is_closed_in_good_order(
    server: StockServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server need not guess whether the daemon crashed or the network failed."""
    closes: list[int] = []
    ended = trio.Event()
    receive = http_server.ServerSocket.receive

    async def watched(self: http_server.ServerSocket) -> str | bytes:
        events = self._wsproto.events

        def seen() -> Iterator[object]:
            for event in events():
                if isinstance(event, CloseConnection):
                    closes.append(event.code)
                yield event

        monkeypatch.setattr(self._wsproto, "events", seen)
        try:
            return await receive(self)
        except http_server.SocketClosed:
            ended.set()
            raise
        finally:
            monkeypatch.setattr(self._wsproto, "events", events)

    monkeypatch.setattr(http_server.ServerSocket, "receive", watched)
    with trio.fail_after(30):
        async with run_daemon_process(server, data_dir) as daemon:
            # An answer shows that the session is open on the daemon's side, too.
            await succeed(server, {"type": "replay.capture_list"})
            assert await daemon.terminate() == 0
        await ended.wait()
    assert closes == [1000]


async def test_a_second_signal_ends_it_at_once_and_its_exit_code_says_so(
    server: StockServer, data_dir: Path
) -> None:
    """Whoever reads the code must not take what was cut short for a stop in good order."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.send_signal(signal.SIGINT)
            assert await daemon.wait() == 130
    assert "stopping at once" in daemon.log_text()
