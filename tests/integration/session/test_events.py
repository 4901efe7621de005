"""Events arrive once, in order, before what depends on them, and one bad one stops no other."""

from pathlib import Path
from typing import Any

import pytest
import trio

from bbhost.contract.events import (
    AgentMessageDelta,
    ItemCompleted,
    ThreadEvent,
    ThreadScope,
    ThreadStarted,
    TurnCompleted,
    TurnScope,
    TurnStarted,
)
from bbhost.contract.items import AgentMessageItem
from bbhost.contract.results import EmptyResult
from bbhost.domain.ids import ThreadId
from bbhost.session import event_spool, events
from bbhost.session.errors import EventsNotDeliveredError
from tests.fakes.stock_server import StockServer
from tests.integration.session.rig import TEMPLATES, Gate, Rig, run_rig

THREAD = ThreadId("thr_1")
TURN = TurnScope("turn-1")
EVENTS = "session/events"
STOP = {"type": "thread.stop", "environmentId": "env_1", "threadId": "thr_1"}


def started(thread: str = THREAD) -> ThreadEvent:
    return ThreadStarted(ThreadId(thread), ThreadScope())


def turn_started(turn: str = "turn-1", thread: str = THREAD) -> ThreadEvent:
    return TurnStarted(ThreadId(thread), TurnScope(turn), "prov-1")


def delta(text: str, turn: str = "turn-1", thread: str = THREAD) -> ThreadEvent:
    return AgentMessageDelta(ThreadId(thread), TurnScope(turn), "prov-1", "item-1", text)


def completed(turn: str = "turn-1") -> ThreadEvent:
    return TurnCompleted(THREAD, TurnScope(turn), "prov-1", "completed")


def item(text: str = "all") -> ThreadEvent:
    return ItemCompleted(THREAD, TURN, "prov-1", AgentMessageItem("item-1", text))


def types(server: StockServer) -> list[str]:
    return [row["event"]["type"] for row in server.events]


def deltas(server: StockServer) -> list[str]:
    return [row["event"]["delta"] for row in server.events if "delta" in row["event"]]


def posts(server: StockServer) -> int:
    return [path for _, path in server.requests].count("/internal/session/events")


@pytest.fixture
async def server(server: StockServer) -> StockServer:
    server.threads = {"thr_1": "env_1", "thr_2": "env_1"}
    return server


async def test_a_turn_arrives_in_order_and_in_few_posts(rig: Rig) -> None:
    await rig.session.events.publish(turn_started())
    for number in range(50):
        await rig.session.events.publish(delta(str(number)))
    await rig.session.events.publish(item())
    await rig.session.events.publish(completed())
    await rig.server.wait(lambda: len(rig.server.events) == 53)
    assert types(rig.server)[0] == "turn/started"
    assert deltas(rig.server) == [str(number) for number in range(50)]
    assert types(rig.server)[-2:] == ["item/completed", "turn/completed"]
    assert posts(rig.server) <= 4


@pytest.mark.slow
async def test_a_talkative_agent_costs_its_events_once(rig: Rig) -> None:
    """Nothing is posted twice, however long the spool is."""
    count = 2000
    await rig.session.events.publish(turn_started())
    for number in range(count):
        await rig.session.events.publish(delta(str(number)))
    await rig.session.events.flush()
    assert deltas(rig.server) == [str(number) for number in range(count)]
    assert posts(rig.server) <= count / events.BATCH_EVENTS + 5
    assert rig.session.events.waiting == 0


async def test_batches_are_bounded_in_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BATCH_BYTES", 10_000)
    await rig.session.events.publish(turn_started())
    for _ in range(20):
        await rig.session.events.publish(delta("x" * 4000))
    await rig.session.events.flush()
    assert len(rig.server.events) == 21
    assert posts(rig.server) >= 10


async def test_events_survive_the_daemon(server: StockServer, journal_path: Path) -> None:
    server.fail(EVENTS, 503, {"code": "down", "message": "down"}, times=10_000)
    async with run_rig(server, journal_path) as rig:
        await rig.session.events.publish(turn_started())
        await rig.session.events.publish(completed())
        await server.wait(lambda: posts(server) >= 1)
    server.faults.clear()
    async with run_rig(server, journal_path) as rig:
        assert rig.session.events.waiting in {0, 2}
        await rig.session.events.publish(started("thr_2"))
        await server.wait(lambda: len(server.events) == 3)
    assert types(server) == ["turn/started", "turn/completed", "thread/started"]


@pytest.mark.slow
async def test_events_wait_for_a_session(rig: Rig) -> None:
    first = await rig.server.wait_connected()
    rig.server.fail("session/open", 0, times=2)
    await rig.server.drop_socket()
    await rig.session.events.publish(turn_started())
    await rig.session.events.publish(completed())
    await rig.server.wait_connected(other_than=first)
    await rig.server.wait(lambda: len(rig.server.events) == 2)


@pytest.mark.slow
async def test_an_answer_that_is_lost_stores_nothing_twice(rig: Rig) -> None:
    rig.server.fail(EVENTS, 0, after=True, times=2)
    await rig.session.events.publish(turn_started())
    await rig.session.events.publish(completed())
    await rig.server.wait(lambda: posts(rig.server) == 3)
    await rig.session.events.flush_required(THREAD)
    assert types(rig.server) == ["turn/started", "turn/completed"]


async def test_events_of_a_thread_that_is_not_ours_are_dropped(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.session.events.publish(started("thr_foreign"))
    await rig.session.events.publish(started("thr_foreign"))
    await rig.session.events.publish(started())
    await rig.session.events.flush()
    assert len(rig.server.events) == 1
    assert caplog.text.count("thr_foreign are not wanted") == 1


@pytest.mark.slow
async def test_a_refused_event_is_set_aside_and_the_others_arrive(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the start of a turn never reached the server, so it refuses what belongs to it."""
    await rig.session.events.publish(turn_started("turn-1"))
    for number in range(7):
        await rig.session.events.publish(delta(str(number), "turn-1"))
    await rig.session.events.publish(delta("orphan", "turn-lost", "thr_2"))
    await rig.session.events.publish(delta("orphan too", "turn-lost", "thr_2"))
    for number in range(7, 12):
        await rig.session.events.publish(delta(str(number), "turn-1"))
    with pytest.raises(EventsNotDeliveredError, match="turn/started"):
        await rig.session.events.flush_required(ThreadId("thr_2"))
    await rig.session.events.flush_required(THREAD)
    assert deltas(rig.server) == [str(number) for number in range(12)]
    assert caplog.text.count("is set aside") == 2
    assert rig.session.events.waiting == 0


@pytest.mark.slow
async def test_an_event_with_another_payload_than_before_is_set_aside(rig: Rig) -> None:
    """The server stored it, we did not hear of it, and the copy on the server differs."""
    rig.server.fail(EVENTS, 0, after=True)
    await rig.session.events.publish(started())
    await rig.server.wait(lambda: rig.server.events)
    (stored,) = rig.server.events
    rig.server._event_hashes[stored["producerEventId"]] = ("another", 1)
    with pytest.raises(EventsNotDeliveredError, match="payload_mismatch"):
        await rig.session.events.flush_required(THREAD)
    await rig.session.events.publish(started("thr_2"))
    await rig.session.events.flush_required(ThreadId("thr_2"))
    assert len(rig.server.events) == 2


async def test_an_event_that_breaks_the_contract_is_not_published(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.session.events.publish(turn_started(turn=""))
    await rig.session.events.publish(started())
    await rig.session.events.flush()
    assert types(rig.server) == ["thread/started"]
    assert "breaks the contract" in caplog.text


@pytest.mark.slow
async def test_a_flush_without_a_session_fails(rig: Rig) -> None:
    await rig.server.wait_connected()
    rig.server.fail("session/open", 0, times=1000)
    await rig.server.drop_socket()
    await rig.session.status.wait_value(lambda status: status.failed_attempts >= 1)
    await rig.session.events.flush()  # nothing to send, nothing to fail
    await rig.session.events.publish(turn_started())
    with pytest.raises(EventsNotDeliveredError, match="no session"):
        await rig.session.events.flush_required(THREAD)


@pytest.mark.slow
async def test_a_required_flush_tries_several_times(rig: Rig) -> None:
    rig.server.fail(EVENTS, 503, {"code": "busy", "message": "busy"}, times=3)
    await rig.session.events.publish(completed())
    await rig.session.events.publish(turn_started())
    rig.server._started_turns.add("turn-1")
    await rig.session.events.flush_required(THREAD)
    assert len(rig.server.events) == 2


# --- before results -------------------------------------------------------------------------


async def test_a_result_waits_for_the_events_of_its_command(
    server: StockServer, journal_path: Path
) -> None:
    sessions: list[Any] = []

    async def stop(_command: Any) -> EmptyResult:
        await sessions[0].events.publish(turn_started())
        await sessions[0].events.publish(delta("last words"))
        return EmptyResult()

    async with run_rig(server, journal_path, {"thread.stop": stop}) as rig:
        sessions.append(rig.session)
        row = await server.queue(STOP)
        await server.wait_result(row)
        assert deltas(server) == ["last words"]


async def test_other_results_do_not_wait_for_events(
    server: StockServer, journal_path: Path
) -> None:
    """The server may be waiting for one of them before it answers the post of the events."""
    stop = Gate()
    stop.open()
    async with run_rig(server, journal_path, {"thread.stop": stop}) as rig:
        server.fail(EVENTS, -1)
        await rig.session.events.publish(turn_started())
        row = await server.queue(STOP)
        await stop.wait_begun(1)
        assert (await server.run_command(TEMPLATES))["ok"]
        assert not row.settled.is_set()


async def test_a_result_goes_even_when_its_events_do_not(
    server: StockServer, journal_path: Path
) -> None:
    stop = Gate()
    stop.open()
    async with run_rig(server, journal_path, {"thread.stop": stop}) as rig:
        server.fail(EVENTS, 500, {"code": "internal_error", "message": "x"}, times=50)
        await rig.session.events.publish(turn_started())
        assert (await server.run_command(STOP))["ok"]


# --- bounds ---------------------------------------------------------------------------------


async def test_too_much_progress_is_dropped_and_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_spool, "DROP_EVENTS", 20)
    rig.server.fail(EVENTS, 503, {"code": "down", "message": "down"}, times=10_000)
    await rig.session.events.publish(turn_started())
    for number in range(100):
        await rig.session.events.publish(delta(str(number)))
    await rig.session.events.publish(item())
    await rig.session.events.publish(completed())
    assert rig.session.events.waiting == 22
    rig.server.faults.clear()
    await rig.session.events.flush_required(THREAD)
    assert types(rig.server)[-2:] == ["item/completed", "turn/completed"]
    assert deltas(rig.server) == [str(number) for number in range(19)]
    assert "81 pieces of progress were dropped" in caplog.text


@pytest.mark.slow
async def test_a_full_spool_holds_up_those_who_publish(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_spool, "FULL_EVENTS", 5)
    rig.server.fail(EVENTS, 503, {"code": "down", "message": "down"}, times=10_000)
    published = 0

    async def publish_all() -> None:
        nonlocal published
        for number in range(12):
            await rig.session.events.publish(turn_started(f"turn-{number}"))
            published += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish_all)
        await rig.server.wait(lambda: posts(rig.server) >= 1 and published == 5)
        rig.server.faults.clear()
        rig.session.events.wake()
    await rig.session.events.flush_required(THREAD)
    assert len(rig.server.events) == 12


async def test_urgent_events_are_on_disk_at_once(rig: Rig) -> None:
    rig.server.fail(EVENTS, 503, {"code": "down", "message": "down"}, times=10_000)
    await rig.session.events.publish(delta("not yet"))
    await rig.session.events.publish(completed())
    rows = await rig.journal.spooled_events(9)
    assert [row.thread_id for row in rows] == ["thr_1", "thr_1"]
