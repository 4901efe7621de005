"""The HTTP client against real sockets: what is used again, what is bounded, what fails and how."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from bbhost.session import http_client
from bbhost.session.http_client import HttpClient, HttpError, open_http_client
from bbhost.session.server_url import parse_server_url
from tests.fakes.http_server import Application, Request, Response, ServerSocket, serve

LIMITS = (1000, 100)


async def no_socket(request: Request, subprotocols: list[str]) -> Response | str:
    return Response(404)


async def no_handler(request: Request, socket: ServerSocket) -> None:
    raise AssertionError("no socket is opened")


async def use(
    handle: Callable[[Request], Awaitable[Response | None]],
    body: Callable[[HttpClient], Awaitable[None]],
) -> None:
    application = Application(handle, no_socket, no_handler)
    with trio.fail_after(10):
        async with (
            serve(application) as url,
            open_http_client(parse_server_url(f"{url}/base"), None, {"x-key": "k"}) as client,
        ):
            await body(client)


async def use_raw(
    answer: Callable[[trio.SocketStream], Awaitable[None]],
    body: Callable[[HttpClient], Awaitable[None]],
) -> int:
    """Answer each connection by hand; return how many there were."""
    count = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal count
        count += 1
        await answer(stream)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handle, listeners)
            port = listeners[0].socket.getsockname()[1]
            url = parse_server_url(f"http://127.0.0.1:{port}")
            async with open_http_client(url, None, {}) as client:
                await body(client)
            nursery.cancel_scope.cancel()
    return count


async def test_what_is_sent_and_what_comes_back() -> None:
    """Path, query, body and headers arrive; a header of the request replaces that of the client."""
    seen: list[Request] = []

    async def handle(request: Request) -> Response:
        seen.append(request)
        return Response(201, b'{"a":1}', "application/json")

    async def body(client: HttpClient) -> None:
        answer = await client.request("POST", "/x?q=1%202", b"data", limits=LIMITS)
        assert (answer.status, answer.content) == (201, b'{"a":1}')
        assert answer.content_type == "application/json"
        await client.request("GET", "/y", limits=LIMITS, headers={"X-Key": "other"})

    await use(handle, body)
    first, second = seen
    assert (first.method, first.path, first.query) == ("POST", "/base/x", {"q": "1 2"})
    assert (first.body, first.headers["x-key"]) == (b"data", "k")
    assert first.headers["content-type"] == "application/json"
    assert (second.body, second.headers["x-key"]) == (b"", "other")


async def test_a_connection_is_used_again_until_it_has_idled_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests one after another share a connection; an old one is not trusted."""

    async def answer(stream: trio.SocketStream) -> None:
        while await stream.receive_some(4096):
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def body(client: HttpClient) -> None:
        for _ in range(3):
            assert (await client.request("GET", "/", limits=LIMITS)).content == b"ok"
        monkeypatch.setattr(http_client, "KEEP_ALIVE_SECONDS", 0.0)
        await client.request("GET", "/", limits=LIMITS)

    assert await use_raw(answer, body) == 2


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """The server hangs up after each answer; nobody notices."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await stream.aclose()

    async def body(client: HttpClient) -> None:
        for _ in range(5):
            answer = await client.request("GET", "/", limits=LIMITS)
            assert answer.content == b"ok"
            await trio.testing.wait_all_tasks_blocked(0.01)

    assert await use_raw(answer, body) == 5


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_forms_of_answers(raw: bytes, content: bytes) -> None:
    """Chunked, after an interim answer, ended by the end of the connection, and empty."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(raw)
        await stream.aclose()

    async def body(client: HttpClient) -> None:
        assert (await client.request("GET", "/", limits=LIMITS)).content == content

    await use_raw(answer, body)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_no_answer(raw: bytes) -> None:
    """Whatever is not an answer is one kind of error, and the next request goes its own way."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        try:
            await stream.send_all(raw)
        except trio.BrokenResourceError:
            return
        await stream.aclose()

    async def body(client: HttpClient) -> None:
        for _ in range(2):
            with pytest.raises(HttpError):
                await client.request("GET", "/", limits=LIMITS)

    assert await use_raw(answer, body) == 2


@pytest.mark.slow
async def test_an_answer_that_is_too_large_is_cut_off() -> None:
    """No more than the bound and one piece are read, and the connection is given up."""

    async def handle(request: Request) -> Response:
        return Response(200 if request.path == "/base/yes" else 500, b"z" * 50_000_000)

    async def body(client: HttpClient) -> None:
        for path, limit in (("/yes", 1000), ("/no", 100)):
            answer = await client.request("GET", path, limits=LIMITS)
            assert limit < len(answer.content) <= limit + http_client.READ_BYTES

    await use(handle, body)


async def test_a_refusal_before_the_body_was_read_is_heard() -> None:
    """A server may answer 413 and hang up while the request is still on its way."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await stream.send_eof()
        while await stream.receive_some(65536):
            pass

    async def body(client: HttpClient) -> None:
        answer = await client.request("POST", "/", b"x" * 20_000_000, limits=LIMITS)
        assert answer.status == 413

    await use_raw(answer, body)


async def test_nobody_listens() -> None:
    """Not connected is the same kind of error."""
    async with open_http_client(parse_server_url("http://127.0.0.1:1"), None, {}) as client:
        with pytest.raises(HttpError):
            await client.request("GET", "/", limits=LIMITS)


async def test_a_cancelled_request_leaves_its_connection() -> None:
    """Its answer cannot be taken for that of the next request."""
    hang = True

    async def handle(request: Request) -> Response:
        if hang:
            await trio.sleep(0.2)
        return Response(200, request.path.encode())

    async def body(client: HttpClient) -> None:
        nonlocal hang
        with trio.move_on_after(0.05) as scope:
            await client.request("GET", "/first", limits=LIMITS)
        assert scope.cancelled_caught
        hang = False
        answer = await client.request("GET", "/second", limits=LIMITS)
        assert answer.content == b"/base/second"

    await use(handle, body)
