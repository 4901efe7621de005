"""The scripted server answers like the stock one; these are facts about that one, not about us."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from attrs import define
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from tests.fakes.stock_server import StockServer, run_stock_server

HOST = "host_1"


@define
class Client:
    """A daemon of few words."""

    server: StockServer
    http: httpx.AsyncClient
    key: str

    async def call(self, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        response = await self.http.request(
            method,
            f"{self.server.url}/internal/{path}",
            params=query,
            json=body,
            headers={"Authorization": f"Bearer {self.key}"},
        )
        return response.status_code, response.json() if response.content else None

    async def open(self, **changes: Any) -> tuple[int, Any]:
        body = {
            "hostId": HOST,
            "instanceId": "i",
            "hostName": "n",
            "hostType": "persistent",
            "dataDir": "/d",
            "protocolVersion": 26,
            "activeThreads": [],
            "loadedEnvironments": [],
            **changes,
        }
        return await self.call("session/open", body)

    async def session(self) -> str:
        status, body = await self.open()
        assert status == 201
        return body["sessionId"]

    @asynccontextmanager
    async def socket(
        self, session_id: str, *, key: str | None = None, protocol: str | None = None
    ) -> AsyncIterator[WebSocketConnection]:
        # Its own stream: trio-websocket leaves one open when the server ends the WebSocket.
        host, port = self.server.url.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream, trio.open_nursery() as nursery:
            yield await wrap_client_stream(
                nursery,
                stream,
                f"{host}:{port}",
                f"/internal/ws?sessionId={session_id}",
                subprotocols=[protocol or "bb-host-daemon.v1"],
                extra_headers=[(b"Authorization", f"Bearer {key or self.key}".encode())],
            )
            nursery.cancel_scope.cancel()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with (
        run_stock_server(sweep_seconds=0.02) as server,
        httpx.AsyncClient(verify=False) as http,
    ):
        with trio.fail_after(20):
            yield Client(server, http, server.host_key(HOST))


async def test_auth_comes_before_routing(client: Client) -> None:
    client.key = "bbdh_wrong"
    assert await client.call("nowhere") == (
        401,
        {"code": "unauthorized", "message": "Unauthorized"},
    )


async def test_a_session_is_answered_strictly(client: Client) -> None:
    client.server.environments["env_1"] = "destroyed"
    status, body = await client.open(loadedEnvironments=[{"environmentId": "env_1"}])
    assert status == 201
    assert set(body) == {
        "sessionId",
        "heartbeatIntervalMs",
        "leaseTimeoutMs",
        "trackedThreadTargets",
        "retiredEnvironmentIds",
    }
    assert body["retiredEnvironmentIds"] == ["env_1"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"protocolVersion": 25}, 400, "protocol_version_mismatch"),
        ({"protocolVersion": 0}, 400, "invalid_request"),
        ({"hostId": "host_2"}, 403, "invalid_request"),
        ({"hostName": ""}, 400, "invalid_request"),
        ({"activeThreads": None}, 400, "invalid_request"),
    ],
)
async def test_a_session_is_refused(
    client: Client, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.open(**changes)
    assert (answer[0], answer[1]["code"]) == (status, code)


async def test_a_session_dies_with_its_socket(client: Client) -> None:
    session_id = await client.session()
    query = {"sessionId": session_id, "limit": "1", "waitMs": "0"}
    async with client.socket(session_id):
        assert await client.call("session/commands", **query) == (200, {"commands": []})
    await client.server.wait(lambda: client.server.session is None)
    status, body = await client.call("session/commands", **query)
    assert (status, body["code"]) == (401, "inactive_session")


async def test_a_newer_session_replaces_the_older(client: Client) -> None:
    session_id = await client.session()
    async with client.socket(session_id) as socket:
        await client.session()
        assert json.loads(await socket.get_message()) == {
            "type": "session-close",
            "reason": "replaced",
        }
        with pytest.raises(ConnectionClosed):
            await socket.get_message()


async def test_a_lease_that_runs_out(client: Client) -> None:
    session_id = await client.session()
    async with client.socket(session_id) as socket:
        (session,) = client.server.sessions
        session.lease_until = trio.current_time()
        assert json.loads(await socket.get_message())["reason"] == "expired"
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason.reason == "expired"


@pytest.mark.parametrize(
    ("key", "protocol", "session", "status"),
    [
        ("wrong", None, None, 401),
        (None, "other", None, 400),
        (None, None, "hses_unknown", 401),
    ],
)
async def test_a_socket_is_refused(
    client: Client, key: str | None, protocol: str | None, session: str | None, status: int
) -> None:
    session_id = session or await client.session()
    rejected = pytest.RaisesExc(ConnectionRejected, check=lambda it: it.status_code == status)
    with pytest.RaisesGroup(rejected, flatten_subgroups=True):
        async with client.socket(session_id, key=key, protocol=protocol):
            pass


@pytest.mark.parametrize(
    "message",
    ["x", "{}", '{"type":"heartbeat","extra":1}', '{"type":"terminal.exited","terminalId":"t"}'],
)
async def test_a_wrong_message_costs_the_socket(client: Client, message: str) -> None:
    async with client.socket(await client.session()) as socket:
        await socket.send_message(message)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert (caught.value.reason.code, caught.value.reason.reason) == (1008, "invalid-message")


async def test_a_command_is_handed_out_twice_and_then_expires(client: Client) -> None:
    client.server.redelivery_seconds = 0.05
    session_id = await client.session()
    row = await client.server.queue({"type": "provider.list"})
    query = {"sessionId": session_id, "limit": "100", "waitMs": "1000"}
    for _ in range(2):
        status, body = await client.call("session/commands", **query)
        assert [one["id"] for one in body["commands"]] == [row.command_id]
        assert status == 200
    await row.settled.wait()
    assert row.result is not None
    assert row.result["errorCode"] == "command_expired"
    assert row.deliveries == 2


@pytest.mark.parametrize("query", [{}, {"limit": "x", "waitMs": "0"}, {"limit": "1"}])
async def test_a_fetch_without_its_query_is_an_internal_error(
    client: Client, query: dict[str, str]
) -> None:
    status, body = await client.call("session/commands", **query)
    assert (status, body["code"]) == (500, "internal_error")


async def test_a_long_poll_that_ends_without_a_command_has_no_body(client: Client) -> None:
    query = {"sessionId": await client.session(), "limit": "1", "waitMs": "10"}
    assert await client.call("session/commands", **query) == (204, None)


async def test_results(client: Client) -> None:
    session_id = await client.session()
    row = await client.server.queue({"type": "thread.rename"})
    report: dict[str, Any] = {
        "sessionId": session_id,
        "commandId": row.command_id,
        "completedAt": 1,
        "type": "thread.rename",
        "ok": True,
        "result": {},
    }
    opaque = (400, {"code": "invalid_request", "message": "Invalid input"})

    async def post(**changes: Any) -> tuple[int, Any]:
        return await client.call("session/command-result", {**report, **changes})

    assert await post(type="provider.list", result={}) == opaque
    assert await post(ok=False, errorCode="x", errorMessage="") == opaque
    assert await post(type="odd.type", ok=False, errorCode="x", errorMessage="y") == opaque
    assert (await post(commandId="hcmd_none"))[0] == 404
    assert (await post(sessionId="hses_none"))[1]["code"] == "inactive_session"
    assert await post() == (200, {"ok": True})
    assert await post(ok=False, errorCode="x", errorMessage="late") == (200, {"ok": True})
    assert row.result is not None
    assert row.result["ok"], "the first one wins"


async def test_events(client: Client) -> None:
    client.server.threads["thr_1"] = "env_1"
    session_id = await client.session()

    def envelope(number: int, type_: str, scope: dict[str, str], **more: Any) -> dict[str, Any]:
        event = {"type": type_, "threadId": "thr_1", "scope": scope, **more}
        return {"producerEventId": f"hdevt_{number:a>20}", "threadId": "thr_1", "event": event}

    async def post(*events: dict[str, Any]) -> tuple[int, Any]:
        return await client.call("session/events", {"sessionId": session_id, "events": events})

    turn = {"kind": "turn", "turnId": "turn-1"}
    begun = envelope(2, "turn/started", turn, providerThreadId="p")
    ended = envelope(3, "turn/completed", turn, providerThreadId=None, status="completed")
    thread = envelope(4, "thread/started", {"kind": "thread"})
    assert (await post(thread, ended))[0] == 409, "atomic: nothing of it is stored"
    assert client.server.events == []
    status, body = await post(begun, ended)
    assert [one["sequence"] for one in body["acceptedEvents"]] == [1, 2]
    assert (await post(ended))[1]["acceptedEvents"][0]["sequence"] == 2, "idempotent"
    changed = {**ended, "event": {**ended["event"], "status": "failed"}}
    assert (await post(changed))[1]["code"] == "producer_event_payload_mismatch"
    assert (await post({**thread, "extra": 1}))[0] == 400
    foreign = json.loads(json.dumps(thread).replace("thr_1", "thr_2"))
    assert (await post(foreign))[1]["rejectedEvents"][0]["reason"] == "thread_not_owned_by_host"
    assert status == 200


async def test_environment_changes(client: Client) -> None:
    client.server.environments = {"env_1": "ready", "env_2": "destroyed"}
    session_id = await client.session()

    async def post(environment_id: str) -> tuple[int, Any]:
        body = {
            "sessionId": session_id,
            "environmentId": environment_id,
            "change": "git-refs-changed",
        }
        return await client.call("session/environment-change", body)

    assert await post("env_1") == (200, {"ok": True})
    assert (await post("env_2"))[1] == {
        "code": "environment_destroyed",
        "message": "Environment has been destroyed",
        "retryable": False,
    }
    assert (await post("env_3"))[0] == 404


async def test_an_enrolment_is_used_once(client: Client) -> None:
    client.key = client.server.join_code(HOST)
    body = {"hostId": HOST, "hostName": "n", "hostType": "persistent"}
    status, answer = await client.call("hosts/enroll", body)
    assert (status, set(answer)) == (201, {"hostId", "hostKey"})
    assert (await client.call("hosts/enroll", body))[0] == 401
