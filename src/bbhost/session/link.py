"""One socket to the server: opened, kept alive, read, written, closed. The only use of trio_websocket.

The library stops reading, and so stops answering pings, while nobody takes its messages. Hence one
pump task that only decodes and hands over; whoever receives must return at once.

Liveness is counted in heartbeats without an answered ping, not in seconds: after the machine was
suspended a single late beat proves nothing, and silence of a busy network is not yet death. A pump
that is stuck cannot see the answers, so the same count notices it.
"""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from logging import getLogger
from socket import SO_SNDBUF, SOL_SOCKET
from urllib.parse import urlsplit

import trio
from attrs import frozen
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from bbhost.contract.messages import (
    DaemonMessage,
    Heartbeat,
    ServerMessage,
    SessionClose,
    encode_message,
    parse_server_message,
)
from bbhost.contract.version import SUBPROTOCOL
from bbhost.errors import WireError
from bbhost.lifecycle.session import EndCause
from bbhost.session.errors import LinkClosedError, ServerRefusedError, ServerUnreachableError
from bbhost.toolkit.groups import first_of

log = getLogger(__name__)

CONNECT_SECONDS = 10.0
"""Wait for the socket to open."""
CLOSE_SECONDS = 2.0
"""Wait for the last message, and then again for the other side to agree that it is over."""
SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel holds for us; Linux takes twice as much. Left to itself it grows to megabytes when a terminal
floods, and whatever is typed in another one has its echo behind them."""
MESSAGE_BYTES_LIMIT = 1024 * 1024
"""Largest message taken from the server. Beyond it the socket is closed (1009) and opened anew."""
REASON_SECONDS = 1.0
"""Wait for the server to say why, when a request has learnt that the session is gone."""

INVALID_LIMIT = 20
"""Messages of one socket that may be wrong and are ignored; one more closes the socket."""

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_CAUSES = {
    "expired": EndCause.EXPIRED,
    "replaced": EndCause.REPLACED,
    "daemon-disconnect": EndCause.DISMISSED,
    "inactive-session": EndCause.INACTIVE,
}
"""What a ``session-close`` message, or the reason in a closing frame, means."""


@frozen
class LinkOptions:
    """How to open a link and how to keep it alive."""

    url: str
    """``ws`` or ``wss`` address with its query."""
    host_key: str
    tls: ssl.SSLContext | None
    heartbeat_seconds: float
    lease_seconds: float
    """Without any answered ping for about this long, the link is given up."""

    @property
    def silent_beats(self) -> int:
        """Heartbeats without an answered ping after which the link is given up."""
        return max(2, round(self.lease_seconds / self.heartbeat_seconds))


@frozen
class LinkEnd:
    """Why a link ended."""

    cause: EndCause
    detail: str
    """For the log."""


class Link:
    """An open socket. Given to the body of :func:`use_link`."""

    def __init__(self, socket: WebSocketConnection, options: LinkOptions) -> None:
        self._socket = socket
        self._options = options
        # No buffer: whoever sends waits until the writer takes the message. That is the flow
        # control of terminals, and the only copy of a message is its sender's.
        self._outgoing, self._to_write = trio.open_memory_channel[str](0)
        self._ended = trio.Event()
        self._end: LinkEnd | None = None
        self._doubts = trio.Event()
        self._doubted: LinkEnd | None = None
        self._beats_in_silence = 0
        self._invalid = 0

    async def send(self, message: DaemonMessage) -> None:
        """Send ``message`` after those of earlier callers; waits while the socket is congested.

        Cancellation: the message goes out whole or not at all.

        Raises:
            LinkClosedError: the link has ended, or is being closed.
        """
        await self.send_text(encode_message(message))

    async def send_text(self, text: str) -> None:
        """Send a message that is encoded already; see :meth:`send`."""
        try:
            await self._outgoing.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosedError("the socket to the server is closed") from None

    def end(self, cause: EndCause, detail: str) -> None:
        """Give the link up now. The first cause stays."""
        if self._end is None:
            self._end = LinkEnd(cause, detail)
        self._ended.set()

    def doubt(self, cause: EndCause, detail: str) -> None:
        """Give the link up in a moment, unless the server says first why it ended the session.

        A request may learn that the session is gone just before the socket brings the reason, and
        the reason decides: a daemon that was replaced must not come back.
        """
        if self._doubted is None:
            self._doubted = LinkEnd(cause, detail)
        self._doubts.set()

    async def close(self) -> None:
        """Finish the message that is being written, then end the link. Takes at most CLOSE_SECONDS."""
        self._outgoing.close()
        with trio.move_on_after(CLOSE_SECONDS):
            await self._ended.wait()
        self.end(EndCause.STOPPED, "closed by this daemon")

    # --- the tasks of a link ----------------------------------------------------------------

    async def run(
        self,
        on_message: Callable[[ServerMessage], None],
        body: Callable[["Link"], Awaitable[None]],
    ) -> LinkEnd:
        """Keep the link alive until it ends, and ``body`` beside it. For :func:`use_link`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, on_message)
                nursery.start_soon(self._write)
                nursery.start_soon(self._ping)
                nursery.start_soon(self._beat)
                nursery.start_soon(self._await_reason)
                nursery.start_soon(self._run_body, body)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._outgoing.close()
            self._to_write.close()
        assert self._end is not None
        return self._end

    async def _await_reason(self) -> None:
        await self._doubts.wait()
        await trio.sleep(REASON_SECONDS)
        assert self._doubted is not None
        self.end(self._doubted.cause, self._doubted.detail)

    async def _run_body(self, body: Callable[["Link"], Awaitable[None]]) -> None:
        await body(self)
        await self.close()

    async def _pump(self, on_message: Callable[[ServerMessage], None]) -> None:
        while True:
            try:
                data = await self._socket.get_message()
            except ConnectionClosed as closed:
                self.end(*_cause_of(closed))
                return
            self._take(data, on_message)

    def _take(self, data: str | bytes, on_message: Callable[[ServerMessage], None]) -> None:
        try:
            message = parse_server_message(data)
        except WireError as error:
            self._ignore(error)
            return
        if isinstance(message, SessionClose):
            cause = _CAUSES.get(message.reason, EndCause.CLOSED)
            self.end(cause, f"the server closed the session: {message.reason}")
            return
        on_message(message)

    def _ignore(self, error: WireError) -> None:
        """A message of a newer server, or a wrong one, is dropped; a flood of them ends the link."""
        self._invalid += 1
        if self._invalid > INVALID_LIMIT:
            self.end(EndCause.INVALID_MESSAGE, f"too many invalid messages, the last: {error}")
        else:
            log.warning("ignored a message of the server: %s", error)

    async def _write(self) -> None:
        try:
            async for text in self._to_write:
                await self._socket.send_message(text)
        except ConnectionClosed as closed:
            self.end(*_cause_of(closed))
            return
        self.end(EndCause.STOPPED, "closed by this daemon")

    async def _ping(self) -> None:
        try:
            while True:
                await self._socket.ping()
                self._beats_in_silence = 0
                await trio.sleep(self._options.heartbeat_seconds)
        except ConnectionClosed:
            return  # the pump says why

    async def _beat(self) -> None:
        heartbeat = encode_message(Heartbeat())
        while True:
            await trio.sleep(self._options.heartbeat_seconds)
            self._beats_in_silence += 1
            if self._beats_in_silence > self._options.silent_beats:
                self.end(EndCause.SILENT, "the server did not answer pings")
                return
            try:
                self._outgoing.send_nowait(heartbeat)
            except trio.WouldBlock:
                continue  # another message is being written, and renews the lease as well
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


async def use_link(
    options: LinkOptions,
    on_message: Callable[[ServerMessage], None],
    body: Callable[[Link], Awaitable[None]],
) -> LinkEnd:
    """Open a link, run ``body`` beside it, and say why it ended.

    When the link ends, ``body`` is cancelled; when ``body`` returns, the link is closed in good
    order.

    Args:
        options: where and how.
        on_message: called with each message of the server, except ``session-close``, in order; it
            must return at once.
        body: what to do while the link is open.

    Raises:
        ServerRefusedError: the server refused the handshake.
        ServerUnreachableError: the socket could not be opened in time.
        ExceptionGroup: what ``body`` or ``on_message`` raised.

    Cancellation: the connection is cut at once, without a goodbye.
    """
    deadline = trio.current_time() + CONNECT_SECONDS
    stream = await _connect(options, deadline)
    # The library leaves the stream open when the other side ends the WebSocket.
    try:
        return await _use_stream(stream, options, deadline, on_message, body)
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(options: LinkOptions, deadline: float) -> _Stream:
    parts = urlsplit(options.url)
    assert parts.hostname is not None
    try:
        with trio.fail_at(deadline):
            default_port = 80 if options.tls is None else 443
            tcp = await trio.open_tcp_stream(parts.hostname, parts.port or default_port)
            with suppress(OSError):  # it has been closed by the other side
                tcp.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
            if options.tls is None:
                return tcp
            secured = trio.SSLStream(
                tcp, options.tls, server_hostname=parts.hostname, https_compatible=True
            )
            try:
                await secured.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(secured)
                raise
            return secured
    except trio.TooSlowError as error:
        raise ServerUnreachableError("no connection for the socket in time") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise ServerUnreachableError(f"no connection for the socket: {error}") from error


async def _use_stream(
    stream: _Stream,
    options: LinkOptions,
    deadline: float,
    on_message: Callable[[ServerMessage], None],
    body: Callable[[Link], Awaitable[None]],
) -> LinkEnd:
    parts = urlsplit(options.url)
    rejected: ConnectionRejected | None = None
    socket = end = broken = None
    try:
        async with trio.open_nursery() as reader:
            with trio.move_on_at(deadline):
                socket = await wrap_client_stream(
                    reader,
                    stream,
                    parts.netloc,
                    f"{parts.path}?{parts.query}",
                    subprotocols=[SUBPROTOCOL],
                    extra_headers=[(b"Authorization", f"Bearer {options.host_key}".encode())],
                    max_message_size=MESSAGE_BYTES_LIMIT,
                )
            if socket is not None:
                end = await Link(socket, options).run(on_message, body)
                with trio.move_on_after(CLOSE_SECONDS):
                    await socket.aclose()
            reader.cancel_scope.cancel()
    except* ConnectionRejected as group:
        rejected = first_of(group, ConnectionRejected)
    except* Exception as group:
        if any(isinstance(one, ExceptionGroup) for one in group.exceptions):
            raise  # of the link's own nursery
        # The library's reader means to answer a peer that breaks the protocol, which may not be possible.
        broken = first_of(group, Exception)
    if rejected is not None:
        raise ServerRefusedError(
            rejected.status_code, "", "the socket was refused", retryable=True
        ) from rejected
    if socket is None:
        why = f"what answered is no WebSocket: {broken}" if broken else "it was not opened in time"
        raise ServerUnreachableError(f"no socket: {why}") from broken
    return end or LinkEnd(EndCause.CLOSED, f"the other side broke the protocol: {broken}")


def _cause_of(closed: ConnectionClosed) -> tuple[EndCause, str]:
    reason = closed.reason
    if reason is None:
        return EndCause.CLOSED, "the connection was lost"
    cause = _CAUSES.get(reason.reason or "", EndCause.CLOSED)
    return cause, f"the socket was closed: {reason.code} {reason.reason or reason.name}"
