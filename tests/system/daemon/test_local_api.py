"""The local HTTP API of the daemon process: its routes, who may use them, and its port."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import HOST_ID, DaemonProcess, run_daemon_process

pytestmark = pytest.mark.slow


@frozen
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def allowed_origin(self) -> str | None:
        return self.headers.get("access-control-allow-origin")


async def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Make one request; keywords are headers, with ``_`` for ``-``."""
    fields = {"host": f"127.0.0.1:{port}", "connection": "close", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        received = b""
        async for chunk in stream:
            received += chunk
    top, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    parsed = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), parsed, rest)


async def exist(port: int, body: object, **headers: str) -> Answer:
    headers = {"content_type": "application/json"} | headers
    return await ask(port, "POST", "/paths/exist", json.dumps(body).encode(), **headers)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening_addresses(daemon: DaemonProcess) -> set[str]:
    """Local addresses of its listening TCP sockets, as the kernel writes them."""
    inodes = set()
    for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            found = re.match(r"socket:\[(\d+)\]", str(entry.readlink()))
        except OSError:
            continue
        if found:
            inodes.add(found[1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                addresses.add(columns[1])
    return addresses


async def test_routes_and_who_may_use_them(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """Every route answers as the contract says; foreign hosts and origins are refused before it does."""
    port = free_port()
    flags = ("--local-port", str(port), "--app-url", "https://app.example.invalid/x")
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, *flags) as daemon:
            assert listening_addresses(daemon) == {f"0100007F:{port:04X}"}
            health = await ask(port, "GET", "/health")
            assert (health.status, health.body) == (200, b"ok")
            assert health.allowed_origin is None

            async def connected() -> bool:
                return (await ask(port, "GET", "/status")).json()["connected"] is True

            await daemon.poll(connected)
            assert (await ask(port, "GET", "/status?x=1")).json() == {
                "hostId": HOST_ID,
                "connected": True,
                "protocolVersion": 26,
                "serverUrl": server.url,
                "supportsNativeFolderPicker": False,
                "platform": "linux",
            }
            assert (await ask(port, "GET", "/workspace-open-targets")).json() == {"targets": []}
            await _check_paths(port, tmp_path)
            for method, path in (
                ("POST", "/open-in-target"),
                ("POST", "/pick-folder"),
                ("GET", "/provider-clis/status"),
                ("POST", "/provider-clis/install"),
            ):
                answer = await ask(port, method, path)
                assert (answer.status, answer.json()["code"]) == (501, "not_implemented")
            assert (await ask(port, "GET", "/nothing")).status == 404
            assert (await ask(port, "POST", "/health")).status == 405
            await _check_origins(server, port)
            for host in ("evil.invalid", f"evil.invalid:{port}", "127.0.0.1", "localhost:1", ""):
                assert (await ask(port, "GET", "/health", host=host)).status == 403
            for host in (f"localhost:{port}", f"LOCALHOST:{port}"):
                assert (await ask(port, "GET", "/health", host=host)).status == 200
            assert await daemon.terminate() == 0
        with pytest.raises(OSError, match=r"all attempts"):
            await trio.open_tcp_stream("127.0.0.1", port)


async def _check_paths(port: int, tmp_path: Path) -> None:
    there, gone = str(tmp_path), str(tmp_path / "gone")
    file = tmp_path / "file"
    file.touch()
    paths = [there, there, gone, f"{file}/below", "nul\0"]
    assert (await exist(port, {"paths": paths, "extra": 1})).json() == {
        "existence": {there: True, gone: False, f"{file}/below": False, "nul\0": False}
    }
    too_long = str(tmp_path / ("x" * 300))  # ENAMETOOLONG: cannot be looked at
    assert (await exist(port, {"paths": [too_long]})).json()["existence"] == {too_long: True}
    for body in ({}, {"paths": []}, {"paths": [""]}, {"paths": ["x"] * 201}, {"paths": [1]}, []):
        assert (await exist(port, body)).status == 400, body
    broken = await ask(port, "POST", "/paths/exist", b"{", content_type="application/json")
    assert broken.status == 400
    assert (await exist(port, {"paths": ["/"]}, content_type="text/plain")).status == 415
    assert (await ask(port, "POST", "/paths/exist", b"x" * 2_000_000)).status == 413


async def _check_origins(server: StockServer, port: int) -> None:
    server_port = server.url.rsplit(":", 1)[1]
    for origin in (
        f"http://127.0.0.1:{port}",
        f"http://localhost:{port}",
        f"http://127.0.0.1:{server_port}",
        f"http://localhost:{server_port}",
        "https://app.example.invalid",
    ):
        answer = await ask(port, "GET", "/status", origin=origin)
        assert (answer.status, answer.allowed_origin) == (200, origin)
        preflight = await ask(port, "OPTIONS", "/paths/exist", origin=origin)
        assert (preflight.status, preflight.allowed_origin) == (200, origin)
        assert "POST" in preflight.headers["access-control-allow-methods"].upper()
    for origin in ("http://evil.invalid", "null", f"https://127.0.0.1:{port}", "http://localhost"):
        for method in ("GET", "OPTIONS"):
            answer = await ask(port, method, "/status", origin=origin)
            assert (answer.status, answer.allowed_origin) == (403, None), origin


async def test_there_whether_or_not_the_server_is(server: StockServer, data_dir: Path) -> None:
    """Up before the first session and while there is none, and true about it."""
    port = free_port()

    async def connected() -> bool:
        return bool((await ask(port, "GET", "/status")).json()["connected"])

    async def disconnected() -> bool:
        try:
            return not await connected()
        except OSError:
            return False  # not up yet

    server.refuses_sockets = True
    flags = ("--local-port", str(port))
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, *flags, connected=False) as daemon:
            await daemon.poll(disconnected)
            server.refuses_sockets = False
            await daemon.poll(connected)
            server.refuses_sockets = True
            await server.drop_socket()
            await daemon.poll(disconnected)
            assert (await ask(port, "GET", "/health")).body == b"ok"
            assert await daemon.terminate() == 0


async def test_off_unless_configured_and_a_taken_port_is_fatal(
    server: StockServer, data_dir: Path
) -> None:
    """Without a port nothing listens; where the port is taken the daemon ends with 1 and says so."""
    with trio.fail_after(60), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with run_daemon_process(
            server, data_dir, environ={"BB_HOST_DAEMON_PORT": str(port)}, connected=False
        ) as daemon:
            assert await daemon.wait() == 1
            assert f"127.0.0.1:{port}" in daemon.log_text()
        async with run_daemon_process(server, data_dir) as daemon:
            assert listening_addresses(daemon) == set()
