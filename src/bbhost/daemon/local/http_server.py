"""A small HTTP/1.1 server over any Trio listener, for a handful of local clients.

h11 does the protocol; this module adds the connection loop and its bounds. It is used for the control
socket and for the local HTTP API, which need neither a framework nor its memory.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import h11
import trio
from attrs import field, frozen

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
"""A larger request body is answered 413 and the connection closed."""
MAX_CONNECTIONS = 64
"""Further connections wait in the kernel's backlog."""
IDLE_SECONDS = 30.0
"""A connection that sends nothing for so long is closed."""
READ_BYTES = 65_536
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 * 1024 * 1024
"""A client that is refused while it sends is listened to for so much longer: a connection that is
closed with unread data is reset, and the client may never see the answer."""


@frozen
class Request:
    """One request, its body already read."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case; of repeated headers the last counts."""
    body: bytes = b""
    peer_uid: int | None = None
    """User id of the peer of a unix socket."""

    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """Parse the body. Raises ValueError."""
        return json.loads(self.body)


@frozen
class Response:
    """One response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)


def json_response(value: object, status: int = 200, **headers: str) -> Response:
    """A response with a JSON body."""
    return Response(status, json.dumps(value).encode(), headers=headers)


def error_response(status: int, code: str, message: str) -> Response:
    """A response that says what went wrong, in the shape of the wire contract."""
    return json_response({"code": code, "message": message}, status)


Handler = Callable[[Request], Awaitable[Response]]


class _TooLargeError(Exception):
    """The request body exceeds its bound."""


class _BoundedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts only where there is a place: what was accepted holds a descriptor even while it waits."""

    def __init__(
        self, listener: trio.abc.Listener[trio.SocketStream], places: trio.Semaphore
    ) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


async def serve_http(
    listeners: Sequence[trio.abc.Listener[trio.SocketStream]],
    handler: Handler,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. A failing handler is answered 500 and ends nothing else.

    Cancellation: connections are closed at once; listeners are closed.
    """
    places = trio.Semaphore(MAX_CONNECTIONS)

    async def connection(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await _serve_connection(stream, handler)
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            return
        except Exception:
            # The bulkhead: a defect over one connection must not end the daemon.
            log.exception("a local connection failed")
        finally:
            places.release()

    bounded = [_BoundedListener(listener, places) for listener in listeners]
    async with trio.open_nursery() as connections:
        await connections.start(trio.serve_listeners, connection, bounded)
        task_status.started()


async def _serve_connection(stream: trio.SocketStream, handler: Handler) -> None:
    peer_uid = _peer_uid(stream)
    connection = h11.Connection(h11.SERVER)
    while True:
        try:
            with trio.fail_after(IDLE_SECONDS):
                request = await _read_request(connection, stream, peer_uid)
        except trio.TooSlowError:
            return
        except _TooLargeError:
            await _send(
                connection, stream, error_response(413, "too_large", "Body too large"), close=True
            )
            await _linger(stream)
            return
        except h11.RemoteProtocolError as error:
            if connection.our_state is h11.IDLE:
                response = error_response(error.error_status_hint, "invalid_request", str(error))
                await _send(connection, stream, response, close=True)
            return
        if request is None:
            return
        try:
            response = await handler(request)
        except Exception:
            log.exception("local request failed: %s %s", request.method, request.path)
            response = error_response(
                500, "internal_error", "Internal error; see the daemon's log"
            )
        await _send(connection, stream, response, head_only=request.method == "HEAD")
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()


async def _next_event(
    connection: h11.Connection, stream: trio.SocketStream
) -> h11.Event | type[h11.PAUSED]:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event  # type: ignore[return-value] # h11 types NEED_DATA and PAUSED alike
        if connection.they_are_waiting_for_100_continue:
            await stream.send_all(
                connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            )
        connection.receive_data(await stream.receive_some(READ_BYTES))


async def _read_request(
    connection: h11.Connection, stream: trio.SocketStream, peer_uid: int | None
) -> Request | None:
    event = await _next_event(connection, stream)
    if not isinstance(event, h11.Request):
        return None
    body = bytearray()
    while True:
        part = await _next_event(connection, stream)
        if isinstance(part, h11.EndOfMessage):
            break
        if isinstance(part, h11.Data):
            body += part.data
            if len(body) > MAX_BODY_BYTES:
                raise _TooLargeError
    path, _, query = event.target.decode("latin-1").partition("?")
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in event.headers
    }
    return Request(event.method.decode("ascii"), path, query, headers, bytes(body), peer_uid)


async def _send(
    connection: h11.Connection,
    stream: trio.SocketStream,
    response: Response,
    *,
    close: bool = False,
    head_only: bool = False,
) -> None:
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        *response.headers.items(),
    ]
    if close:
        headers.append(("connection", "close"))
    data = connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
    if not head_only:
        data += connection.send(h11.Data(data=response.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    with trio.move_on_after(IDLE_SECONDS):
        await stream.send_all(data)


async def _linger(stream: trio.SocketStream) -> None:
    """Throw away what a client still sends, within bounds."""
    with trio.move_on_after(LINGER_SECONDS):
        await stream.send_eof()
        left = LINGER_BYTES
        while left > 0 and (data := await stream.receive_some(READ_BYTES)):
            left -= len(data)


def _peer_uid(stream: trio.SocketStream) -> int | None:
    import socket
    import struct

    if stream.socket.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)
