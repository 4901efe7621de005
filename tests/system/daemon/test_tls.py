"""A server behind https: the daemon speaks to it encrypted, and only if it is who it says."""

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer, run_stock_server
from tests.system.daemon.harness import (
    failing_starts,
    identify,
    run_daemon_process,
    succeed,
    unmanaged_context,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *(
                openssl,
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ),
            *("-nodes", "-days", "2", "-subj", "/CN=test"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", path.with_suffix(".key"), "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
async def secure_server(certificate: Path) -> AsyncIterator[StockServer]:
    """A server that only speaks TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    async with run_stock_server(tls, heartbeat_interval_ms=1000) as server:
        yield server


async def test_everything_goes_over_tls(
    secure_server: StockServer, certificate: Path, data_dir: Path, repo: Path
) -> None:
    """Enrolment, requests and the socket, also after the link was lost."""
    server = secure_server
    code = server.join_code("host_new")
    server.environments["env_own"] = "ready"
    about = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
    trusting = {"SSL_CERT_FILE": str(certificate), "BB_HOST_ID": "host_new"}
    flags = ("--enroll-key", code)
    with trio.fail_after(60):
        async with run_daemon_process(
            server, data_dir, *flags, environ=trusting, enrolled=False
        ) as daemon:
            assert server.url.startswith("https://")
            await succeed(server, {"type": "workspace.status", **about})
            (repo / "new.txt").write_text("x")
            await server.wait(lambda: ("env_own", "work-status-changed") in server.changes)
            session = server.session
            await server.drop_socket()
            await server.wait_connected(other_than=session)
            await succeed(server, {"type": "workspace.status", **about})
            assert await daemon.terminate() == 0


async def test_a_server_that_cannot_prove_itself_gets_nothing(
    secure_server: StockServer, data_dir: Path
) -> None:
    """Neither the key of an enrolment nor that of the host is sent; the daemon says why it ends."""
    server = secure_server
    code = server.join_code("host_new")
    with trio.fail_after(60):
        async with failing_starts(server, data_dir) as starts:
            status, told = await starts.run("--enroll-key", code, BB_HOST_ID="host_new")
            assert (status, "certificate verify failed" in told.lower()) == (1, True)
            assert not (data_dir / "auth.json").exists()
            identify(server, data_dir)
            status, told = await starts.run("--start-up-seconds", "1")
            assert (status, "certificate verify failed" in told.lower()) == (1, True)
        assert server.requests == []
