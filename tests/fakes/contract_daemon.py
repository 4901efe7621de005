"""A daemon that does nothing but speak the wire contract, for tests of a server."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from bbhost.contract.ids import new_id
from bbhost.contract.version import PROTOCOL_VERSION, SUBPROTOCOL

MESSAGE_BACKLOG = 256


class ContractDaemon:
    """One enrolled host. Everything is asked by the test; nothing happens by itself.

    Args:
        base_url: of the server, without a trailing slash.
        host_key: from :func:`enroll`.
    """

    def __init__(self, base_url: str, host_id: str, host_key: str, data_dir: str) -> None:
        self.base_url = base_url
        self.host_id = host_id
        self.host_key = host_key
        self.data_dir = data_dir
        self.instance_id = new_id("instance")
        self.session_id = ""
        self.opened: dict[str, Any] = {}
        self.http = httpx.AsyncClient(
            base_url=f"{base_url}/internal",
            headers={"authorization": f"Bearer {host_key}"},
            timeout=10,
            verify=False,  # reading the certificates takes longer than most tests
        )

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """Post a JSON body, as ASCII so that any string gets through."""
        headers = {"content-type": "application/json", **headers}
        return await self.http.post(path, content=json.dumps(body), headers=headers)

    async def post_in_session(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Post a JSON body under the present session."""
        return await self.post(f"/session/{path}", {"sessionId": self.session_id, **body})

    # --- sessions ---------------------------------------------------------------------------

    async def try_open(self, **changes: object) -> httpx.Response:
        """Ask for a session, with ``changes`` to the usual body."""
        body: dict[str, Any] = {
            "hostId": self.host_id,
            "instanceId": self.instance_id,
            "hostName": "test-host",
            "hostType": "persistent",
            "dataDir": self.data_dir,
            "protocolVersion": PROTOCOL_VERSION,
            "activeThreads": [],
            "loadedEnvironments": [],
        }
        return await self.post("/session/open", {**body, **changes})

    async def open(self, **changes: object) -> dict[str, Any]:
        """Open a session and adopt it."""
        response = await self.try_open(**changes)
        assert response.status_code == 201, response.text
        self.opened = response.json()
        self.session_id = self.opened["sessionId"]
        return self.opened

    @asynccontextmanager
    async def socket(
        self, session_id: str | None = None, subprotocol: str | None = SUBPROTOCOL
    ) -> AsyncIterator["DaemonSocket"]:
        """Open the WebSocket of a session."""
        resource = f"/internal/ws?sessionId={session_id or self.session_id}"
        async with open_socket(
            self.base_url,
            resource,
            [subprotocol] if subprotocol else [],
            [("Authorization", f"Bearer {self.host_key}")],
        ) as socket:
            yield socket

    @asynccontextmanager
    async def connected(self, **changes: object) -> AsyncIterator["DaemonSocket"]:
        """Open a session and its WebSocket."""
        await self.open(**changes)
        async with self.socket() as socket:
            yield socket

    # --- commands ---------------------------------------------------------------------------

    async def fetch(self, limit: int = 100, wait_ms: int = 0) -> list[dict[str, Any]]:
        """Fetch commands."""
        response = await self.http.get(
            "/session/commands",
            params={"sessionId": self.session_id, "limit": limit, "waitMs": wait_ms},
        )
        if response.status_code == 204:
            return []
        assert response.status_code == 200, response.text
        return list(response.json()["commands"])

    async def next_command(self, kind: str | None = None) -> dict[str, Any]:
        """Wait for one command, and check its type."""
        with trio.fail_after(5):
            while True:
                found = await self.fetch(limit=1, wait_ms=5000)
                if found:
                    break
        command = found[0]
        assert kind is None or command["command"]["type"] == kind, command
        return command

    async def succeed(self, envelope: dict[str, Any], result: object) -> httpx.Response:
        """Report that a command was done."""
        return await self.post_in_session(
            "command-result",
            {
                "commandId": envelope["id"],
                "type": envelope["command"]["type"],
                "completedAt": 1,
                "ok": True,
                "result": result,
            },
        )

    async def fail(
        self, envelope: dict[str, Any], code: str, message: str = "it failed"
    ) -> httpx.Response:
        """Report that a command was not done."""
        return await self.post_in_session(
            "command-result",
            {
                "commandId": envelope["id"],
                "type": envelope["command"]["type"],
                "completedAt": 1,
                "ok": False,
                "errorCode": code,
                "errorMessage": message,
            },
        )


class DaemonSocket:
    """An open WebSocket; what comes in is read at once, so that pings are answered."""

    def __init__(
        self,
        connection: WebSocketConnection,
        messages: trio.MemoryReceiveChannel[dict[str, Any]],
    ) -> None:
        self.connection = connection
        self._messages = messages

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        await self.connection.send_message(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message of the server."""
        with trio.fail_after(5):
            return await self._messages.receive()

    async def wait_closed(self) -> tuple[int, str]:
        """Wait until the server has closed the socket; return code and reason."""
        with trio.fail_after(5):
            while True:
                try:
                    await self._messages.receive()
                except trio.EndOfChannel:
                    break
        closed = self.connection.closed
        assert closed is not None
        return int(closed.code), closed.reason or ""


async def _pump(
    connection: WebSocketConnection, send: trio.MemorySendChannel[dict[str, Any]]
) -> None:
    async with send:
        while True:
            try:
                text = await connection.get_message()
            except ConnectionClosed:
                return
            await send.send(json.loads(text))


class RefusedError(Exception):
    """A server did not accept a WebSocket handshake."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@asynccontextmanager
async def open_socket(
    base_url: str,
    resource: str,
    subprotocols: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    backlog: int = MESSAGE_BACKLOG,
) -> AsyncIterator[DaemonSocket]:
    """Open a WebSocket on a TCP connection that is closed in any case.

    trio-websocket leaves its own open when the server refuses the handshake or closes first.

    Args:
        backlog: messages that are read before anybody wants them.

    Raises:
        RefusedError: the handshake was refused.
    """
    url = httpx.URL(base_url)
    assert url.port is not None
    refused: list[RefusedError] = []
    async with await trio.open_tcp_stream(url.host, url.port) as stream:
        try:
            async with trio.open_nursery() as nursery:
                connection = await wrap_client_stream(
                    nursery,
                    stream,
                    f"{url.host}:{url.port}",
                    resource,
                    subprotocols=subprotocols,
                    extra_headers=list(headers),
                )
                send, receive = trio.open_memory_channel[dict[str, Any]](backlog)
                nursery.start_soon(_pump, connection, send)
                yield DaemonSocket(connection, receive)
                with trio.move_on_after(1):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            refused += [RefusedError(one.status_code, one.body or b"") for one in _leaves(group)]
    if refused:
        raise refused[0]


def _leaves(group: BaseExceptionGroup[Any]) -> list[Any]:
    found = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


async def enroll(base_url: str, token: str | None, data_dir: str) -> ContractDaemon:
    """Join and enrol a new host."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, verify=False) as http:
        joined = (await http.post("/api/v1/hosts/join", json={})).json()
        enrolled = await http.post(
            "/internal/hosts/enroll",
            json={
                "hostId": joined["hostId"],
                "hostName": "test-host",
                "hostType": "persistent",
            },
            headers={"authorization": f"Bearer {joined['joinCode']}"},
        )
    assert enrolled.status_code == 201, enrolled.text
    body = enrolled.json()
    return ContractDaemon(base_url, body["hostId"], body["hostKey"], data_dir)
