"""A small HTTP and WebSocket server on Trio, with every fault within reach.

Real sockets, real h11 and wsproto; nothing is hidden behind a framework, so that a test can stop
reading, break off in the middle of an answer, or close with any code.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, urlsplit

import h11
import trio
from attrs import define, field, frozen
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

GOODBYE_SECONDS = 1.0
"""Wait for the other side to agree that a socket is over."""


@frozen
class Request:
    """One request, read to its end."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@frozen
class Response:
    """One answer. ``broken`` breaks the connection off instead, in the middle of the body."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    broken: bool = False


class SocketClosed(Exception):
    """The other side has closed the socket, or the connection is gone."""


@define(eq=False)
class ServerSocket:
    """The server's end of a WebSocket."""

    _stream: Stream
    _wsproto: WSConnection
    _text: str = ""
    closed: trio.Event = field(factory=trio.Event)
    reading: trio.Event = field(factory=trio.Event)
    """Replace it by a new, unset one and the server stops reading."""
    closing: trio.Event = field(factory=trio.Event)
    _lock: trio.Lock = field(factory=trio.Lock)
    pings: int = 0

    def __attrs_post_init__(self) -> None:
        self.reading.set()

    async def send(self, text: str) -> None:
        """Send one text frame."""
        try:
            async with self._lock:
                await self._stream.send_all(self._wsproto.send(TextMessage(text)))
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            raise SocketClosed from None

    async def send_bytes(self, data: bytes, *, framed: bool = True) -> None:
        """Send a binary frame, or bytes that are no frame at all."""
        try:
            async with self._lock:
                if framed:
                    data = self._wsproto.send(BytesMessage(data))
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            raise SocketClosed from None

    async def receive(self) -> str | bytes:
        """The next message, whole."""
        while True:
            for event in self._wsproto.events():
                match event:
                    case TextMessage() | BytesMessage() if self.closing.is_set():
                        continue
                    case TextMessage(data=data):
                        self._text += data
                        if event.message_finished:
                            text, self._text = self._text, ""
                            return text
                    case BytesMessage(data=data):
                        return bytes(data)
                    case Ping():
                        self.pings += 1
                        with suppress(LocalProtocolError):  # once closing, nothing more is said
                            await self._send(event.response())
                    case CloseConnection():
                        with suppress(LocalProtocolError):
                            await self._send(event.response())
                        raise SocketClosed
            await self.reading.wait()
            try:
                data = await self._stream.receive_some(65536)
                self._wsproto.receive_data(data or None)
            except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                raise SocketClosed from None

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye with a code; the connection ends when the other side has answered.

        Hanging up at once could destroy what was said before: unread input makes it a reset.
        """
        with suppress(LocalProtocolError):
            await self._send(CloseConnection(code=code, reason=reason))
        self.closing.set()

    async def abort(self) -> None:
        """Hang up without a word."""
        await trio.aclose_forcefully(self._stream)
        self.closed.set()

    async def _send(self, event: object) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._lock:
                await self._stream.send_all(self._wsproto.send(event))


Handler = Callable[[Request], Awaitable[Response | None]]
"""Answers a request; None breaks the connection off without an answer."""
SocketOpener = Callable[[Request, list[str]], Awaitable[Response | str]]
"""Decides over a handshake: a refusal, or the subprotocol to speak."""
SocketHandler = Callable[[Request, ServerSocket], Awaitable[None]]
"""Lives with an open socket until it is over."""


@frozen
class Application:
    """What a server does."""

    handle: Handler
    open_socket: SocketOpener
    handle_socket: SocketHandler


@asynccontextmanager
async def serve(application: Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; yields ``http://127.0.0.1:<port>``, or https with ``tls``."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def handle(tcp: trio.SocketStream) -> None:
        stream: Stream = tcp
        if tls is not None:
            stream = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True)
        # A client that hangs up in the middle of a request is nothing to this server.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            await _Connection(stream, application).run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        finally:
            nursery.cancel_scope.cancel()


class _Connection:
    def __init__(self, stream: Stream, application: Application) -> None:
        self._stream = stream
        self._application = application
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while (request := await self._read_request()) is not None:
            if request.headers.get("upgrade", "").lower() == "websocket":
                await self._upgrade(request)
                return
            response = await self._application.handle(request)
            if response is None or not await self._answer(response):
                await trio.aclose_forcefully(self._stream)
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.receive_some(65536))

    async def _read_request(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        target = urlsplit(head.target.decode())
        headers = {name.decode().lower(): value.decode() for name, value in head.headers}
        body = bytearray()
        if headers.get("upgrade", "").lower() != "websocket":
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        return Request(head.method.decode(), target.path, query, headers, bytes(body))

    async def _answer(self, response: Response) -> bool:
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body) + response.broken)),
        ]
        data = self._http.send(h11.Response(status_code=response.status, headers=headers))
        data += self._http.send(h11.Data(data=response.body))
        await self._stream.send_all(data)
        if response.broken:
            return False
        await self._stream.send_all(self._http.send(h11.EndOfMessage()))
        return True

    async def _upgrade(self, request: Request) -> None:
        wsproto = WSConnection(ConnectionType.SERVER)
        wsproto.initiate_upgrade_connection(
            [(name.encode(), value.encode()) for name, value in request.headers.items()],
            request.path,
        )
        (proposal,) = list(wsproto.events())
        assert isinstance(proposal, UpgradeRequest)
        decision = await self._application.open_socket(request, list(proposal.subprotocols))
        if isinstance(decision, Response):
            await self._stream.send_all(
                wsproto.send(RejectConnection(status_code=decision.status, headers=[]))
            )
            return
        await self._stream.send_all(wsproto.send(AcceptConnection(subprotocol=decision)))
        socket = ServerSocket(self._stream, wsproto)
        async with trio.open_nursery() as nursery:

            async def hang_up_when_closed() -> None:
                await socket.closed.wait()
                nursery.cancel_scope.cancel()

            async def hang_up_without_an_answer() -> None:
                await socket.closing.wait()
                await trio.sleep(GOODBYE_SECONDS)
                nursery.cancel_scope.cancel()

            nursery.start_soon(hang_up_when_closed)
            nursery.start_soon(hang_up_without_an_answer)
            with suppress(SocketClosed):
                await self._application.handle_socket(request, socket)
            with suppress(SocketClosed):
                while socket.closing.is_set():
                    await socket.receive()
            nursery.cancel_scope.cancel()
        socket.closed.set()
