"""Connections of the hub, bounded where Hypercorn's are not.

Hypercorn's Trio worker shields every write from cancellation, without a deadline, and its reader
waits for an application that has ended to take what is still coming in. A client that stops reading,
or one that talks on after it was refused, would so keep its connection for ever and hold up a stop.
Here every write has a progress deadline, and a connection has a scope of its own whose deadline is
set when the application has finished with it early.
"""

import logging
import socket
from collections.abc import Awaitable, Callable

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from bbhost.hub.config import HubConfig, HubTimings
from bbhost.hub.errors import ApiError
from bbhost.hub.http.asgi import Message, Receive, Scope, Send, refuse
from bbhost.toolkit.value import AsyncValue

WRITE_PIECE_BYTES = 65_536
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
logger = logging.getLogger(__name__)


class GuardedStream:
    """A socket stream whose writes give up on a peer that does not read.

    Args:
        timings: ``write_seconds`` and ``linger_seconds``.
    """

    def __init__(self, stream: trio.SocketStream, timings: HubTimings) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._write_seconds = timings.write_seconds
        self._linger_seconds = timings.linger_seconds
        self._closing = False
        self._ended = trio.Event()
        self._aborted = False
        self._writing: trio.CancelScope | None = None

    async def send_all(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            BrokenResourceError: the peer did not read, or the stream was aborted.
        """
        view = memoryview(data)
        for start in range(0, len(view), WRITE_PIECE_BYTES):
            piece = view[start : start + WRITE_PIECE_BYTES]
            if self._aborted:
                raise trio.BrokenResourceError("aborted")
            with trio.move_on_after(self._write_seconds) as self._writing:
                await self._stream.send_all(piece)
            if self._writing.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError("the peer does not read")

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Return what has come in; once the stream is being closed, discard it."""
        try:
            while True:
                data = await self._stream.receive_some(max_bytes)
                if not data:
                    self._ended.set()
                if not data or not self._closing:
                    return data
        except BaseException:
            self._ended.set()
            raise

    async def send_eof(self) -> None:
        """Tell the peer that no more will come."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the socket, after giving the peer a moment to read the last answer.

        Closing while something of the peer's is unread resets the connection, and the answer that
        refuses a body too large would be lost with it.
        """
        self._closing = True
        try:
            with trio.move_on_after(self._linger_seconds):
                await self._ended.wait()
        finally:
            await self._stream.aclose()

    def abort(self) -> None:
        """Close at once and end a write under way, also one that is shielded."""
        self._aborted = True
        self._ended.set()
        self._stream.socket.close()
        if self._writing is not None:
            self._writing.cancel()


class Connections:
    """Accepts connections and runs Hypercorn's HTTP on each.

    Args:
        app: the ASGI application.
    """

    def __init__(self, app: Application, config: HubConfig) -> None:
        self._app = app
        self._config = config
        self._hypercorn = _hypercorn_config(config)
        self._context = WorkerContext(None)
        self._open: dict[object, tuple[GuardedStream, trio.CancelScope]] = {}
        self._websockets = AsyncValue(0)

    def __len__(self) -> int:
        return len(self._open)

    async def run(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled. Cancellation: closes every connection at once."""
        task_status.started()  # the listeners listen already
        try:
            await trio.serve_listeners(self._serve, listeners)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close every connection at once."""
        for stream, scope in list(self._open.values()):
            stream.abort()
            scope.cancel("the hub stops")

    async def wait_websockets_closed(self) -> None:
        """Wait until no WebSocket is open."""
        await self._websockets.wait_value(lambda count: count == 0)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if len(self._open) >= self._config.limits.connections:
            logger.warning("too many connections; one was closed")
            return
        try:
            peer = parse_socket_addr(stream.socket.family, stream.socket.getpeername())
        except OSError:
            return  # gone already
        _keep_alive(stream, self._config.timings.keepalive_seconds)
        guarded = GuardedStream(stream, self._config.timings)
        with trio.CancelScope() as scope:
            self._open[peer] = (guarded, scope)
            try:
                await TCPServer(
                    ASGIWrapper(self._land),  # type: ignore[arg-type]
                    self._hypercorn,
                    self._context,
                    ConnectionState({}),
                    guarded,  # type: ignore[arg-type]
                )
            except Exception:
                # One connection must not end the server; what it did is in the log.
                logger.exception("a connection failed")
            finally:
                del self._open[peer]

    async def _land(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one request, and bound what its end leaves behind."""
        is_websocket = scope["type"] == "websocket"
        finished_reading = is_websocket or not _announces_body(scope)

        async def watched_receive() -> Message:
            nonlocal finished_reading
            message = await receive()
            if not message.get("more_body", False):
                finished_reading = True
            return message

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not finished_reading:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        self._websockets.value += is_websocket
        try:
            if scope["http_version"] not in {"1.0", "1.1"}:
                await refuse(scope, watched_send, ApiError(505, "http_version", "Use HTTP/1.1"))
                return
            await self._app(scope, watched_receive, watched_send)
        finally:
            self._websockets.value -= is_websocket
            if is_websocket or not finished_reading:
                self._linger(scope.get("client"))

    def _linger(self, peer: object) -> None:
        found = self._open.get(peer)
        if found is not None:
            deadline = trio.current_time() + self._config.timings.linger_seconds
            found[1].deadline = min(found[1].deadline, deadline)


def _announces_body(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return False


def _keep_alive(stream: trio.SocketStream, seconds: int) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if idle is not None:
        stream.setsockopt(socket.IPPROTO_TCP, idle, seconds)


def _hypercorn_config(config: HubConfig) -> Config:
    hypercorn = Config()
    # Its own handlers would write to standard error whatever the program's logging says.
    hypercorn.errorlog = logging.getLogger("bbhost.hub.hypercorn")
    hypercorn.accesslog = None
    hypercorn.include_server_header = False
    # Despite its name it is also the longest that a request head may take.
    hypercorn.keep_alive_timeout = config.timings.header_seconds
    hypercorn.websocket_max_message_size = config.limits.websocket_message_bytes
    # No pings: Hypercorn never looks for the pong, and a trio-websocket client that is closing
    # fails on one. Daemons have leases; of the others the kernel asks.
    hypercorn.websocket_ping_interval = None
    return hypercorn
