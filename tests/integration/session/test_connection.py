"""Sessions are opened, kept, lost and opened again; only the server's word ends the daemon."""

from pathlib import Path

import pytest
import trio

from bbhost.contract.session import SessionOpenResponse
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.lifecycle.session import EndCause, SessionState
from bbhost.session import connection, link
from bbhost.session.errors import SessionStartError
from bbhost.session.hooks import SessionDescription
from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import HOST, TEMPLATES, FakeDaemon, Rig, run_rig


async def test_the_server_is_told_who_we_are(server: StockServer, journal_path: Path) -> None:
    daemon = FakeDaemon(
        SessionDescription((ThreadId("thr_1"),), (EnvironmentId("env_1"), EnvironmentId("env_2")))
    )
    server.environments = {"env_1": "ready", "env_2": "destroyed"}
    async with run_rig(server, journal_path, daemon=daemon) as rig:
        session = await server.wait_connected()
        assert session.opened_with == {
            "hostId": HOST,
            "instanceId": session.instance_id,
            "hostName": "rig",
            "hostType": "persistent",
            "dataDir": str(journal_path.parent),
            "protocolVersion": 26,
            "activeThreads": [{"threadId": "thr_1"}],
            "loadedEnvironments": [{"environmentId": "env_1"}, {"environmentId": "env_2"}],
            "openTerminals": [],
        }
        (response,) = daemon.opened
        assert response.retired_environment_ids == ("env_2",)
        assert response.live_environment_ids is None, "absent means unknown"
        status = rig.session.status.value
        assert (status.state, status.session_id) == (SessionState.OPEN, session.session_id)


async def test_lists_that_a_server_does_not_send_are_unknown(
    server: StockServer, journal_path: Path
) -> None:
    server.sends_retired_list = False
    async with run_rig(server, journal_path) as rig:
        assert rig.daemon.opened[0].retired_environment_ids is None
        assert rig.daemon.opened[0].live_environment_ids is None


async def test_a_server_with_the_live_list_is_understood(
    server: StockServer, journal_path: Path
) -> None:
    server.sends_live_list = True
    server.environments = {"env_1": "ready", "env_2": "destroyed"}
    async with run_rig(server, journal_path) as rig:
        assert rig.daemon.opened[0].live_environment_ids == ("env_1",)


@pytest.mark.slow
async def test_heartbeats_keep_the_lease(server: StockServer, journal_path: Path) -> None:
    server.heartbeat_interval_ms = 20
    async with run_rig(server, journal_path):
        session = await server.wait_connected()
        lease = session.lease_until
        await server.wait(lambda: session.heartbeats >= 10)
        assert session.lease_until > lease
        assert server.sessions == [session]
        assert session.socket is not None
        assert session.socket.pings >= 2


@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 1011])
async def test_a_lost_socket_leads_to_a_new_session(rig: Rig, code: int | None) -> None:
    first = await rig.server.wait_connected()
    rig.daemon.description = SessionDescription((ThreadId("thr_9"),))
    await rig.server.drop_socket(code, "server-shutdown" if code else "")
    second = await rig.server.wait_connected(other_than=first)
    assert second.instance_id == first.instance_id
    assert second.opened_with["activeThreads"] == [{"threadId": "thr_9"}]
    assert (await rig.server.run_command(TEMPLATES))["ok"]
    assert len(rig.daemon.opened) == 2


async def test_an_expired_session_leads_to_a_new_one(rig: Rig) -> None:
    first = await rig.server.wait_connected()
    await rig.server.expire_session()
    await rig.server.wait_connected(other_than=first)
    assert (await rig.server.run_command(TEMPLATES))["ok"]


async def test_a_replaced_daemon_stops(rig: Rig) -> None:
    await rig.server.wait_connected()
    await rig.server.replace_session()
    end = await rig.session.wait_dismissed()
    assert end.cause is EndCause.REPLACED
    assert rig.session.status.value.state is SessionState.DRAINING
    rig.session.close()
    await rig.ended.wait()
    assert len(rig.server.sessions) == 1


@pytest.mark.slow
async def test_the_reason_decides_also_when_a_request_noticed_the_end_first(rig: Rig) -> None:
    """Otherwise two daemons of one host could take each other's place for ever."""
    session = await rig.server.wait_connected()
    assert session.socket is not None
    await rig.server.run_command(TEMPLATES)
    await rig.server.close_session_quietly()
    fetches = len(rig.server.requests)
    await rig.server.wait(lambda: len(rig.server.requests) > fetches)
    await session.socket.send('{"type":"session-close","reason":"replaced"}')
    assert (await rig.session.wait_dismissed()).cause is EndCause.REPLACED
    assert rig.server.sessions == [session]


async def test_a_daemon_that_is_told_to_go_stops(rig: Rig) -> None:
    await rig.server.wait_connected()
    await rig.server.send({"type": "session-close", "reason": "daemon-disconnect"})
    assert (await rig.session.wait_dismissed()).cause is EndCause.DISMISSED


@pytest.mark.slow
async def test_a_session_that_is_gone_is_noticed_at_the_next_request(rig: Rig) -> None:
    """Requests answer inactive_session while the socket still looks alive."""
    first = await rig.server.wait_connected()
    await rig.server.close_session_quietly()
    row = await rig.server.queue(TEMPLATES)
    await rig.server.wait_connected(other_than=first)
    assert (await rig.server.wait_result(row))["ok"]


@pytest.mark.slow
async def test_a_server_that_is_gone_for_a_while(rig: Rig) -> None:
    first = await rig.server.wait_connected()
    rig.server.fail("session/open", 0, times=3)
    rig.server.fail("session/open", 503, b"<html>down</html>", times=2)
    row = await rig.server.queue(TEMPLATES, hint=False)
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: status.failed_attempts >= 5)
    assert "503" in rig.session.status.value.trouble
    await rig.server.wait_connected(other_than=first)
    assert (await rig.server.wait_result(row))["ok"]


@pytest.mark.slow
async def test_a_refusal_after_the_first_session_is_not_the_end(rig: Rig) -> None:
    first = await rig.server.wait_connected()
    rig.server.protocol_version = 27
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: "protocol 26" in status.trouble)
    rig.server.protocol_version = 26
    await rig.server.wait_connected(other_than=first)


async def test_a_protocol_mismatch_at_the_start_names_both_versions(
    server: StockServer, journal_path: Path
) -> None:
    server.protocol_version = 89
    with pytest.RaisesGroup(
        pytest.RaisesExc(SessionStartError, match=r"speaks 89.*speaks protocol 26")
    ):
        async with run_rig(server, journal_path):
            pass
    assert len(server.requests) == 1


async def test_a_wrong_key_at_the_start_is_fatal(server: StockServer, journal_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(SessionStartError, match="enrol this host again")):
        async with run_rig(server, journal_path, host_key="bbdh_wrong"):
            pass


@pytest.mark.slow
async def test_no_session_within_the_start_up_time_is_fatal(
    server: StockServer, journal_path: Path
) -> None:
    server.refuses_sockets = True
    with pytest.RaisesGroup(pytest.RaisesExc(SessionStartError, match="refused")):
        async with run_rig(server, journal_path, start_up_seconds=0.3):
            pass
    assert len(server.sessions) > 1, "it was tried again"


@pytest.mark.slow
async def test_a_server_that_does_not_answer_at_the_start_is_fatal(
    server: StockServer, journal_path: Path
) -> None:
    server.fail("session/open", -1, times=9)
    with pytest.RaisesGroup(pytest.RaisesExc(SessionStartError, match="within 0 s")):
        async with run_rig(server, journal_path, start_up_seconds=0.2):
            pass


async def test_messages_that_are_not_understood_are_ignored(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    first = await rig.server.wait_connected()
    await rig.server.send({"type": "watch-set.replace", "generation": 3})
    await rig.server.send({"type": "terminal.resize", "terminalId": "t", "cols": 0, "rows": 1})
    await rig.server.send({"type": "commands-available", "more": 5})
    await rig.server.send(
        {"type": "terminal.resize", "terminalId": "t", "cols": 8, "rows": 9, "new": 1}
    )
    assert (await rig.server.run_command(TEMPLATES))["ok"]
    assert rig.server.sessions == [first]
    assert len(rig.daemon.terminal_messages) == 1
    assert "watch-set.replace" in caplog.text


@pytest.mark.slow
async def test_a_flood_of_nonsense_leads_to_a_new_session(rig: Rig) -> None:
    first = await rig.server.wait_connected()
    for _ in range(link.INVALID_LIMIT + 1):
        await rig.server.send("nonsense")
    await rig.server.wait_connected(other_than=first)


async def test_a_message_that_is_too_large_leads_to_a_new_session(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await rig.server.wait_connected()
    await rig.server.send("x" * (link.MESSAGE_BYTES_LIMIT + 1))
    await rig.server.wait_connected(other_than=first)


@pytest.mark.slow
async def test_a_server_that_does_not_answer_pings_is_given_up(
    server: StockServer, journal_path: Path
) -> None:
    server.heartbeat_interval_ms, server.lease_timeout_ms = 20, 100_000
    async with run_rig(server, journal_path, poll_seconds=60) as rig:
        first = await server.wait_connected()
        # A lease of 100 s counted in beats of 20 ms is long; shorten what the link counts.
        server.lease_timeout_ms = 200
        await server.drop_socket()
        second = await server.wait_connected(other_than=first)
        assert second.socket is not None
        second.socket.reading = trio.Event()
        second.lease_until = float("inf")
        await server.wait_connected(other_than=second)
        await server.wait(lambda: len(rig.daemon.opened) == 3)


async def test_a_daemon_that_cannot_take_in_the_answer_stays_connected(
    server: StockServer, journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_response: SessionOpenResponse) -> None:
        raise RuntimeError("a defect")

    async with run_rig(server, journal_path, daemon=FakeDaemon(on_opened=fail)):
        assert (await server.run_command(TEMPLATES))["ok"]
    assert "a defect" in caplog.text


async def test_a_defect_in_taking_a_terminal_message_stays_there(
    server: StockServer, journal_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_message: object) -> None:
        raise RuntimeError("a defect")

    async with run_rig(server, journal_path, daemon=FakeDaemon(on_terminal_message=fail)):
        await server.send({"type": "terminal.close", "terminalId": "t", "reason": "user"})
        assert (await server.run_command(TEMPLATES))["ok"]
        assert len(server.sessions) == 1
    assert "a defect" in caplog.text


async def test_nothing_is_fetched_before_the_answer_is_taken_in(
    server: StockServer, journal_path: Path
) -> None:
    taken_in = trio.Event()

    async def wait(_response: SessionOpenResponse) -> None:
        await taken_in.wait()

    row = await server.queue(TEMPLATES)
    daemon = FakeDaemon(on_opened=wait)
    async with run_rig(server, journal_path, daemon=daemon, started=False):
        await server.wait_connected()
        await server.wait(lambda: daemon.opened)
        assert row.deliveries == 0
        taken_in.set()
        assert (await server.wait_result(row))["ok"]


async def test_taking_in_the_answer_has_a_limit(
    server: StockServer, journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TAKE_IN_SECONDS", 0.05)

    async def for_ever(_response: SessionOpenResponse) -> None:
        await trio.sleep_forever()

    async with run_rig(server, journal_path, daemon=FakeDaemon(on_opened=for_ever)):
        assert (await server.run_command(TEMPLATES))["ok"]


async def test_closing_says_goodbye(rig: Rig) -> None:
    session = await rig.server.wait_connected()
    rig.session.close()
    await rig.ended.wait()
    await rig.server.wait(lambda: session.status == "daemon-disconnect")


async def test_closing_while_there_is_no_session(rig: Rig) -> None:
    await rig.server.wait_connected()
    rig.server.fail("session/open", 0, times=1000)
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: status.failed_attempts >= 1)
    rig.session.close()
    await rig.ended.wait()


async def test_closing_while_a_session_is_being_opened(rig: Rig) -> None:
    await rig.server.wait_connected()
    rig.server.fail("session/open", -1)
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: status.state is SessionState.OPENING)
    rig.session.close()
    await rig.ended.wait()
