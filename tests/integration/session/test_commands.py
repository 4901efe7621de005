"""Commands are run once, in their lanes, and each is answered, whatever happens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.contract.results import EmptyResult
from bbhost.domain.ids import CommandId
from bbhost.errors import BbhostError, EnvironmentDestroyedError, PathNotFoundError
from bbhost.journal.values import InboxEntry
from bbhost.session import dispatch
from bbhost.session.dispatch import current_command
from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import (
    TEMPLATES,
    Gate,
    Rig,
    destroy_command,
    list_templates,
    rename_command,
    run_rig,
    status_command,
)


async def done(_command: Any) -> EmptyResult:
    return EmptyResult()


async def test_a_command_is_answered(rig: Rig) -> None:
    row = await rig.server.queue(TEMPLATES)
    result = await rig.server.wait_result(row)
    assert result == {
        "sessionId": rig.server.sessions[0].session_id,
        "commandId": row.command_id,
        "completedAt": result["completedAt"],
        "type": "host.list_manager_templates",
        "ok": True,
        "result": {"templates": [{"name": "default"}], "activeName": "default"},
    }


@pytest.mark.slow
async def test_commands_that_waited_for_the_daemon_are_run(
    server: StockServer, journal_path: Path
) -> None:
    rows = [await server.queue(TEMPLATES) for _ in range(250)]
    async with run_rig(server, journal_path):
        for row in rows:
            assert (await server.wait_result(row))["ok"]
    assert all(row.deliveries == 1 for row in rows)


async def test_commands_without_a_hint_are_found(rig: Rig) -> None:
    row = await rig.server.queue(TEMPLATES, hint=False)
    assert (await rig.server.wait_result(row))["ok"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "type_", "code"),
    [
        ({"type": "host.teleport"}, "host.teleport", "unknown_command"),
        ({}, "unknown", "unknown_command"),
        ({"type": 7}, "unknown", "unknown_command"),
        ("nonsense", "unknown", "unknown_command"),
        (None, "unknown", "unknown_command"),
        ({"type": "workspace.status"}, "workspace.status", "invalid_command"),
        ({**TEMPLATES, "extra": 1}, "host.list_manager_templates", "invalid_command"),
    ],
)
async def test_a_command_that_cannot_be_run_is_answered(
    rig: Rig, command: Any, type_: str, code: str
) -> None:
    result = await rig.server.run_command(command)
    assert (result["ok"], result["type"], result["errorCode"]) == (False, type_, code)
    assert result["errorMessage"]


async def test_bad_envelopes_do_not_harm_good_ones(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.server.queue(TEMPLATES, hint=False, envelope={"cursor": 1, "command": TEMPLATES})
    await rig.server.queue(TEMPLATES, hint=False, envelope=[])
    await rig.server.queue(TEMPLATES, hint=False, envelope={"id": 5, "command": TEMPLATES})
    good = await rig.server.queue(TEMPLATES)
    assert (await rig.server.wait_result(good))["ok"]
    assert caplog.text.count("without an id") == 3


async def raises(error: Exception) -> None:
    raise error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PathNotFoundError("no such place"), "path_not_found", "no such place"),
        (BbhostError("odd", code="checkout_dirty"), "checkout_dirty", "odd"),
        (BbhostError(""), "command_failed", "unspecified failure"),
        (BbhostError(" \n"), "command_failed", "unspecified failure"),
        (OSError(28, "No space left on device"), "ENOSPC", "[Errno 28] No space left on device"),
        (RuntimeError("a defect"), "command_failed", "RuntimeError: a defect"),
        (RuntimeError(), "command_failed", "RuntimeError:"),
        (trio.TooSlowError(), "command_failed", "it took too long"),
        (
            ExceptionGroup("", [ValueError("x"), ExceptionGroup("", [PathNotFoundError("y")])]),
            "path_not_found",
            "y",
        ),
    ],
)
async def test_a_failure_becomes_an_error_result(
    server: StockServer, journal_path: Path, error: Exception, code: str, message: str
) -> None:
    async with run_rig(
        server, journal_path, {"host.list_manager_templates": lambda _: raises(error)}
    ):
        result = await server.run_command(TEMPLATES)
        assert (result["errorCode"], result["errorMessage"]) == (code, message)


async def test_a_very_long_message_is_cut(server: StockServer, journal_path: Path) -> None:
    error = BbhostError("x" * 1_000_000)
    async with run_rig(server, journal_path, {"thread.rename": lambda _: raises(error)}):
        result = await server.run_command(rename_command())
        assert 10_000 < len(result["errorMessage"]) < 30_000


@pytest.mark.parametrize("answer", [None, EmptyResult(), {"templates": []}])
async def test_a_result_of_the_wrong_form_never_leaves(
    server: StockServer, journal_path: Path, answer: object
) -> None:
    """The stock server would refuse it without a reason, and hand the command out again."""

    async def wrong(_command: object) -> object:
        return answer

    async with run_rig(server, journal_path, {"host.list_manager_templates": wrong}):
        result = await server.run_command(TEMPLATES)
        assert result["errorCode"] == "command_failed"
        assert "host.list_manager_templates" in result["errorMessage"]


async def test_a_command_that_this_daemon_lacks_is_answered(rig: Rig) -> None:
    result = await rig.server.run_command(rename_command())
    assert result["errorCode"] == "command_failed"
    assert "does not support thread.rename" in result["errorMessage"]


# --- delivered again ------------------------------------------------------------------------


async def test_a_command_that_still_runs_is_not_run_again(
    server: StockServer, journal_path: Path
) -> None:
    server.redelivery_seconds = 0.05
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}, poll_seconds=0.02):
        row = await server.queue(rename_command())
        await server.wait(lambda: row.deliveries == 2)
        assert (await server.run_command(TEMPLATES))["ok"], "the second delivery was taken in"
        gate.open()
        # Unanswered twice, the stock server has settled it by itself meanwhile, or takes ours.
        await server.wait_result(row)
        assert len(gate.begun) == 1


async def test_a_command_that_is_finished_is_not_run_again(rig: Rig) -> None:
    calls = []
    row = await rig.server.queue(TEMPLATES)
    await rig.server.wait_result(row)
    row.state = "pending"
    await rig.server.queue(rename_command(), hint=True)
    await rig.server.wait(lambda: row.deliveries == 2)
    other = await rig.server.run_command(TEMPLATES)
    assert other["ok"]
    assert calls == []
    assert rig.session.statistics()[0].finished == 3


async def test_one_batch_may_hold_a_command_twice(rig: Rig) -> None:
    twice = {"id": "hcmd_twice", "cursor": 5, "command": TEMPLATES}
    first = await rig.server.queue(TEMPLATES, hint=False, envelope=twice)
    await rig.server.queue(TEMPLATES, hint=False, envelope=twice)
    rig.server.commands["hcmd_twice"] = first
    await rig.server.hint()
    await rig.server.wait_result(first)
    assert rig.session.statistics()[0].admitted == 0
    assert rig.session.statistics()[0].finished == 1


async def test_what_a_killed_daemon_had_accepted_is_run_by_the_next(
    server: StockServer, journal_path: Path
) -> None:
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}):
        rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(3)]
        await gate.wait_begun(3)
    assert all(row.state == "fetched" for row in rows)
    seen: list[tuple[str, bool]] = []

    async def rename(command: Any) -> EmptyResult:
        running = current_command.get()
        seen.append((running.command_id, running.resumed))
        return EmptyResult()

    async with run_rig(server, journal_path, {"thread.rename": rename}):
        for row in rows:
            assert (await server.wait_result(row))["ok"]
        after = await server.queue(rename_command())
        await server.wait_result(after)
    assert sorted(seen) == [*((row.command_id, True) for row in rows), (after.command_id, False)]


async def test_commands_left_behind_are_run_without_a_server(
    server: StockServer, journal_path: Path
) -> None:
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}):
        row = await server.queue(rename_command())
        await gate.wait_begun(1)
    server.refuses_sockets = True
    again = Gate()
    again.open()
    async with run_rig(server, journal_path, {"thread.rename": again}, started=False):
        await again.wait_begun(1)
        server.refuses_sockets = False
        assert (await server.wait_result(row))["ok"]


# --- beside each other ----------------------------------------------------------------------


@pytest.mark.slow
async def test_a_slow_command_delays_nobody_else(server: StockServer, journal_path: Path) -> None:
    slow = Gate()
    status = Gate(result=EmptyResult())

    async def destroyed(_command: object) -> None:
        raise EnvironmentDestroyedError("gone")

    handlers = {"environment.destroy": slow, "workspace.status": destroyed}
    async with run_rig(server, journal_path, handlers):
        await server.queue(destroy_command("env_slow"))
        await slow.wait_begun(1)
        # Many wait behind it; they take no place of those that run.
        behind = [await server.queue(status_command("env_slow")) for _ in range(40)]
        assert (await server.run_command(TEMPLATES))["ok"]
        other = await server.run_command(status_command("env_other"))
        assert other["errorCode"] == "environment_destroyed"
        assert not any(row.settled.is_set() for row in behind)
        slow.open()
        for row in behind:
            await server.wait_result(row)
    assert status.begun == []


@pytest.mark.slow
async def test_at_most_32_commands_run_at_a_time(server: StockServer, journal_path: Path) -> None:
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}):
        rows = [await server.queue(rename_command(f"thr_{number}")) for number in range(50)]
        await gate.wait_begun(32)
        later = await server.queue(TEMPLATES)
        await trio.testing.wait_all_tasks_blocked()
        assert gate.inside == 32
        assert later.state == "pending", "nothing is fetched while there is no room"
        gate.open()
        for row in [*rows, later]:
            await server.wait_result(row)
    assert gate.most == 32


@pytest.mark.slow
async def test_no_more_than_the_limit_is_fetched(
    server: StockServer, journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "ADMITTED_LIMIT", 10)
    gate = Gate()
    async with run_rig(server, journal_path, {"environment.destroy": gate}) as rig:
        rows = [await server.queue(destroy_command()) for _ in range(25)]
        await gate.wait_begun(1)
        await server.wait(lambda: rig.session.statistics()[0].admitted == 10)
        assert [row.state for row in rows].count("fetched") == 10
        gate.open()
        for row in rows:
            await server.wait_result(row)
    assert gate.most == 1


async def test_the_order_of_delivery_decides_in_a_lane(
    server: StockServer, journal_path: Path
) -> None:
    order: list[str] = []

    async def handle(command: Any) -> Any:
        order.append(command.TYPE)
        await trio.lowlevel.checkpoint()
        raise PathNotFoundError("x")

    rows = [
        await server.queue(command)
        for command in (status_command(), destroy_command(), status_command(), destroy_command())
    ]
    handlers = {"environment.destroy": handle, "workspace.status": handle}
    async with run_rig(server, journal_path, handlers):
        for row in rows:
            await server.wait_result(row)
    assert order == [
        "workspace.status",
        "environment.destroy",
        "workspace.status",
        "environment.destroy",
    ]


# --- stopping -------------------------------------------------------------------------------


async def test_draining_finishes_what_runs_and_begins_nothing(
    server: StockServer, journal_path: Path
) -> None:
    gate = Gate()
    async with run_rig(
        server,
        journal_path,
        {"thread.rename": gate, "host.list_manager_templates": list_templates},
    ) as rig:
        row = await server.queue(rename_command())
        await gate.wait_begun(1)
        reports = []

        async def drain() -> None:
            reports.append(await rig.session.drain(5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            late = await server.queue(TEMPLATES)
            gate.open()
        (report,) = reports
        assert (report.commands, report.results_delivered, report.events) == (0, True, 0)
        assert (await server.wait_result(row))["ok"]
        assert late.state == "pending", "the next daemon will get it"
        rig.session.close()
        await rig.ended.wait()


async def test_draining_has_a_limit(server: StockServer, journal_path: Path) -> None:
    gate = Gate()
    async with run_rig(server, journal_path, {"thread.rename": gate}) as rig:
        await server.queue(rename_command())
        await gate.wait_begun(1)
        report = await rig.session.drain(0.05)
        assert (report.commands, report.results_delivered) == (1, False)
        assert await rig.journal.pending_commands() != []


async def test_a_batch_that_arrives_while_the_session_ends_is_left_to_the_next_daemon(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the journal, and nobody runs it any more; that is no defect."""
    accept = rig.journal.accept_commands
    arrived, may_go_on = trio.Event(), trio.Event()

    async def accept_slowly(entries: Sequence[InboxEntry]) -> list[CommandId]:
        accepted = await accept(entries)
        arrived.set()
        await may_go_on.wait()
        return accepted

    monkeypatch.setattr(rig.journal, "accept_commands", accept_slowly)
    row = await rig.server.queue(TEMPLATES)
    await arrived.wait()
    services = rig.session._services
    assert services is not None
    services.cancel_scope.cancel()
    await wait_all_tasks_blocked()
    may_go_on.set()
    await rig.ended.wait()
    assert [entry.command_id for entry in await rig.journal.pending_commands()] == [row.command_id]
