"""What is remembered of requests that agents were given, and what is told of them after a crash."""

from pathlib import Path

import pytest

from bbhost.contract import events as e
from bbhost.contract.codec import dump_json, parse_json, unstructure
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads import ledger as module
from bbhost.environment.threads.ledger import RequestLedger
from bbhost.environment.threads.mail import Submitted
from bbhost.journal.journal import Journal, open_journal
from bbhost.journal.turns import facts_of
from bbhost.journal.values import SpooledEvent

THREAD = ThreadId("thr_one")
NEW = Submitted("p1", False)
NUMBERS = iter(range(10_000))


def request(number: int) -> str:
    """An id of a request."""
    return f"creq_{'23456789ab'[: 10 - len(str(number))]}{str(number).translate(DIGITS)}"


DIGITS = str.maketrans("01", "yz")


async def spool(journal: Journal, *events: e.ThreadEvent) -> None:
    """Publish as a session does."""
    await journal.append_events(
        [
            SpooledEvent(
                f"hdevt_{next(NUMBERS)}",
                event.thread_id,
                dump_json(unstructure(event)),
                facts_of(event),
            )
            for event in events
        ]
    )


def started(turn: str) -> e.ThreadEvent:
    """A turn begins."""
    return e.TurnStarted(THREAD, e.TurnScope(turn), "p1")


def accepted(turn: str, request_id: str) -> e.ThreadEvent:
    """A request becomes part of a turn."""
    return e.TurnInputAccepted(THREAD, e.TurnScope(turn), "p1", request_id)


def completed(turn: str) -> e.ThreadEvent:
    """A turn ends."""
    return e.TurnCompleted(THREAD, e.TurnScope(turn), "p1", "completed")


async def told(journal: Journal) -> list[tuple[str, str]]:
    """Kinds and turns of the events that wait, in order; they are taken away."""
    waiting = await journal.spooled_events(100)
    await journal.drop_events([one.producer_event_id for one in waiting])
    events = [parse_json(one.event_json) for one in waiting]
    return [(one["type"], one["scope"]["turnId"]) for one in events]


async def reopened(journal: Journal) -> RequestLedger:
    """The ledger of the next daemon."""
    ledger = RequestLedger(journal)
    await ledger.open()
    return ledger


async def test_nothing_left_nothing_told(tmp_path: Path) -> None:
    """A turn that ended is over, and its request is known to the next daemon."""
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        await ledger.note(THREAD, request(1), NEW)
        await spool(journal, started("t1"), accepted("t1", request(1)), completed("t1"))
        await told(journal)
        ledger = await reopened(journal)
        assert ledger.find(THREAD, request(1)) == NEW
        assert ledger.find(THREAD, request(2)) is None
        assert await told(journal) == []


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_turn_under_way_is_ended_once(tmp_path: Path, delivered: bool) -> None:
    """Whether or not the server has its beginning already."""
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        await ledger.note(THREAD, request(1), NEW)
        await spool(journal, started("t1"), accepted("t1", request(1)))
        begun = [("turn/started", "t1"), ("turn/input/accepted", "t1")]
        if delivered:
            assert await told(journal) == begun
        await reopened(journal)
        assert await told(journal) == ([] if delivered else begun) + [("turn/completed", "t1")]
        await reopened(journal)
        assert await told(journal) == []


async def test_a_turn_whose_request_was_not_told_gets_it(tmp_path: Path) -> None:
    """The kill came between two events: the request is told in the turn that it began."""
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        await ledger.note(THREAD, request(1), NEW)
        await ledger.note(THREAD, request(2), NEW)
        await spool(journal, started("t1"))
        await told(journal)
        await reopened(journal)
        own = f"turn_{request(2)}"
        assert await told(journal) == [
            ("turn/input/accepted", "t1"),
            ("turn/completed", "t1"),
            ("turn/started", own),
            ("turn/input/accepted", own),
            ("turn/completed", own),
        ]
        await reopened(journal)
        assert await told(journal) == []


async def test_a_steer_that_nobody_heard_of_is_a_turn_of_its_own(tmp_path: Path) -> None:
    """It was noted for the turn under way, and whether the agent took it is not known."""
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        await ledger.note(THREAD, request(1), NEW)
        await spool(journal, started("t1"), accepted("t1", request(1)))
        await ledger.note(THREAD, request(2), Submitted("p1", True))
        await told(journal)
        ledger = await reopened(journal)
        assert ("turn/completed", f"turn_{request(2)}") in await told(journal)
        assert ledger.find(THREAD, request(2)) == NEW


@pytest.mark.slow
async def test_what_failed_may_come_again(tmp_path: Path) -> None:
    """A request that was refused is not on record, and nothing is told of it."""
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        await ledger.note(THREAD, request(1), NEW)
        await ledger.forget(THREAD, request(1))
        ledger = await reopened(journal)
        assert ledger.find(THREAD, request(1)) is None
        assert await told(journal) == []
        assert await journal.facts("turns/") == {}


async def test_the_record_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest requests are forgotten, with all that was noted of them, over restarts too."""
    monkeypatch.setattr(module, "REQUESTS_REMEMBERED", 3)
    async with open_journal(tmp_path / "journal") as journal:
        ledger = await reopened(journal)
        for number in range(2, 8):
            turn = f"t{number}"
            await ledger.note(THREAD, request(number), NEW)
            await spool(journal, started(turn), accepted(turn, request(number)), completed(turn))
            if number == 4:
                ledger = await reopened(journal)
        assert [number for number in range(2, 8) if ledger.find(THREAD, request(number))] == [
            5,
            6,
            7,
        ]
        assert len(await journal.facts("turns/")) == 6
