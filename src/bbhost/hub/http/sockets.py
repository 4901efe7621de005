"""Running one accepted WebSocket: a reader that hands over, a writer that drains an outbox."""

from collections.abc import Callable
from typing import TypeVar

import trio

from bbhost.hub.config import HubConfig
from bbhost.hub.http.asgi import Receive, Send
from bbhost.hub.services.outbox import CLOSE_TOO_BIG, Closing, Outbox

T = TypeVar("T")
CLOSE_UNSUPPORTED = 1003


class HangUp(Exception):
    """Raised by a message handler to close the socket.

    Args:
        code: WebSocket close code.
        reason: short text for programs.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def accept_socket(receive: Receive, send: Send, subprotocol: str | None) -> bool:
    """Accept the handshake. False where the client has gone already."""
    if (await receive())["type"] != "websocket.connect":
        return False
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
    return True


async def run_socket(  # one socket's worth of facts
    receive: Receive,
    send: Send,
    outbox: Outbox[T],
    *,
    encode: Callable[[T], str],
    handle: Callable[[str], None],
    longest_message: int,
    config: HubConfig,
) -> None:
    """Run an accepted socket until either side ends it.

    Args:
        handle: takes each text message; must not block. Raises :class:`HangUp` to close.
        longest_message: characters; longer ones close the socket with 1009.

    Cancellation: the socket is dropped; whoever stops the hub closes outboxes first.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_write, send, outbox, encode, config, nursery.cancel_scope)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                break
            try:
                _hand_over(message.get("text"), handle, longest_message)
            except HangUp as end:
                outbox.finish(end.code, end.reason)
        nursery.cancel_scope.cancel("the client has gone")


def _hand_over(text: str | None, handle: Callable[[str], None], longest_message: int) -> None:
    if text is None:
        raise HangUp(CLOSE_UNSUPPORTED, "text-only")
    if len(text) > longest_message:
        raise HangUp(CLOSE_TOO_BIG, "message-too-big")
    handle(text)


async def _write(
    send: Send,
    outbox: Outbox[T],
    encode: Callable[[T], str],
    config: HubConfig,
    socket: trio.CancelScope,
) -> None:
    while True:
        message = await outbox.take()
        if isinstance(message, Closing):
            break
        await send({"type": "websocket.send", "text": encode(message)})
    await send({"type": "websocket.close", "code": message.code, "reason": message.reason})
    # The client answers the close, which ends the reader; one that does not is dropped.
    await trio.sleep(config.timings.linger_seconds)
    socket.cancel("the client did not close")
