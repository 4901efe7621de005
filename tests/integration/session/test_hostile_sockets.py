"""A peer that does not speak WebSocket costs an attempt and never more than that."""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from bbhost.contract.version import SUBPROTOCOL
from bbhost.session.errors import ServerUnreachableError
from bbhost.session.link import Link, LinkOptions, use_link

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
Talk = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def peer(talk: Talk) -> AsyncIterator[LinkOptions]:
    """A server whose every connection is dealt with by ``talk``."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await talk(stream)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(30):
            yield LinkOptions(f"ws://127.0.0.1:{port}/internal/ws?a=b", "key", None, 5.0, 30.0)
        nursery.cancel_scope.cancel()


async def read_handshake(stream: trio.SocketStream) -> bytes:
    """Read the client's request; return what its key has to be answered with."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    (line,) = [one for one in head.split(b"\r\n") if one.lower().startswith(b"sec-websocket-key:")]
    key = line.partition(b":")[2].strip()
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(key + magic, usedforsecurity=False).digest())


async def accept(stream: trio.SocketStream) -> None:
    answer = await read_handshake(stream)
    await stream.send_all(
        UPGRADED + b"Sec-WebSocket-Accept: " + answer + b"\r\n"
        b"Sec-WebSocket-Protocol: " + SUBPROTOCOL.encode() + b"\r\n\r\n"
    )


async def live(_link: Link) -> None:
    await trio.sleep_forever()


def take(_message: object) -> None:
    """Nothing comes."""


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        UPGRADED + b"Sec-WebSocket-Accept: bm90IHRoZSBhbnN3ZXI=\r\n\r\n",
    ],
    ids=["no HTTP", "no upgrade", "wrong accept"],
)
async def test_a_handshake_that_is_none_means_unreachable(answer: bytes) -> None:
    """A proxy that answers in a server's place for a minute must not end the daemon."""

    async def talk(stream: trio.SocketStream) -> None:
        await read_handshake(stream)
        await stream.send_all(answer)

    async with peer(talk) as options:
        with pytest.raises(ServerUnreachableError):
            await use_link(options, take, live)


async def test_what_goes_wrong_in_the_body_is_not_taken_for_a_fault_of_the_peer() -> None:
    """A defect of ours is raised, not answered with a new session for ever."""

    async def fail(_link: Link) -> None:
        raise LookupError

    async with peer(accept_and_stay) as options:
        with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
            await use_link(options, take, fail)


async def accept_and_stay(stream: trio.SocketStream) -> None:
    await accept(stream)
    await stream.receive_some()
