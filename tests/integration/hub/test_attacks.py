"""Who must not get in: one test for each class of attack on a local server."""

import contextlib
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from bbhost.errors import ConfigError
from bbhost.hub.config import HubConfig, HubLimits
from bbhost.hub.run import HubAddress, run_hub
from bbhost.hub.tokens import load_or_create_token
from tests.fakes.contract_daemon import ContractDaemon, RefusedError, open_socket
from tests.integration.hub.conftest import api_client

SOCKETS = ("/api/v1/ws", "/api/v1/terminals/t/attach", "/api/v1/threads/t/stream")


def own(hub: HubAddress) -> str:
    """Return the hub's own origin."""
    return hub.url


async def handshake(
    hub: HubAddress,
    resource: str = "/api/v1/ws",
    *,
    subprotocols: tuple[str, ...] = (),
    **headers: str,
) -> int:
    """Return the status of a WebSocket handshake."""
    try:
        async with open_socket(hub.url, resource, subprotocols, list(headers.items())):
            return 101
    except RefusedError as refused:
        return refused.status


def every_route(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (method, path) of every documented HTTP operation."""
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "x-websocket" not in operation and path != "/health"
    ]


# --- no credential --------------------------------------------------------------------------


@pytest.mark.slow
async def test_every_route_asks_for_the_token(hub: HubAddress, api: httpx.AsyncClient) -> None:
    """No token, a wrong one, one in the URL, or an enroll key: 401 everywhere."""
    routes = every_route((await api.get("/openapi.json")).json())
    assert len(routes) > 35
    async with httpx.AsyncClient(base_url=hub.url, verify=False) as anonymous:
        for method, path in [*routes, ("GET", "/"), ("GET", "/api/v1/nothing")]:
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Basic {hub.token}"},
                {"x-token": str(hub.token)},
            ):
                response = await anonymous.request(
                    method, path, headers=headers, params={"token": str(hub.token)}
                )
                assert response.status_code == 401, (method, path)
    for resource in SOCKETS:
        assert await handshake(hub, resource) == 401
        assert await handshake(hub, f"{resource}?token={hub.token}") == 401
        assert await handshake(hub, resource, Authorization="Bearer wrong") == 401


@pytest.mark.slow
async def test_the_internal_routes_ask_for_a_host_key(
    hub: HubAddress, daemon: ContractDaemon
) -> None:
    """The public token opens none of them, nor does a host key open the public API."""
    async with httpx.AsyncClient(base_url=hub.url, verify=False) as client:
        for key in ("none", str(hub.token), daemon.host_key + "x"):
            for path in ("/internal/session/open", "/internal/nothing"):
                response = await client.post(
                    path, json={}, headers={"authorization": f"Bearer {key}"}
                )
                assert response.status_code == 401, (key, path)
        response = await client.get(
            "/api/v1/hosts", headers={"authorization": f"Bearer {daemon.host_key}"}
        )
        assert response.status_code == 401


@pytest.mark.slow
async def test_health_tells_nothing(hub: HubAddress, daemon: ContractDaemon) -> None:
    """Anyone may know that it serves, and no more."""
    await daemon.open()
    async with httpx.AsyncClient(base_url=hub.url, verify=False) as client:
        response = await client.get("/health")
    assert response.json() == {"status": "ok"}
    assert "server" not in response.headers


async def test_the_token_by_subprotocol_for_browsers(hub: HubAddress) -> None:
    """A page of the hub's own origin carries it in a subprotocol; the hub never echoes that."""
    offered = ("bbhost.v1", f"bbhost.bearer.{hub.token}")
    async with open_socket(hub.url, "/api/v1/ws", offered, [("Origin", own(hub))]) as socket:
        assert socket.connection.subprotocol == "bbhost.v1"
        assert await socket.receive() == {"type": "hello"}
    assert await handshake(hub, subprotocols=("bbhost.v1", "bbhost.bearer.wrong")) == 401


# --- binding --------------------------------------------------------------------------------


async def test_it_never_listens_beyond_loopback_without_a_token(tmp_path: Path) -> None:
    """Refused before anything is opened."""
    for host in ("0.0.0.0", "192.0.2.1", "example.invalid", "::"):
        config = HubConfig(tmp_path / "hub", host=host, port=0, require_token=False)
        with pytest.raises(ConfigError, match="without a token"):
            await run_hub(config)
    assert not (tmp_path / "hub").exists()


# --- pages of other origins -----------------------------------------------------------------


@pytest.mark.slow
async def test_a_foreign_page_cannot_open_a_socket(hub: HubAddress) -> None:
    """Cross-site WebSocket hijacking: foreign and ``null`` are refused even with the token."""
    token = {"Authorization": f"Bearer {hub.token}"}
    for origin in ("http://evil.example", "null", own(hub).replace("http:", "https:")):
        assert await handshake(hub, Origin=origin, **token) == 403
        assert await handshake(hub, Origin=origin) == 403
    assert await handshake(hub, Origin=own(hub), **token) == 101
    assert await handshake(hub, **token) == 101


async def test_without_a_token_a_socket_needs_the_own_origin(
    start_hub: Any, tmp_path: Path
) -> None:
    """Where no token is asked for, foreign, ``null`` and missing are all refused."""
    hub = await start_hub(HubConfig(tmp_path / "open", port=0, require_token=False))
    assert hub.token is None
    assert await handshake(hub) == 403
    assert await handshake(hub, Origin="null") == 403
    assert await handshake(hub, Origin="http://evil.example") == 403
    assert await handshake(hub, Origin=own(hub)) == 101


@pytest.mark.slow
async def test_a_foreign_page_cannot_send_requests(
    hub: HubAddress, api: httpx.AsyncClient
) -> None:
    """Origin and Sec-Fetch-Site tell; a program sends neither."""
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert (await api.get("/hosts", headers=headers)).status_code == 403
        assert (await api.post("/hosts/join", json={}, headers=headers)).status_code == 403
    assert (await api.get("/hosts", headers={"origin": own(hub)})).status_code == 200


@pytest.mark.slow
async def test_simple_requests_are_refused_before_their_body_is_read(
    hub: HubAddress, api: httpx.AsyncClient
) -> None:
    """A form or text post never reaches a handler: 415, also for daemons' routes."""
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/jsonx",
    ):
        headers = {"content-type": content_type} if content_type else {}
        response = await api.post("/hosts/join", content=b"{}", headers=headers)
        assert response.status_code == 415, content_type
        response = await api.post(
            f"{hub.url}/internal/hosts/enroll", content=b"{}", headers=headers
        )
        assert response.status_code == 415
    response = await api.post(
        "/hosts/join", content=b"{}", headers={"content-type": "application/json; charset=utf-8"}
    )
    assert response.status_code == 201


@pytest.mark.slow
async def test_an_endless_body_of_the_wrong_type_is_not_awaited(hub: HubAddress) -> None:
    """415 comes although the announced body never does."""
    stream = await trio.open_tcp_stream("127.0.0.1", hub.port)
    async with stream:
        await stream.send_all(
            b"POST /api/v1/hosts/join HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: text/plain\r\nContent-Length: 999\r\n\r\n"
            % (hub.port, str(hub.token).encode())
        )
        with trio.fail_after(5):
            assert b" 415 " in await stream.receive_some(1000)


# --- DNS rebinding --------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_rebound_name_is_refused(hub: HubAddress, api: httpx.AsyncClient) -> None:
    """The Host header decides, also where Origin agrees with it and the token is right."""
    for host in (
        f"evil.example:{hub.port}",
        "evil.example",
        "127.0.0.1",
        f"127.0.0.1:{hub.port + 1}",
        f"localhost.evil.example:{hub.port}",
        "",
    ):
        headers = {"host": host, "origin": f"http://{host}"}
        for path in ("/hosts", f"{hub.url}/health", f"{hub.url}/internal/session/open"):
            response = await api.get(path, headers=headers)
            assert response.status_code == 403, (host, path)
    for host in (f"localhost:{hub.port}", f"[::1]:{hub.port}", f"LOCALHOST:{hub.port}"):
        assert (await api.get("/hosts", headers={"host": host})).status_code == 200


@pytest.mark.slow
async def test_two_host_headers_are_refused(hub: HubAddress) -> None:
    """One of them may be a lie."""
    stream = await trio.open_tcp_stream("127.0.0.1", hub.port)
    async with stream:
        host = f"Host: 127.0.0.1:{hub.port}\r\n"
        await stream.send_all(f"GET /health HTTP/1.1\r\n{host}{host}\r\n".encode())
        with trio.fail_after(5):
            assert b" 400 " in await stream.receive_some(1000)


# --- other local users ----------------------------------------------------------------------


async def test_the_token_file_is_private_and_made_once(hub: HubAddress, tmp_path: Path) -> None:
    """0600 in a 0700 directory; the next start uses the same token."""
    path = tmp_path / "hub" / "hub-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "hub" / "hub.db").stat().st_mode) == 0o600
    assert path.read_text().strip() == hub.token
    assert load_or_create_token(path) == hub.token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_token_others_could_use_is_refused(tmp_path: Path, mode: int) -> None:
    """Readable or writable by anyone else: named, and not used."""
    path = tmp_path / "token"
    load_or_create_token(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="can be used by others"):
        load_or_create_token(path)


def test_a_token_behind_a_link_or_without_content_is_refused(tmp_path: Path) -> None:
    """Links, directories, empty and malformed files are no tokens."""
    good = tmp_path / "good"
    load_or_create_token(good)
    link = tmp_path / "link"
    link.symlink_to(good)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "elsewhere")
    empty = tmp_path / "empty"
    empty.touch(0o600)
    odd = tmp_path / "odd"
    odd.touch(0o600)
    odd.write_text("a token with spaces in it")
    for path in (link, dangling, empty, odd, tmp_path):
        with pytest.raises(ConfigError):
            load_or_create_token(path)
    assert not (tmp_path / "elsewhere").exists()


async def test_host_keys_are_not_stored(
    hub: HubAddress, daemon: ContractDaemon, tmp_path: Path
) -> None:
    """Neither database nor write-ahead log holds a key or the token in clear."""
    await daemon.open()
    for name in ("hub.db", "hub.db-wal"):
        content = (tmp_path / "hub" / name).read_bytes()
        assert daemon.host_key.encode() not in content
        assert str(hub.token).encode() not in content


# --- too much, too slow ---------------------------------------------------------------------


@pytest.fixture
async def tight(start_hub: Any, tmp_path: Path) -> HubAddress:
    """A hub with small limits."""
    limits = HubLimits(
        public_body_bytes=1000, connections=8, websocket_message_bytes=2000,
        public_message_bytes=500, attachment_bytes=1000,
    )  # fmt: skip
    return await start_hub(
        HubConfig(tmp_path / "tight", port=0, limits=limits),
        header_seconds=0.3, body_seconds=0.3, write_seconds=0.3, linger_seconds=0.2,
    )  # fmt: skip


async def test_bodies_are_bounded(tight: HubAddress) -> None:
    """413 by the announced length and by what really comes; 408 when it does not come."""
    async with api_client(tight) as api:
        big = b'{"hostId":"' + b"x" * 2000 + b'"}'
        headers = {"content-type": "application/json"}
        assert (await api.post("/hosts/join", content=big, headers=headers)).status_code == 413

        async def chunks() -> Any:
            for _ in range(4):
                yield big

        response = await api.post("/hosts/join", content=chunks(), headers=headers)
        assert response.status_code == 413
        headers["content-type"] = "application/octet-stream"
        path = "/projects/p/attachments?name=x"
        assert (await api.post(path, content=big, headers=headers)).status_code == 413

        async def stalls() -> Any:
            yield b"{"
            await trio.sleep_forever()

        with trio.fail_after(5):
            headers["content-type"] = "application/json"
            async with trio.open_nursery() as nursery:
                response = await api.post("/hosts/join", content=b"{", headers=headers)
                assert response.status_code == 400
                nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_body_that_does_not_come_is_408(tight: HubAddress) -> None:
    """The connection is closed with it."""
    stream = await trio.open_tcp_stream("127.0.0.1", tight.port)
    async with stream:
        await stream.send_all(
            b"POST /api/v1/hosts/join HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99\r\n\r\n{" % (tight.port, str(tight.token).encode())
        )
        with trio.fail_after(5):
            assert b" 408 " in await stream.receive_some(1000)
            while await stream.receive_some(1000):
                pass


@pytest.mark.slow
async def test_a_slow_request_head_is_cut_off(tight: HubAddress) -> None:
    """Trickling headers do not keep a connection."""
    stream = await trio.open_tcp_stream("127.0.0.1", tight.port)
    async with stream:
        await stream.send_all(b"GET /health HTTP/1.1\r\nX: ")
        with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
            async with trio.open_nursery() as nursery:

                async def trickle() -> None:
                    while True:
                        await trio.sleep(0.05)
                        with contextlib.suppress(trio.BrokenResourceError):
                            await stream.send_all(b"x")

                nursery.start_soon(trickle)
                assert await stream.receive_some(1000) == b""
                nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_connections_are_bounded_and_given_back(tight: HubAddress) -> None:
    """Beyond the bound a connection is closed at once; when others end there is room again."""
    streams = [await trio.open_tcp_stream("127.0.0.1", tight.port) for _ in range(9)]
    with trio.fail_after(5):
        assert await streams[-1].receive_some(1) == b""
        for stream in streams:
            await stream.aclose()
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with api_client(tight) as api:
                    if (await api.get("/hosts")).status_code == 200:
                        break


async def test_large_messages_close_the_socket(tight: HubAddress) -> None:
    """1009, whether the library or the route finds it."""
    for size in (600, 5000):
        token = [("Authorization", f"Bearer {tight.token}")]
        async with open_socket(tight.url, "/api/v1/ws", (), token) as socket:
            await socket.connection.send_message("x" * size)
            assert (await socket.wait_closed())[0] == 1009


async def test_a_client_that_floods_after_its_refusal_is_dropped(tight: HubAddress) -> None:
    """Its connection is gone soon, and nothing of it stays behind."""
    token = [("Authorization", f"Bearer {tight.token}")]
    async with open_socket(tight.url, "/api/v1/ws", (), token) as socket:
        with trio.fail_after(5), contextlib.suppress(Exception):
            while True:
                await socket.connection.send_message("flood")
    async with api_client(tight) as api:
        assert (await api.get("/hosts")).status_code == 200


async def test_http2_is_answered_but_not_served(hub: HubAddress) -> None:
    """One protocol less whose limits would have to be defended."""
    async with httpx.AsyncClient(
        base_url=hub.url, http1=False, http2=True, verify=False
    ) as client:
        response = await client.get("/health")
    assert response.status_code == 505
