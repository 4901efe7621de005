"""Tools, questions to people, attachments, app data, terminal messages, changes."""

import base64
from pathlib import Path

import pytest
import trio

from bbhost.contract.codec import structure
from bbhost.contract.events import TurnScope, TurnStarted
from bbhost.contract.messages import TerminalChunk, TerminalInput, TerminalOutput
from bbhost.contract.session import (
    EnvironmentChange,
    InteractionRegistered,
    PendingInteraction,
)
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId
from bbhost.errors import BbhostError
from bbhost.session.client import open_client
from bbhost.session.errors import (
    EventsNotDeliveredError,
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
)
from bbhost.session.server_calls import AppFile, Interrupt, ToolCall
from bbhost.session.server_url import parse_server_url
from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import TEMPLATES, Rig, run_rig

THREAD = ThreadId("thr_1")
CALL = ToolCall(THREAD, "prov-1", "turn-1", "call-1", "message_user", {"text": "hello"})


@pytest.fixture
async def server(server: StockServer) -> StockServer:
    server.threads = {"thr_1": "env_1"}
    server.environments = {"env_1": "ready", "env_old": "destroyed"}
    return server


def question(request_id: str = "uuid:1", turn: str = "turn-1") -> PendingInteraction:
    return structure(
        PendingInteraction,
        {
            "threadId": "thr_1",
            "turnId": turn,
            "providerId": "codex",
            "providerThreadId": "prov-1",
            "providerRequestId": request_id,
            "payload": {
                "kind": "approval",
                "subject": {
                    "kind": "command",
                    "itemId": "a",
                    "command": "rm -rf build",
                    "cwd": "/w",
                    "actions": [],
                    "sessionGrant": None,
                },
                "reason": None,
                "availableDecisions": ["allow_once", "deny"],
            },
        },
    )


async def begin_turn(rig: Rig) -> None:
    await rig.session.events.publish(TurnStarted(THREAD, TurnScope("turn-1"), "prov-1"))


async def test_a_tool_is_called_after_the_events_so_far(rig: Rig) -> None:
    await begin_turn(rig)
    response = await rig.session.calls.call_tool(CALL)
    assert response.success
    assert rig.server.tool_calls[0]["arguments"] == {"text": "hello"}


@pytest.mark.slow
async def test_a_tool_is_not_called_when_the_events_do_not_arrive(rig: Rig) -> None:
    rig.server.fail("session/events", 500, {"code": "x", "message": "x"}, times=1000)
    await begin_turn(rig)
    with pytest.raises(EventsNotDeliveredError):
        await rig.session.calls.call_tool(CALL)
    assert rig.server.tool_calls == []


async def test_a_tool_call_outside_a_turn_is_refused(rig: Rig) -> None:
    with pytest.raises(ServerRefusedError) as caught:
        await rig.session.calls.call_tool(CALL)
    assert (caught.value.status, caught.value.retryable) == (409, False)


async def test_a_question_is_registered_once(rig: Rig) -> None:
    await begin_turn(rig)
    first = await rig.session.calls.ask_person(question())
    again = await rig.session.calls.ask_person(question())
    assert isinstance(first, InteractionRegistered)
    assert isinstance(again, InteractionRegistered)
    assert (first.outcome, again.outcome) == ("created", "existing")
    assert first.interaction_id == again.interaction_id
    assert first.is_open


async def test_a_question_is_tried_again_until_the_turn_has_begun(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.session.calls.ask_person, question())
        await rig.server.wait(
            lambda: ("POST", "/internal/session/interactive-request") in rig.server.requests
        )
        assert rig.server.interactions == {}
        await begin_turn(rig)
    assert len(rig.server.interactions) == 1


async def test_a_question_of_an_unknown_thread_fails_at_once(rig: Rig) -> None:
    rig.server.threads.clear()
    with pytest.raises(ServerRefusedError, match="thread_not_found"):
        await rig.session.calls.ask_person(question())


@pytest.mark.slow
async def test_questions_are_taken_back_when_there_is_a_session_again(rig: Rig) -> None:
    await begin_turn(rig)
    await rig.session.calls.ask_person(question())
    await rig.server.drop_socket()
    rig.session.calls.interrupt(Interrupt("codex", (THREAD,), "it exited"))
    await rig.server.wait(lambda: rig.server.interrupts)
    assert rig.server.interrupts[0]["reason"] == "it exited"
    assert [row["status"] for row in rig.server.interactions.values()] == ["interrupted"]


async def test_calls_without_a_session_fail_clearly(rig: Rig) -> None:
    await rig.server.wait_connected()
    rig.server.fail("session/open", 0, times=1000)
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: status.failed_attempts >= 1)
    with pytest.raises(NoSessionError):
        await rig.session.calls.read_attachment(THREAD, "proj_1", "a.txt")
    assert not await rig.session.calls.post_app_resync(THREAD, "app")
    assert not await rig.session.send(TerminalOutput(TerminalId("t"), TerminalChunk(0, b"x")))


async def test_attachments(rig: Rig) -> None:
    rig.server.attachments["a b.txt"] = (b"\x00body", "text/x-odd")
    attachment = await rig.session.calls.read_attachment(THREAD, "proj_1", "a b.txt")
    assert (attachment.content, attachment.content_type) == (b"\x00body", "text/x-odd")
    with pytest.raises(ServerRefusedError, match="forbidden"):
        await rig.session.calls.read_attachment(THREAD, "proj_1", "other")


async def test_attachments_are_not_fetched_in_the_clear() -> None:
    async with open_client(parse_server_url("http://bb.example"), None, "key") as client:
        with pytest.raises(BbhostError) as caught:
            await client.read_attachment("hses_1", THREAD, "proj_1", "a")  # type: ignore[arg-type]
    assert caught.value.code == "attachment_unavailable"


async def test_app_data(rig: Rig) -> None:
    file = AppFile(THREAD, "app", "state.json", {"a": [1]}, "ab" * 32)
    assert await rig.session.calls.post_app_file(file)
    assert await rig.session.calls.post_app_file(AppFile(THREAD, "app", "gone.json"))
    assert await rig.session.calls.post_app_resync(THREAD, "app")
    assert not await rig.session.calls.post_app_resync(ThreadId("thr_9"), "app")
    first, second, third = rig.server.app_data
    assert (first["value"], first["deleted"]) == ({"a": [1]}, False)
    assert (second["value"], second["deleted"], second["version"]) == (None, True, None)
    assert "path" not in third


async def test_changes_are_posted_and_forgotten_environments_are_told(rig: Rig) -> None:
    rig.session.changes.changed(EnvironmentId("env_1"), EnvironmentChange.WORK_STATUS)
    rig.session.changes.changed(EnvironmentId("env_old"), EnvironmentChange.GIT_REFS)
    rig.session.changes.changed(EnvironmentId("env_never"), EnvironmentChange.GIT_REFS)
    await rig.daemon.wait_forgotten(2)
    assert sorted(rig.daemon.forgotten) == ["env_never", "env_old"]
    await rig.server.wait(lambda: rig.server.changes == [("env_1", "work-status-changed")])


# --- the socket -----------------------------------------------------------------------------


async def test_terminal_messages_go_both_ways_in_order(rig: Rig) -> None:
    for number in range(20):
        await rig.server.send({"type": "terminal.input", "terminalId": "t", "dataBase64": "AAA="})
        message = TerminalOutput(TerminalId("t"), TerminalChunk(number, b"out"))
        assert await rig.session.send(message)
    await rig.server.wait(lambda: len(rig.server.messages) == 20)
    assert [message["chunk"]["seq"] for message in rig.server.messages] == list(range(20))
    await rig.server.run_command(TEMPLATES)
    assert len(rig.daemon.terminal_messages) == 20
    assert isinstance(rig.daemon.terminal_messages[0], TerminalInput)


@pytest.mark.slow
async def test_a_server_that_stops_reading_stops_those_who_send(
    server: StockServer, journal_path: Path
) -> None:
    """Nothing piles up in the daemon, and everything else goes on."""
    async with run_rig(server, journal_path) as rig:
        session = await server.wait_connected()
        assert session.socket is not None
        session.socket.reading = trio.Event()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while await rig.session.send(
                TerminalOutput(TerminalId("t"), TerminalChunk(sent, bytes(65536)))
            ):
                sent += 1

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(flood)
            for _ in range(3):
                assert (await server.run_command(TEMPLATES))["ok"]
            await trio.testing.wait_all_tasks_blocked()
            before = sent
            assert (await server.run_command(TEMPLATES))["ok"]
            assert sent == before, "they wait"
            assert sent * 87_384 < 20_000_000, "only what the kernel buffers has gone"
            session.socket.reading.set()
            await server.wait(lambda: len(server.messages) > before + 50)
            nursery.cancel_scope.cancel()


async def test_a_sender_that_is_cancelled_leaves_the_socket_whole(rig: Rig) -> None:
    session = await rig.server.wait_connected()
    assert session.socket is not None
    session.socket.reading = trio.Event()

    async def flood(terminal: str) -> None:
        number = 0
        while True:
            await rig.session.send(
                TerminalOutput(TerminalId(terminal), TerminalChunk(number, bytes(65536)))
            )
            number += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood, "cut")
        await rig.server.run_command(TEMPLATES)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    session.socket.reading.set()
    assert await rig.session.send(TerminalOutput(TerminalId("t"), TerminalChunk(0, b"after")))
    await rig.server.wait(lambda: any(one["terminalId"] == "t" for one in rig.server.messages))
    cut = [one["chunk"]["seq"] for one in rig.server.messages if one["terminalId"] == "cut"]
    assert cut == list(range(len(cut)))
    assert rig.server.sessions == [session]


async def test_a_large_message_of_the_server_is_taken(rig: Rig) -> None:
    data = base64.b64encode(bytes(65536)).decode()
    await rig.server.send({"type": "terminal.input", "terminalId": "t", "dataBase64": data})
    await rig.server.run_command(TEMPLATES)
    (message,) = rig.daemon.terminal_messages
    assert isinstance(message, TerminalInput)
    assert message.data == bytes(65536)


async def test_an_answer_that_is_too_large_is_an_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbhost.session.client.ATTACHMENT_LIMIT", 1000)
    rig.server.attachments["big"] = (bytes(5000), "x/y")
    with pytest.raises(ServerAnswerError, match="larger than"):
        await rig.session.calls.read_attachment(THREAD, "proj_1", "big")


@pytest.mark.slow
async def test_app_data_that_has_no_form_on_the_wire_is_not_taken(rig: Rig) -> None:
    """One such file must not keep all others from being told."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    file = AppFile(THREAD, "app", "deep.json", value, "0" * 64)
    assert not await rig.session.calls.post_app_file(file)
    assert rig.server.app_data == []
