"""Hub, daemon and viewer as they are: a restart of the daemon is a pause for whoever looks at a terminal."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio

from bbhost.hub.config import HubConfig
from bbhost.hub.run import HubAddress, run_hub
from tests.fakes.contract_daemon import DaemonSocket
from tests.fakes.service_manager import ServiceManager
from tests.integration.hub.conftest import api_client
from tests.integration.hub.test_terminals import attached
from tests.system.daemon.test_restart import manager, run_service, wait_gone  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


async def eventually(api: httpx.AsyncClient, path: str, **wanted: str) -> dict[str, Any]:
    """Ask until the answer has these values."""
    while True:
        found: dict[str, Any] = (await api.get(path)).json()
        if wanted.items() <= found.items():
            return found
        await trio.sleep(0.05)


async def next_message(viewer: DaemonSocket) -> dict[str, Any]:
    """The next one, however long a busy machine takes."""
    while True:
        try:
            return await viewer.receive()
        except trio.TooSlowError:
            continue


async def seen(viewer: DaemonSocket, text: bytes, chunks: dict[int, bytes]) -> None:
    """Read until the output has ``text``; each chunk comes once, in order."""
    while text not in b"".join(chunks.values()):
        take(await next_message(viewer), chunks)


def take(message: dict[str, Any], chunks: dict[int, bytes]) -> str:
    """Add its output to the rest; return what kind of message it is."""
    assert message["type"] in {"replay", "output"}, message
    for chunk in message["chunks"] if "chunks" in message else [message["chunk"]]:
        assert not chunks or chunk["seq"] == max(chunks) + 1, (chunk, sorted(chunks))
        chunks[chunk["seq"]] = base64.b64decode(chunk["dataBase64"])
    return str(message["type"])


async def test_a_viewer_stays_over_a_restart(
    manager: ServiceManager,  # noqa: F811
    data_dir: Path,
    repo: Path,
    tmp_path: Path,
    nursery: trio.Nursery,
) -> None:
    """No output is missing, none comes twice, and the same shell answers."""
    hub: HubAddress = await nursery.start(run_hub, HubConfig(tmp_path / "hub", port=0))
    place: Any = SimpleNamespace(url=hub.url, session=None)
    with trio.fail_after(240):
        async with api_client(hub) as api:
            joined = (await api.post("/hosts/join", json={})).json()
            first = ("--enroll-key", joined["joinCode"], "--host-id", joined["hostId"])
            how = {"connected": False, "enrolled": False}
            data_dir.mkdir(mode=0o700)
            host = f"/hosts/{joined['hostId']}"
            async with run_service(manager, place, data_dir, *first, **how) as daemon:  # type: ignore[arg-type]
                await eventually(api, host, status="connected")
                workspace = {"workspaceProvisionType": "unmanaged", "path": str(repo)}
                made = await api.post("/environments", json={"workspace": workspace})
                assert made.status_code == 202, made.text
                environment = f"/environments/{made.json()['id']}"
                await eventually(api, environment, state="ready")
                terminal = (await api.post(f"{environment}/terminals", json={})).json()
                chunks: dict[int, bytes] = {}
                async with attached(hub, terminal["id"]) as viewer:
                    await viewer.send(typed("KEPT=fort''y-two; echo p''id=$$.\r"))
                    await seen(viewer, b"pid=", chunks)
                    manager.set_job("restart")
                    assert await daemon.terminate() == 0
                    await eventually(api, host, status="disconnected")
                    assert (await api.get(f"/terminals/{terminal['id']}")).json()[
                        "state"
                    ] == "open"
                    async with run_service(manager, place, data_dir, **how) as daemon:  # type: ignore[arg-type]
                        # What is typed before is lost: a session is open before its socket is.
                        while take(await next_message(viewer), chunks) != "replay":
                            pass
                        await viewer.send(typed("echo is=$KEPT. p''id=$$.\r"))
                        await seen(viewer, b"is=forty-two.", chunks)
                        text = b"".join(chunks.values()).decode()
                        pids = [part.partition(".")[0] for part in text.split("pid=")[1:]]
                        manager.set_job(None)
                        assert await daemon.terminate() == 0
                        farewell = await next_message(viewer)
                        while farewell["type"] != "exited":
                            farewell = await next_message(viewer)
                        assert farewell["closeReason"] == "daemon-disconnect"
                assert len(set(pids)) == 1
                await wait_gone(int(pids[0]))


def typed(text: str) -> dict[str, str]:
    return {"type": "input", "dataBase64": base64.b64encode(text.encode()).decode()}
