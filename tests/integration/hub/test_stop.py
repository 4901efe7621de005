"""Stopping: within two seconds, whatever is open."""

from pathlib import Path

import httpx
import pytest
import trio
from attrs import frozen

from bbhost.hub.config import HubConfig
from bbhost.hub.run import HubAddress, run_hub
from tests.fakes.contract_daemon import ContractDaemon, enroll, open_socket
from tests.integration.hub.conftest import api_client


@frozen
class Running:
    """Stops the hub it was started with."""

    scope: trio.CancelScope
    stopped: trio.Event

    async def stop(self) -> None:
        """Stop it, and wait until it has."""
        self.scope.cancel()
        await self.stopped.wait()


async def start(nursery: trio.Nursery, path: Path) -> tuple[HubAddress, Running]:
    """Start a hub that can be stopped by itself."""
    running = Running(trio.CancelScope(), trio.Event())

    async def run(*, task_status: trio.TaskStatus[HubAddress]) -> None:
        with running.scope:
            await run_hub(HubConfig(path, port=0), task_status=task_status)
        running.stopped.set()

    address: HubAddress = await nursery.start(run)
    return address, running


@pytest.mark.slow
async def test_sockets_hear_of_the_stop_and_everything_ends(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """1001 ``server-shutdown`` for daemons and listeners; long polls and requests end too."""
    hub, running = await start(nursery, tmp_path / "hub")
    daemon = await enroll(hub.url, hub.token, "/data")
    token = [("Authorization", f"Bearer {hub.token}")]
    async with (
        daemon.http,
        daemon.connected() as socket,
        open_socket(hub.url, "/api/v1/ws", (), token) as listener,
        api_client(hub) as api,
        trio.open_nursery() as clients,
    ):
        ended: list[str] = []

        async def poll() -> None:
            with pytest.raises(httpx.TransportError):
                await daemon.fetch(wait_ms=20000)
            ended.append("poll")

        async def ask() -> None:
            with pytest.raises(httpx.TransportError):
                await api.get(f"/hosts/{daemon.host_id}/providers")
            ended.append("request")

        clients.start_soon(ask)
        await daemon.next_command("provider.list")
        clients.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked(0.05)
        began = trio.current_time()
        running.scope.cancel()
        assert await socket.wait_closed() == (1001, "server-shutdown")
        assert await listener.wait_closed() == (1001, "server-shutdown")
        await running.stopped.wait()
        assert trio.current_time() - began < 2
    assert sorted(ended) == ["poll", "request"]


@pytest.mark.slow
async def test_a_client_that_does_not_read_does_not_hold_up_the_stop(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """Writes to it are given up, although Hypercorn shields them."""
    hub, running = await start(nursery, tmp_path / "hub")
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api:
        await daemon.open()
        uploaded = await api.post(
            "/projects/p/attachments?name=x",
            content=b"x" * (20 * 1024 * 1024),
            headers={"content-type": "application/octet-stream"},
        )
        assert uploaded.status_code == 201
        path = f"/api/v1/projects/p/attachments/{uploaded.json()['id']}"
        async with await trio.open_tcp_stream("127.0.0.1", hub.port) as stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\n"
                f"Authorization: Bearer {hub.token}\r\n\r\n".encode()
            )
            assert (await stream.receive_some(12)).startswith(b"HTTP/1.1 200")
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(2):
                await running.stop()


@pytest.mark.slow
async def test_what_was_known_is_known_after_a_restart(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """Hosts, keys, environments and queued commands survive; sessions do not."""
    hub, running = await start(nursery, tmp_path / "hub")
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api:
        await daemon.open()
        created = await api.post(
            "/environments", json={"workspace": {"workspaceProvisionType": "personal"}}
        )
    await running.stop()
    again, _ = await start(nursery, tmp_path / "hub")
    assert again.token == hub.token
    back = ContractDaemon(again.url, daemon.host_id, daemon.host_key, "/data")
    async with back.http, api_client(again) as api:
        assert (await api.get("/hosts")).json()["hosts"][0]["status"] == "disconnected"
        opened = await back.open()
        assert opened["liveEnvironmentIds"] == [created.json()["id"]]
        assert len(await back.fetch()) == 1


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """A clear error, and the file is as it was."""
    import sqlite3

    from bbhost.hub.storage.database import HubDatabaseError, open_database

    path = tmp_path / "hub.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(HubDatabaseError, match="newer"):
        async with open_database(path):
            pass
    path.write_bytes(b"this is not a database, but it is long enough to be looked at" * 50)
    before = path.read_bytes()
    with pytest.raises(HubDatabaseError, match="not a usable database"):
        async with open_database(path):
            pass
    assert path.read_bytes() == before
