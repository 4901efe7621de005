"""What the journal promises: order, durability, each command once, nothing half-written."""

from pathlib import Path

import pytest
import trio
from attrs import evolve

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation, ThreadId
from bbhost.domain.workspace import PersonalSpec
from bbhost.errors import JournalError
from bbhost.journal import tables
from bbhost.journal.journal import Journal, open_journal
from bbhost.journal.values import InboxEntry, SpooledEvent, SpoolSize
from bbhost.processes.records import ProcessRecord


def environment(name: str, incarnation: int = 1, **changes: object) -> EnvironmentRecord:
    record = EnvironmentRecord(
        environment_id=EnvironmentId(name),
        incarnation=Incarnation(incarnation),
        state=EnvironmentState.READY,
        spec=PersonalSpec(f"/data/{name}"),
        changed_at=1,
    )
    return evolve(record, **changes)


def entry(name: str, cursor: int = 1) -> InboxEntry:
    return InboxEntry(CommandId(name), cursor, '{"type":"x"}')


def event(number: int, thread: str = "thr_1", text: str = "{}") -> SpooledEvent:
    return SpooledEvent(f"hdevt_{number:04}", ThreadId(thread), text)


@pytest.mark.slow
async def test_an_environment_is_there_after_reopening(journal_path: Path) -> None:
    record = environment("env_1", cause=TeardownCause.DESTROY, state=EnvironmentState.DESTROYING)
    async with open_journal(journal_path) as journal:
        await journal.save_environment(environment("env_1"))
        await journal.save_environment(record)
        await journal.save_environment(environment("env_2"))
    async with open_journal(journal_path) as journal:
        assert await journal.environments() == [record, environment("env_2")]
        assert await journal.environment(EnvironmentId("env_1")) == record
        await journal.forget_environment(EnvironmentId("env_1"))
        assert await journal.environment(EnvironmentId("env_1")) is None


@pytest.mark.slow
async def test_an_older_incarnation_never_replaces_a_later_one(journal: Journal) -> None:
    await journal.save_environment(environment("env_1", 2))
    with pytest.raises(JournalError, match="older than"):
        await journal.save_environment(environment("env_1", 1))
    assert await journal.environments() == [environment("env_1", 2)]


@pytest.mark.slow
async def test_a_command_is_new_once(journal: Journal) -> None:
    """Known are: waiting for a result, waiting for delivery of the result, and finished."""
    assert await journal.accept_commands([entry("a", 1), entry("b", 2), entry("a", 1)]) == [
        "a",
        "b",
    ]
    assert await journal.accept_commands([entry("a"), entry("c", 3)]) == ["c"]
    seq = await journal.settle_command(CommandId("a"), "{}")
    assert await journal.accept_commands([entry("a")]) == []
    await journal.acknowledge(seq)
    assert await journal.accept_commands([entry("a")]) == []
    assert [item.command_id for item in await journal.pending_commands()] == ["b", "c"]


@pytest.mark.slow
async def test_the_memory_of_finished_commands_is_bounded(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SETTLED_LIMIT", 3)
    for number in range(5):
        await journal.acknowledge(await journal.settle_command(CommandId(f"c{number}"), "{}"))
    new = await journal.accept_commands([entry(f"c{number}") for number in range(5)])
    assert new == ["c0", "c1"]


@pytest.mark.slow
async def test_results_wait_in_order_until_they_are_acknowledged(journal_path: Path) -> None:
    async with open_journal(journal_path) as journal:
        await journal.accept_commands([entry("a"), entry("b"), entry("c")])
        seqs = [await journal.settle_command(CommandId(name), f'"{name}"') for name in "cab"]
        assert seqs == sorted(seqs)
        await journal.acknowledge(seqs[1])
        await journal.replace_report(seqs[2], '"B"')
    async with open_journal(journal_path) as journal:
        assert [item.report_json for item in await journal.outbox(10)] == ['"c"', '"B"']
        assert [item.command_id for item in await journal.outbox(1)] == ["c"]
        assert [item.command_id for item in await journal.outbox(9, after=seqs[0])] == ["b"]
        assert await journal.pending_commands() == []


async def test_the_first_result_of_a_command_wins(journal: Journal) -> None:
    first = await journal.settle_command(CommandId("a"), '"first"')
    assert first > 0
    assert await journal.settle_command(CommandId("a"), '"second"') == 0
    await journal.acknowledge(first)
    assert await journal.settle_command(CommandId("a"), '"third"') == 0
    assert await journal.outbox(10) == []


async def test_places_in_the_outbox_are_never_used_again(journal: Journal) -> None:
    first = await journal.settle_command(CommandId("a"), "{}")
    await journal.acknowledge(first)
    assert await journal.settle_command(CommandId("b"), "{}") > first


@pytest.mark.slow
async def test_a_page_of_large_reports_ends_early(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PAGE_BYTES", 100)
    for name in "abc":
        await journal.settle_command(CommandId(name), "x" * 60)
    assert [item.command_id for item in await journal.outbox(10)] == ["a", "b"]


@pytest.mark.slow
async def test_events_keep_their_order_and_are_spooled_once(journal_path: Path) -> None:
    async with open_journal(journal_path) as journal:
        await journal.append_events([event(3), event(1)])
        await journal.append_events([event(2), event(1, text='{"other":1}')])
    async with open_journal(journal_path) as journal:
        assert await journal.spooled_events(10) == [event(3), event(1), event(2)]
        assert await journal.spooled_events(1) == [event(3)]
        assert await journal.spooled_events(10, after="hdevt_0003") == [event(1), event(2)]
        assert await journal.spool_size() == SpoolSize(3, 6)
        await journal.drop_events(["hdevt_0001", "hdevt_0003", "hdevt_9999"])
        assert await journal.spooled_events(10) == [event(2)]
        await journal.refuse_event("hdevt_0002", "bad")
        assert await journal.spooled_events(10) == []


@pytest.mark.slow
async def test_processes_and_facts(journal: Journal) -> None:
    process = ProcessRecord(EnvironmentId("e"), Incarnation(1), 7, 99, "boot", "marker")
    await journal.record_process(process)
    await journal.record_process(evolve(process, pid=8))
    await journal.forget_process(8, 99)
    assert await journal.processes() == [process]
    await journal.forget_processes(EnvironmentId("e"))
    assert await journal.processes() == []
    await journal.set_fact("commit/1", "abc")
    await journal.set_fact("commit/2", "def")
    await journal.set_fact("commit/2", None)
    await journal.set_fact("commit%", "x")
    assert await journal.get_fact("commit/1") == "abc"
    assert await journal.get_fact("commit/2") is None
    assert await journal.facts("commit/") == {"commit/1": "abc"}


@pytest.mark.slow
async def test_writers_that_wait_together_share_a_transaction(journal: Journal) -> None:
    before = journal.statistics()

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(journal.save_environment, environment(f"env_{number}"))

    after = journal.statistics()
    assert after.jobs - before.jobs == 200
    assert after.transactions - before.transactions < 20
    assert len(await journal.environments()) == 200


@pytest.mark.slow
async def test_a_failing_piece_of_work_takes_nothing_else_with_it(journal: Journal) -> None:
    await journal.save_environment(environment("env_1", 5))
    failures: list[JournalError] = []

    async def save_old() -> None:
        try:
            await journal.save_environment(environment("env_1", 1))
        except JournalError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.save_environment, environment("env_2"))
        nursery.start_soon(save_old)
        nursery.start_soon(journal.save_environment, environment("env_3"))

    assert len(failures) == 1
    assert len(await journal.environments()) == 3


@pytest.mark.slow
async def test_cancellation_leaves_no_doubt(journal: Journal) -> None:
    """A write is either not begun and cancelled, or done and returned from."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await journal.save_environment(environment("env_1"))
    assert scope.cancelled_caught
    assert await journal.environments() == []

    async def save_then_note() -> None:
        await journal.save_environment(environment("env_2"))
        saved.set()

    saved = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(save_then_note)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert saved.is_set() == bool(await journal.environments())


@pytest.mark.slow
async def test_what_is_queued_is_written_before_the_journal_closes(journal_path: Path) -> None:
    async with trio.open_nursery() as nursery, open_journal(journal_path) as journal:
        for number in range(20):
            nursery.start_soon(journal.save_environment, environment(f"env_{number:02}"))
        await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(JournalError, match="closed"):
        await journal.environments()
    async with open_journal(journal_path) as journal:
        assert len(await journal.environments()) == 20
