"""How many local clients the daemon takes in at a time."""

from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.daemon.local import http_server
from bbhost.daemon.local.http_server import Request, Response, serve_http


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_those_beyond_the_bound_cost_no_descriptor_of_the_daemon() -> None:
    """They wait in the kernel: a local page that opens a thousand must not keep git from its pipes."""
    limit = http_server.MAX_CONNECTIONS

    async def answer(_request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, [listener], answer)
            before = descriptors()
            clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(limit + 20)]
            await wait_all_tasks_blocked(0.05)
            opened = descriptors() - before
            assert opened == len(clients) + limit
            for client in clients[:20]:
                await client.aclose()
            request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            await clients[-1].send_all(request)
            assert (await clients[-1].receive_some(100)).startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()
    for client in clients:
        await trio.aclose_forcefully(client)


async def test_a_request_for_the_head_alone_is_answered_without_a_body() -> None:
    """Any web page can send one; it gets the length of the body, and the connection stays usable."""

    async def answer(_request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, b"ok")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, [listener], answer)
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
                head = bytes(await client.receive_some(1000))
                assert head.startswith(b"HTTP/1.1 200")
                assert b"content-length: 2\r\n" in head
                assert head.endswith(b"\r\n\r\n")
                await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert bytes(await client.receive_some(1000)).endswith(b"\r\n\r\nok")
            nursery.cancel_scope.cancel()


async def test_an_answer_that_cannot_be_sent_ends_its_connection_and_nothing_else() -> None:
    """The server is a part of the daemon; a defect over one request must not end the daemon."""

    async def answer(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(headers={"not a name": "x"} if request.path == "/broken" else {})

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_http, [listener], answer)
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await client.receive_some(1000) == b""
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await client.receive_some(1000)).startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()
