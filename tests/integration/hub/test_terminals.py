"""Terminals through the hub: opened, watched by several, lost with their session."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from bbhost.hub.run import HubAddress
from tests.fakes.contract_daemon import ContractDaemon, DaemonSocket, enroll, open_socket
from tests.integration.hub.conftest import api_client
from tests.integration.hub.test_environments import make_ready
from tests.integration.hub.test_notifications import token_of


async def next_of(socket: DaemonSocket, kind: str) -> dict[str, Any]:
    """Return the next message of a kind, leaving out hints."""
    while (message := await socket.receive())["type"] == "commands-available":
        pass
    assert message["type"] == kind, message
    return message


def chunk(seq: int, data: bytes) -> dict[str, Any]:
    """Return a piece of output."""
    return {"seq": seq, "dataBase64": base64.b64encode(data).decode()}


async def open_terminal(
    api: httpx.AsyncClient, socket: DaemonSocket, environment_id: str
) -> dict[str, Any]:
    """Open a terminal, with the daemon's part."""
    result: list[httpx.Response] = []
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            path = f"/environments/{environment_id}/terminals"
            result.append(await api.post(path, json={"cols": 100, "rows": 30}))

        nursery.start_soon(ask)
        message = await next_of(socket, "terminal.open")
        assert (message["cols"], message["rows"]) == (100, 30)
        await socket.send(
            {
                "type": "terminal.opened",
                "requestId": message["requestId"],
                "terminalId": message["terminalId"],
                "shell": "/bin/sh",
                "title": "sh",
                "initialCwd": "/w",
                "currentCwd": None,
                "cols": 100,
                "rows": 30,
            }
        )
    assert result[0].status_code == 201, result[0].text
    return dict(result[0].json())


@asynccontextmanager
async def attached(hub: HubAddress, terminal_id: str) -> AsyncIterator[DaemonSocket]:
    """Attach a viewer."""
    resource = f"/api/v1/terminals/{terminal_id}/attach"
    async with open_socket(hub.url, resource, (), token_of(hub)) as viewer:
        yield viewer


async def test_a_terminal_from_opening_to_exit(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Replay first, then output; input, size and end go to the daemon; exit reaches viewers."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        assert (terminal["state"], terminal["title"]) == ("open", "sh")
        async with attached(hub, terminal["id"]) as viewer:
            attach = await next_of(socket, "terminal.attach")
            assert attach["sinceSeq"] == 0
            output = {"type": "terminal.output", "terminalId": terminal["id"]}
            await socket.send({**output, "chunk": chunk(0, b"before the replay")})
            await socket.send(
                {
                    "type": "terminal.replay",
                    "requestId": attach["requestId"],
                    "terminalId": terminal["id"],
                    "chunks": [chunk(0, b"before the replay")],
                    "nextSeq": 1,
                }
            )
            await socket.send({**output, "chunk": chunk(1, b"after")})
            assert await viewer.receive() == {
                "type": "replay",
                "chunks": [chunk(0, b"before the replay")],
                "nextSeq": 1,
            }
            assert await viewer.receive() == {"type": "output", "chunk": chunk(1, b"after")}
            data = base64.b64encode(b"ls\n").decode()
            await viewer.send({"type": "input", "dataBase64": data})
            assert (await next_of(socket, "terminal.input"))["dataBase64"] == data
            await viewer.send({"type": "resize", "cols": 10, "rows": 5})
            assert (await next_of(socket, "terminal.resize"))["cols"] == 10
            await viewer.send({"type": "close"})
            assert (await next_of(socket, "terminal.close"))["reason"] == "user"
            await socket.send(
                {
                    "type": "terminal.exited",
                    "terminalId": terminal["id"],
                    "exitCode": 0,
                    "closeReason": "user",
                }
            )
            assert await viewer.receive() == {
                "type": "exited", "exitCode": 0, "closeReason": "user",
            }  # fmt: skip
            assert (await viewer.wait_closed())[0] == 1000
        shown = (await api.get(f"/terminals/{terminal['id']}")).json()
        assert (shown["state"], shown["exitCode"], shown["cols"]) == ("exited", 0, 10)
        async with attached(hub, terminal["id"]) as late:
            assert (await late.receive())["type"] == "exited"


@pytest.mark.slow
async def test_two_viewers_see_the_same_and_a_leaver_disturbs_nobody(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Each gets its own replay and all later output."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        async with attached(hub, terminal["id"]) as stays:
            await _replay(socket, terminal["id"])
            async with attached(hub, terminal["id"]) as leaves:
                await _replay(socket, terminal["id"])
                assert (await leaves.receive())["type"] == "replay"
            assert (await stays.receive())["type"] == "replay"
            await socket.send(
                {"type": "terminal.output", "terminalId": terminal["id"], "chunk": chunk(0, b"x")}
            )
            assert (await stays.receive())["chunk"] == chunk(0, b"x")


async def _replay(socket: DaemonSocket, terminal_id: str) -> None:
    attach = await next_of(socket, "terminal.attach")
    await socket.send(
        {
            "type": "terminal.replay",
            "requestId": attach["requestId"],
            "terminalId": terminal_id,
            "chunks": [],
            "nextSeq": 0,
        }
    )


@pytest.mark.slow
async def test_a_long_replay_comes_in_parts(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """A whole scrollback of 4 MiB reaches a client that takes messages of at most 1 MiB."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        async with attached(hub, terminal["id"]) as viewer:
            attach = await next_of(socket, "terminal.attach")
            chunks = [chunk(seq, b"x" * 65_536) for seq in range(64)]
            replay = {"type": "terminal.replay", "terminalId": terminal["id"], "nextSeq": 64}
            await socket.send({**replay, "requestId": attach["requestId"], "chunks": chunks})
            seen: list[dict[str, Any]] = []
            while len(seen) < 64:
                message = await viewer.receive()
                assert message["type"] == "replay"
                seen += message["chunks"]
                assert message["nextSeq"] == seen[-1]["seq"] + 1
            assert seen == chunks


@pytest.mark.slow
async def test_a_viewer_that_cannot_keep_up_is_brought_up_to_date(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Output is left out, never piled up; then a replay from there on makes it good."""
    piece = b"x" * 60_000
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        output = {"type": "terminal.output", "terminalId": terminal["id"]}
        resource = f"/api/v1/terminals/{terminal['id']}/attach"
        async with open_socket(hub.url, resource, (), token_of(hub), backlog=0) as viewer:
            await _replay(socket, terminal["id"])
            for seq in range(400):
                await socket.send({**output, "chunk": chunk(seq, piece)})
            await api.get("/terminals")  # the hub has read what was sent before
            seen: list[int] = []
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    while not seen or seen[-1] != 400:
                        message = await viewer.receive()
                        chunks = message.get("chunks", [message.get("chunk")])
                        seen.extend(one["seq"] for one in chunks)

                nursery.start_soon(read)
                attach = await next_of(socket, "terminal.attach")
                await socket.send(
                    {
                        "type": "terminal.replay",
                        "requestId": attach["requestId"],
                        "terminalId": terminal["id"],
                        "chunks": [
                            chunk(number, b"y") for number in range(attach["sinceSeq"], 400)
                        ],
                        "nextSeq": 400,
                    }
                )
                await socket.send({**output, "chunk": chunk(400, b"z")})
            assert seen == list(range(401))
            assert attach["sinceSeq"] < 400


async def test_a_refused_terminal_is_the_daemons_error(
    api: httpx.AsyncClient, daemon: ContractDaemon, nursery: trio.Nursery
) -> None:
    """502 with its code; nothing is left of the terminal."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)

        async def refuse() -> None:
            message = await next_of(socket, "terminal.open")
            await socket.send(
                {
                    "type": "terminal.error",
                    "requestId": message["requestId"],
                    "terminalId": message["terminalId"],
                    "code": "terminal_open_failed",
                    "message": "no pty",
                }
            )

        nursery.start_soon(refuse)
        response = await api.post(f"/environments/{environment['id']}/terminals", json={})
        assert response.status_code == 502
        assert response.json() == {"code": "terminal_open_failed", "message": "no pty"}
        assert (await api.get("/terminals")).json() == {"terminals": []}


@pytest.mark.slow
async def test_a_terminal_that_does_not_open_is_closed(start_hub: Any) -> None:
    """504, and the daemon is told to close it with ``open-timeout``."""
    hub: HubAddress = await start_hub(terminal_open_seconds=0.1)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api, daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        response = await api.post(f"/environments/{environment['id']}/terminals", json={})
        assert (response.status_code, response.json()["code"]) == (504, "terminal_open_timeout")
        opened = await next_of(socket, "terminal.open")
        assert await next_of(socket, "terminal.close") == {
            "type": "terminal.close",
            "terminalId": opened["terminalId"],
            "reason": "open-timeout",
        }


async def test_terminals_end_with_their_session_and_are_closed_at_the_next(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Viewers hear ``daemon-disconnect``; the daemon is told to close what still runs."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        async with attached(hub, terminal["id"]) as viewer:
            await _replay(socket, terminal["id"])
            await viewer.receive()
            await socket.connection.aclose()
            assert await viewer.receive() == {
                "type": "exited", "exitCode": None, "closeReason": "daemon-disconnect",
            }  # fmt: skip
    async with daemon.connected() as again:
        assert await next_of(again, "terminal.close") == {
            "type": "terminal.close",
            "terminalId": terminal["id"],
            "reason": "daemon-disconnect",
        }


def having(*terminal_ids: str) -> dict[str, Any]:
    """What a daemon says that has these terminals."""
    return {"openTerminals": [{"terminalId": one} for one in terminal_ids]}


async def wait_disconnected(api: httpx.AsyncClient) -> None:
    """Until the hub has seen that the socket of its only host is gone."""
    with trio.fail_after(10):
        while (await api.get("/hosts")).json()["hosts"][0]["status"] == "connected":  # noqa: ASYNC110
            await trio.sleep(0.01)


async def state_of(api: httpx.AsyncClient, terminal_id: str) -> tuple[str, str | None]:
    """State and close reason of a terminal."""
    shown = (await api.get(f"/terminals/{terminal_id}")).json()
    return shown["state"], shown["closeReason"]


@pytest.mark.slow
async def test_a_terminal_that_the_daemon_still_has_goes_on(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Over a lost session its viewers stay, and are given exactly what they have missed."""
    async with daemon.connected(**having()) as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        unwatched = await open_terminal(api, socket, environment["id"])
        async with attached(hub, terminal["id"]) as viewer:
            await _replay(socket, terminal["id"])
            await viewer.receive()
            output = {"type": "terminal.output", "terminalId": terminal["id"]}
            await socket.send({**output, "chunk": chunk(3, b"seen")})
            assert (await viewer.receive())["chunk"]["seq"] == 3
            await socket.connection.aclose()
            await wait_disconnected(api)
            assert await state_of(api, terminal["id"]) == ("open", None)
            async with daemon.connected(
                **having(terminal["id"], unwatched["id"], "term_strange")
            ) as again:
                messages = [await again.receive() for _ in range(3)]
                by_type = {(one["type"], one["terminalId"]): one for one in messages}
                assert by_type["terminal.close", "term_strange"]["reason"] == "daemon-disconnect"
                attach = by_type["terminal.attach", terminal["id"]]
                assert attach["sinceSeq"] == 4
                probe = by_type["terminal.attach", unwatched["id"]]
                answer = {"requestId": probe["requestId"], "terminalId": unwatched["id"]}
                await again.send(
                    {
                        "type": "terminal.error",
                        **answer,
                        "code": "terminal_not_found",
                        "message": "gone",
                    }
                )
                await again.send({**output, "chunk": chunk(5, b"in the replay")})
                await again.send(
                    {
                        "type": "terminal.replay",
                        "requestId": attach["requestId"],
                        "terminalId": terminal["id"],
                        "chunks": [chunk(4, b"missed"), chunk(5, b"in the replay")],
                        "nextSeq": 6,
                    }
                )
                await again.send({**output, "chunk": chunk(6, b"live")})
                replay = await viewer.receive()
                assert [one["seq"] for one in replay["chunks"]] == [4, 5]
                assert (await viewer.receive())["chunk"] == chunk(6, b"live")
                await viewer.send({"type": "input", "dataBase64": "eA=="})
                assert (await next_of(again, "terminal.input"))["terminalId"] == terminal["id"]
                assert await state_of(api, unwatched["id"]) == ("exited", "daemon-disconnect")


async def test_a_terminal_that_the_daemon_has_no_more_ends(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """As the daemon comes back without it; one closed by a person meanwhile is closed there."""
    async with daemon.connected(**having()) as socket:
        environment = await make_ready(api, daemon)
        lost = await open_terminal(api, socket, environment["id"])
        closed = await open_terminal(api, socket, environment["id"])
        await socket.connection.aclose()
    await wait_disconnected(api)
    await api.delete(f"/terminals/{closed['id']}")
    async with daemon.connected(**having(closed["id"])) as again:
        message = await next_of(again, "terminal.close")
        assert message["terminalId"] == closed["id"]
        assert await state_of(api, lost["id"]) == ("exited", "daemon-disconnect")
        assert (await state_of(api, closed["id"]))[0] == "exited"


@pytest.mark.slow
async def test_a_daemon_that_stays_away_has_lost_its_terminals(start_hub: Any) -> None:
    """After the grace, at the next sweep."""
    hub: HubAddress = await start_hub(terminal_grace_seconds=0.05, sweep_seconds=0.05)
    daemon = await enroll(hub.url, hub.token, "/data")
    connected = daemon.connected(**having())
    async with daemon.http, api_client(hub) as api, connected as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        async with attached(hub, terminal["id"]) as viewer:
            await _replay(socket, terminal["id"])
            await viewer.receive()
            await socket.connection.aclose()
            assert (await viewer.receive())["closeReason"] == "daemon-disconnect"


async def test_invalid_viewer_messages_close_its_socket(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Unknown types, extra keys, empty input and absurd sizes."""
    async with daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        terminal = await open_terminal(api, socket, environment["id"])
        for message in (
            {"type": "output"},
            {"type": "close", "extra": 1},
            {"type": "input", "dataBase64": ""},
            {"type": "resize", "cols": 0, "rows": 1},
        ):
            async with attached(hub, terminal["id"]) as viewer:
                await viewer.send(message)
                assert await viewer.wait_closed() == (1008, "invalid-message")
