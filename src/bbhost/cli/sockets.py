"""WebSockets of the hub: change notifications, attached terminals, streams of events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A whole replay of a terminal fits; longer messages end the connection."""
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 1.0


@asynccontextmanager
async def open_socket(server: Server, path: str) -> AsyncIterator[WebSocketConnection]:
    """Hold a socket of the hub.

    Raises:
        CommandError: it cannot be opened, or the hub refuses it. Its end is ``ConnectionClosed``, for the caller.
    """
    url = f"ws{server.url.removeprefix('http')}/api/v1{path}"
    headers = [(b"authorization", f"Bearer {server.token}".encode())] if server.token else []
    try:
        async with open_websocket_url(
            url,
            extra_headers=headers,
            max_message_size=MAX_MESSAGE_BYTES,
            connect_timeout=CONNECT_SECONDS,
            disconnect_timeout=CLOSE_SECONDS,
        ) as socket:
            yield socket
    except ConnectionRejected as error:
        raise _refusal(error) from error
    except HandshakeError as error:
        raise CommandError(
            Outcome.UNREACHABLE, f"The hub at {server.url} did not open a socket"
        ) from error


async def messages(socket: WebSocketConnection) -> AsyncGenerator[str, None]:
    """Give each text message until the socket ends. Use with ``aclosing``."""
    while True:
        try:
            message = await socket.get_message()
        except ConnectionClosed:
            return
        yield message if isinstance(message, str) else message.decode("utf-8", "replace")


def _refusal(error: ConnectionRejected) -> CommandError:
    from bbhost.cli.client import refusal  # not needed by those whose socket is opened

    try:
        described: object = json.loads(error.body or b"")
    except ValueError:
        described = None
    return refusal(error.status_code, described)
