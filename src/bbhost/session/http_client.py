"""HTTP/1.1 to one server: connections that are used again, requests with bounded answers.

As little as the contract with the server needs, because every command, result and event passes
through here: a head and a body go out in one piece, an answer is read within its bound, nothing is
followed, remembered or guessed. Deadlines and trying again are the business of the callers.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import h11
import trio
from attrs import define, frozen

from bbhost import __version__
from bbhost.session.server_url import ServerUrl

CONNECTIONS_LIMIT = 16
"""Connections to the server at a time; further requests wait for one."""
KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are closed after this; servers commonly close theirs after 5 s, and a request
that meets a closing connection fails."""
HEAD_LIMIT = 64 * 1024
"""Bytes of the head of an answer."""
READ_BYTES = 64 * 1024

_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class HttpError(Exception):
    """No answer: not connected, cut off, or not HTTP. The server may have acted upon the request."""


@frozen
class HttpAnswer:
    """An answer, read to its end."""

    status: int
    content: bytes
    """One byte more than the bound, or a little more than that, where the answer was too large."""
    content_type: str


@define(eq=False)
class _Connection:
    tcp: trio.SocketStream
    stream: _Stream
    """The same, or what encrypts it."""
    http: h11.Connection
    idle_since: float = 0.0

    @property
    def is_usable(self) -> bool:
        """False when it idled for too long, or the server closed it or said something unasked."""
        if trio.current_time() - self.idle_since >= KEEP_ALIVE_SECONDS:
            return False
        return not self.tcp.socket.is_readable()


class HttpClient:
    """Requests to one server. Made by :func:`open_http_client`."""

    def __init__(
        self, url: ServerUrl, tls: ssl.SSLContext | None, headers: Mapping[str, str]
    ) -> None:
        parts = urlsplit(url.text)
        self._host = url.host
        self._port = parts.port or (443 if url.is_secure else 80)
        self._prefix = parts.path
        self._tls = tls
        self._headers = [
            ("host", _ascii(parts.netloc)),
            ("user-agent", f"bbhost/{__version__}"),
            ("accept", "*/*"),
            *headers.items(),
        ]
        self._idle: list[_Connection] = []
        self._places = trio.Semaphore(CONNECTIONS_LIMIT)

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        limits: tuple[int, int],
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Send a request with a JSON body and read the answer.

        Args:
            target: path below the server's address, with its query.
            limits: bytes read of an answer that says yes (2xx), and of any other.
            headers: sent too; those of the client with the same names are left out.

        Cancellation: the connection is closed; the server may have acted upon the request.

        Raises:
            HttpError: there is no answer.
        """
        more = {name.lower(): value for name, value in (headers or {}).items()}
        head = h11.Request(
            method=method,
            target=self._prefix + target,
            headers=[
                (name.encode(), value.encode())
                for name, value in (
                    *((name, value) for name, value in self._headers if name.lower() not in more),
                    ("content-type", "application/json"),
                    ("content-length", str(len(body))),
                    *more.items(),
                )
            ],
        )
        async with self._places:
            try:
                connection = self._reuse() or await self._connect()
                return await self._exchange(connection, head, body, limits)
            except (trio.BrokenResourceError, OSError, h11.ProtocolError) as error:
                raise HttpError(_reason(error)) from error

    async def _exchange(
        self, connection: _Connection, head: h11.Request, body: bytes, limits: tuple[int, int]
    ) -> HttpAnswer:
        http, sent, kept = connection.http, True, False
        try:
            data = b"".join(
                http.send(event) or b""
                for event in (head, h11.Data(data=body), h11.EndOfMessage())
            )
            try:
                await connection.stream.send_all(data)
            except trio.BrokenResourceError:
                # A server may refuse a request before it has read all of it.
                sent = False
            answer = await _read_answer(connection, limits)
            kept = sent and http.our_state is h11.DONE and http.their_state is h11.DONE
            if kept:
                http.start_next_cycle()
                connection.idle_since = trio.current_time()
                self._idle.append(connection)
            return answer
        finally:
            if not kept:
                await trio.aclose_forcefully(connection.stream)

    def _reuse(self) -> _Connection | None:
        """The connection that was used last; those that have idled for too long are closed."""
        fresh = [one for one in self._idle if one.is_usable]
        for connection in self._idle:
            if connection not in fresh:
                _hang_up(connection)
        self._idle = fresh
        return fresh.pop() if fresh else None

    async def _connect(self) -> _Connection:
        tcp = await trio.open_tcp_stream(self._host, self._port)
        stream: _Stream = tcp
        if self._tls is not None:
            stream = trio.SSLStream(
                tcp, self._tls, server_hostname=self._host, https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        return _Connection(
            tcp, stream, h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        )

    def close(self) -> None:
        """Close the connections that idle."""
        for connection in self._idle:
            _hang_up(connection)
        self._idle.clear()


@asynccontextmanager
async def open_http_client(
    url: ServerUrl, tls: ssl.SSLContext | None, headers: Mapping[str, str]
) -> AsyncIterator[HttpClient]:
    """Give a client that sends ``headers`` with every request; nothing is connected yet."""
    client = HttpClient(url, tls, headers)
    try:
        yield client
    finally:
        client.close()


async def _read_answer(connection: _Connection, limits: tuple[int, int]) -> HttpAnswer:
    head: h11.Response | None = None
    content = bytearray()
    limit = 0
    while True:
        event = connection.http.next_event()
        if event is h11.NEED_DATA:
            connection.http.receive_data(bytes(await connection.stream.receive_some(READ_BYTES)))
        elif isinstance(event, h11.Response):
            head = event
            limit = limits[0 if 200 <= event.status_code < 300 else 1]
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the server closed the connection without an answer")
        if head is not None and (isinstance(event, h11.EndOfMessage) or len(content) > limit):
            return HttpAnswer(head.status_code, bytes(content), _content_type(head))


def _content_type(head: h11.Response) -> str:
    return next(
        (value.decode("latin-1") for name, value in head.headers if name == b"content-type"), ""
    )


def _ascii(netloc: str) -> str:
    return netloc if netloc.isascii() else netloc.encode("idna").decode("ascii")


def _hang_up(connection: _Connection) -> None:
    """Close at once, without a goodbye: nothing is under way."""
    connection.tcp.socket.close()


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(error, trio.BrokenResourceError) and cause is not None:
        return _reason(cause)
    return str(error) or type(error).__name__
