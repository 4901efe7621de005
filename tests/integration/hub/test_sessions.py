"""Sessions of daemons: enrolment, opening, leases, and how each of them ends."""

from typing import Any

import httpx
import pytest
import trio

from bbhost.hub.run import HubAddress
from tests.fakes.contract_daemon import ContractDaemon, RefusedError, enroll
from tests.integration.hub.conftest import api_client


async def test_an_enroll_key_works_once(hub: HubAddress, api: httpx.AsyncClient) -> None:
    """Spent, superseded and mistaken keys are all answered with the same 401."""
    first = (await api.post("/hosts/join", json={"hostId": "host_a"})).json()
    second = (await api.post("/hosts/join", json={"hostId": "host_a"})).json()
    assert "--enroll-key" in second["joinCommand"]
    body = {"hostId": "host_a", "hostName": "a", "hostType": "persistent"}

    async def try_key(key: str, **changes: str) -> httpx.Response:
        return await api.post(
            f"{hub.url}/internal/hosts/enroll",
            json={**body, **changes},
            headers={"authorization": f"Bearer {key}"},
        )

    refused = [
        await try_key(first["joinCode"]),
        await try_key(second["joinCode"], hostId="host_b"),
        await try_key(str(hub.token)),
    ]
    assert (await try_key(second["joinCode"])).status_code == 201
    refused.append(await try_key(second["joinCode"]))
    for response in refused:
        assert response.status_code == 401
        assert response.json() == {"code": "unauthorized", "message": "Unauthorized"}
    assert (await try_key("x", extra="1")).status_code == 400


@pytest.mark.slow
async def test_enrolling_again_disables_the_older_key(
    hub: HubAddress, api: httpx.AsyncClient
) -> None:
    """Only the newest key of a host opens sessions."""
    old = await enroll(hub.url, hub.token, "/data")
    joined = (await api.post("/hosts/join", json={"hostId": old.host_id})).json()
    enrolled = await api.post(
        f"{hub.url}/internal/hosts/enroll",
        json={"hostId": old.host_id, "hostName": "again", "hostType": "persistent"},
        headers={"authorization": f"Bearer {joined['joinCode']}"},
    )
    assert enrolled.status_code == 201
    async with old.http:
        assert (await old.try_open()).status_code == 401
    assert (await api.get(f"/hosts/{old.host_id}")).json()["name"] == "again"


async def test_session_open_refuses_what_does_not_fit(daemon: ContractDaemon) -> None:
    """Another version names both; another host is 403; a malformed body names the field."""
    wrong = await daemon.try_open(protocolVersion=89)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "protocol_version_mismatch")
    assert "89" in wrong.json()["message"]
    assert "26" in wrong.json()["message"]
    assert (await daemon.try_open(hostId="host_other")).status_code == 403
    malformed = await daemon.try_open(dataDir="")
    assert malformed.status_code == 400
    assert "dataDir" in malformed.json()["message"]


async def test_a_session_dies_with_its_socket(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """After the socket is closed every use of the session is 401 and the host is disconnected."""
    async with daemon.connected():
        assert (await api.get(f"/hosts/{daemon.host_id}")).json()["status"] == "connected"
    with trio.fail_after(5):
        while True:
            response = await daemon.http.get(
                "/session/commands",
                params={"sessionId": daemon.session_id, "limit": "1", "waitMs": "0"},
            )
            if response.status_code == 401:
                break
    assert response.json()["code"] == "inactive_session"
    shown = (await api.get(f"/hosts/{daemon.host_id}")).json()
    assert shown["status"] == "disconnected"
    with pytest.raises(RefusedError):
        async with daemon.socket():
            pass


async def test_a_newer_session_replaces_the_older(daemon: ContractDaemon) -> None:
    """The older socket hears ``session-close/replaced`` and is closed; its session is inactive."""
    async with daemon.connected() as first:
        old = daemon.session_id
        async with daemon.connected():
            assert await first.receive() == {"type": "session-close", "reason": "replaced"}
            assert await first.wait_closed() == (1000, "replaced")
            response = await daemon.post(
                "/session/environment-change",
                {"sessionId": old, "environmentId": "e", "change": "work-status-changed"},
            )
            assert response.json()["code"] == "inactive_session"
            assert await daemon.fetch() == []


@pytest.mark.slow
async def test_a_lease_runs_out_without_messages(start_hub: Any) -> None:
    """At once for requests; the sweep tells the socket ``expired`` and closes it with 1000."""
    hub: HubAddress = await start_hub(lease_timeout_ms=300, sweep_seconds=0.4)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api, daemon.connected() as socket:
        assert (await socket.receive()) == {"type": "session-close", "reason": "expired"}
        assert await socket.wait_closed() == (1000, "expired")
        shown = (await api.get(f"/hosts/{daemon.host_id}")).json()
        assert shown["status"] == "disconnected"


@pytest.mark.slow
async def test_heartbeats_renew_the_lease_and_requests_do_not(start_hub: Any) -> None:
    """Only messages on the socket keep a session alive."""
    hub: HubAddress = await start_hub(lease_timeout_ms=400, sweep_seconds=0.05)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, daemon.connected() as socket:
        for _ in range(6):
            await trio.sleep(0.1)
            await socket.send({"type": "heartbeat"})
        assert await daemon.fetch() == []
        for _ in range(8):
            await trio.sleep(0.1)
            response = await daemon.http.get(
                "/session/commands",
                params={"sessionId": daemon.session_id, "limit": "1", "waitMs": "0"},
            )
        assert response.status_code == 401


@pytest.mark.parametrize(
    "message",
    [
        {"type": "heartbeat", "cursor": 1},
        {"type": "nonsense"},
        {"type": "terminal.output", "terminalId": "t", "chunk": {"seq": 0, "dataBase64": ""}},
        {},
    ],
)
async def test_an_invalid_message_closes_the_socket(
    daemon: ContractDaemon, message: dict[str, Any]
) -> None:
    """One extra key is enough: 1008 ``invalid-message``."""
    async with daemon.connected() as socket:
        await socket.send(message)
        assert await socket.wait_closed() == (1008, "invalid-message")


async def test_the_handshake_of_the_daemon_socket(hub: HubAddress, daemon: ContractDaemon) -> None:
    """No or a wrong session 401, no subprotocol 400, another host's session 403."""

    async def status_of(**arguments: Any) -> int:
        with pytest.raises(RefusedError) as caught:
            async with daemon.socket(**arguments):
                pass
        return caught.value.status

    other = await enroll(hub.url, hub.token, "/data")
    async with other.http:
        await other.open()
        await daemon.open()
        assert await status_of(session_id="hses_unknown") == 401
        assert await status_of(subprotocol=None) == 400
        assert await status_of(session_id=other.session_id) == 403


@pytest.mark.slow
async def test_a_long_poll_returns_when_a_command_is_queued(
    api: httpx.AsyncClient, daemon: ContractDaemon, nursery: trio.Nursery
) -> None:
    """With nothing queued a wait ends in 204; otherwise it ends as soon as something is."""
    async with daemon.connected():
        response = await daemon.http.get(
            "/session/commands",
            params={"sessionId": daemon.session_id, "limit": "10", "waitMs": "20"},
        )
        assert response.status_code == 204
        found: list[Any] = []
        done = trio.Event()

        async def wait() -> None:
            found.extend(await daemon.fetch(wait_ms=5000))
            done.set()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await api.post("/environments", json={"workspace": {"workspaceProvisionType": "personal"}})
        with trio.fail_after(2):
            await done.wait()
        assert found[0]["command"]["type"] == "environment.provision"
        assert await daemon.fetch() == []


async def test_fetch_with_a_malformed_query_is_500(daemon: ContractDaemon) -> None:
    """As at the origin; missing ``waitMs`` included."""
    await daemon.open()
    for params in ({"limit": "x", "waitMs": "0"}, {"limit": "1"}, {"limit": "-1", "waitMs": "0"}):
        response = await daemon.http.get(
            "/session/commands", params={"sessionId": daemon.session_id, **params}
        )
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")


@pytest.mark.slow
async def test_a_result_that_does_not_fit_is_refused(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Wrong results, empty messages and unknown commands; the first valid report stands."""
    async with daemon.connected():
        created = await api.post(
            "/environments", json={"workspace": {"workspaceProvisionType": "personal"}}
        )
        command = await daemon.next_command("environment.provision")
        assert (await daemon.succeed(command, {"path": 1})).status_code == 400
        assert (await daemon.fail(command, "x", "")).status_code == 400
        other = {**command, "command": {**command["command"], "type": "environment.destroy"}}
        assert (await daemon.succeed(other, {})).status_code == 400
        unknown = await daemon.fail({**command, "id": "hcmd_none"}, "x")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "command_not_found")
        assert (await daemon.fail(command, "EACCES")).status_code == 200
        assert (await daemon.fail(command, "other")).status_code == 200
        shown = (await api.get(f"/environments/{created.json()['id']}")).json()
        assert shown["error"]["code"] == "EACCES"


@pytest.mark.slow
async def test_environment_changes_are_broadcast_or_refused(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """404 unknown, 403 another host's, 410 destroyed; otherwise listeners hear of it."""
    async with daemon.connected():
        created = (
            await api.post(
                "/environments", json={"workspace": {"workspaceProvisionType": "personal"}}
            )
        ).json()
        change = {"environmentId": created["id"], "change": "git-refs-changed"}
        assert (await daemon.post_in_session("environment-change", change)).json() == {"ok": True}
        missing = await daemon.post_in_session(
            "environment-change", {**change, "environmentId": "env_x"}
        )
        assert (missing.status_code, missing.json()["code"]) == (404, "environment_not_found")
        wrong = await daemon.post_in_session("environment-change", {**change, "change": "x"})
        assert wrong.status_code == 400
        other = await enroll(hub.url, hub.token, "/data")
        async with other.http:
            await other.open()
            foreign = await other.post_in_session("environment-change", change)
            assert foreign.status_code == 403
        await daemon.fetch()
        await api.delete(f"/environments/{created['id']}")
        await daemon.succeed(await daemon.next_command("environment.destroy"), {})
        gone = await daemon.post_in_session("environment-change", change)
        assert gone.status_code == 410
        assert gone.json()["retryable"] is False
