"""Results reach the server: in order, over losses and restarts, and none blocks another."""

from pathlib import Path
from typing import Any

import pytest

from bbhost.contract.results import EmptyResult
from bbhost.domain.ids import CommandId
from bbhost.session import reports
from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import TEMPLATES, Gate, Rig, rename_command, run_rig

RESULT = "session/command-result"


async def done(_command: Any) -> EmptyResult:
    return EmptyResult()


def posts(server: StockServer) -> int:
    return [path for _, path in server.requests].count("/internal/session/command-result")


async def test_a_result_made_while_there_is_no_session_is_delivered(rig: Rig) -> None:
    """And under the new session's id."""
    first = await rig.server.wait_connected()
    rig.server.fail(RESULT, 0)
    row = await rig.server.queue(TEMPLATES)
    await rig.server.wait(lambda: not rig.server.faults)
    await rig.server.drop_socket()
    second = await rig.server.wait_connected(other_than=first)
    assert (await rig.server.wait_result(row))["sessionId"] == second.session_id


@pytest.mark.slow
async def test_an_answer_that_is_lost_means_delivery_again(rig: Rig) -> None:
    rig.server.fail(RESULT, 0, after=True)
    row = await rig.server.queue(TEMPLATES)
    await rig.server.wait_result(row)
    await rig.server.wait(lambda: posts(rig.server) == 2)
    assert (await rig.server.run_command(TEMPLATES))["ok"]
    assert await rig.session.flush(5)
    assert await rig.journal.outbox(9) == []


async def test_results_survive_the_daemon(server: StockServer, journal_path: Path) -> None:
    """The first daemon ends before it could deliver; the next one does, in order."""
    server.fail(RESULT, 503, {"code": "down", "message": "down"}, times=10_000)
    handlers = {"thread.rename": done}
    async with run_rig(server, journal_path, handlers) as rig:
        rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(5)]
        await server.wait(lambda: rig.session.statistics()[0].finished == 5)
        assert len(await rig.journal.outbox(99)) == 5
    server.faults.clear()
    async with run_rig(server, journal_path, handlers) as rig:
        for row in rows:
            assert (await server.wait_result(row))["ok"]
        assert rig.session.statistics()[0].finished == 0, "nothing ran twice"


@pytest.mark.slow
async def test_results_go_in_the_order_in_which_they_were_made(
    server: StockServer, journal_path: Path
) -> None:
    async with run_rig(server, journal_path, {"thread.rename": done}) as rig:
        server.fail(RESULT, 500, {"code": "internal_error", "message": "x"}, times=3)
        rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(10)]
        made = [entry.command_id for entry in await rig.journal.outbox(99)]
        for row in rows:
            await server.wait_result(row)
        assert server.settled_order[: len(made)] == made
        assert sorted(server.settled_order) == [row.command_id for row in rows]
        assert await rig.session.flush(5)
        assert await rig.journal.outbox(9) == []
        assert rig.session.statistics()[1].delivered == 10


async def test_a_result_that_nobody_wants_is_dropped(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    row = await rig.server.queue(TEMPLATES, hint=False)
    del rig.server.commands[row.command_id]
    envelope = {"id": row.command_id, "cursor": 1, "command": TEMPLATES}
    carrier = await rig.server.queue(TEMPLATES, envelope=envelope)
    await rig.server.wait(lambda: carrier.state == "fetched" and posts(rig.server) == 1)
    assert (await rig.server.run_command(TEMPLATES))["ok"]
    assert await rig.session.flush(5)
    assert await rig.journal.outbox(9) == []
    assert rig.session.statistics()[1].stale == 1


async def test_a_result_that_is_refused_is_replaced_by_an_error(rig: Rig) -> None:
    """Somebody waits for an answer; the stock server does not say what it disliked."""
    rig.server.fail(RESULT, 400, {"code": "invalid_request", "message": "Invalid input"})
    result = await rig.server.run_command(TEMPLATES)
    assert (result["ok"], result["errorCode"]) == (False, "command_failed")
    assert "Invalid input" in result["errorMessage"]
    assert rig.session.statistics()[1].replaced == 1
    assert (await rig.server.run_command(TEMPLATES))["ok"]


async def test_a_command_whose_every_result_is_refused_is_given_up(rig: Rig) -> None:
    rig.server.fail(RESULT, 400, {"code": "invalid_request", "message": "no"}, times=2)
    row = await rig.server.queue(TEMPLATES)
    await rig.server.wait(lambda: posts(rig.server) == 2)
    assert (await rig.server.run_command(TEMPLATES))["ok"]
    assert not row.settled.is_set()
    assert await rig.session.flush(5)
    assert await rig.journal.outbox(9) == []


@pytest.mark.slow
async def test_a_result_over_which_the_server_fails_does_not_block_the_others(
    server: StockServer, journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "SERVER_FAULT_LIMIT", 2)
    monkeypatch.setattr(reports, "SET_ASIDE_SECONDS", 0.5)
    async with run_rig(server, journal_path):
        server.fail(RESULT, 500, {"code": "internal_error", "message": "x"}, times=2)
        bad = await server.queue(TEMPLATES)
        await server.wait(lambda: not server.faults)
        assert (await server.run_command(TEMPLATES))["ok"]
        assert not bad.settled.is_set()
        assert (await server.wait_result(bad))["ok"], "it gets its turn again"


@pytest.mark.slow
async def test_an_answer_that_makes_no_sense_is_not_an_acknowledgement(rig: Rig) -> None:
    rig.server.fail(RESULT, 200, {"hello": 1})
    rig.server.fail(RESULT, 200, b"<html>")
    row = await rig.server.queue(TEMPLATES)
    assert (await rig.server.wait_result(row))["ok"]
    assert posts(rig.server) == 3


async def test_a_held_result_waits_while_others_pass(
    server: StockServer, journal_path: Path
) -> None:
    async with run_rig(server, journal_path) as rig:
        sender = rig.session._reports
        held = CommandId("hcmd_0000000003")
        sender.hold(held)
        row = await server.queue(TEMPLATES)
        assert row.command_id == held
        assert (await server.run_command(TEMPLATES))["ok"]
        assert not row.settled.is_set()
        sender.release(held)
        assert (await server.wait_result(row))["ok"]


async def test_many_results_at_once(server: StockServer, journal_path: Path) -> None:
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}) as rig:
        rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(32)]
        await gate.wait_begun(32)
        gate.open()
        for row in rows:
            assert (await server.wait_result(row))["ok"]
        statistics = rig.journal.statistics()
        assert statistics.transactions < 100, "results that are ready together share commits"
