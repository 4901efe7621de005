"""Which reports are sent next, and when there are none."""

from typing import Any, cast

import trio
from attrs import define, field

from bbhost.domain.ids import CommandId, SessionId
from bbhost.journal.journal import Journal
from bbhost.journal.values import OutboxEntry
from bbhost.session.current import CurrentSession, OpenSession
from bbhost.session.errors import ServerRefusedError
from bbhost.session.link import Link
from bbhost.session.reports import ReportSender


@define(eq=False)
class Outbox:
    """A journal's outbox whose pages hold one report each; results may come while it is read."""

    entries: list[OutboxEntry] = field(factory=list)
    coming: list[OutboxEntry] = field(factory=list)
    sender: ReportSender | None = None

    async def outbox(self, limit: int, *, after: int = 0) -> list[OutboxEntry]:
        page = [entry for entry in self.entries if entry.seq > after][:1]
        await trio.lowlevel.checkpoint()
        if self.coming:
            # Written behind this very look, and announced before the look is answered.
            self.entries += self.coming
            self.coming = []
            assert self.sender is not None
            self.sender.wake()
        return page

    async def acknowledge(self, *seqs: int) -> None:
        await trio.lowlevel.checkpoint()
        self.entries = [entry for entry in self.entries if entry.seq not in seqs]


def entry(seq: int) -> OutboxEntry:
    report = f'{{"commandId":"cmd_{seq}","type":"thread.rename","ok":true,"result":{{}},"completedAt":1}}'
    return OutboxEntry(seq, CommandId(f"cmd_{seq}"), report)


def open_session() -> CurrentSession:
    current = CurrentSession()
    session = OpenSession(SessionId("ses_1"), cast("Link", None))
    current.opened(session)
    current.ready(session)
    return current


async def test_a_result_that_comes_while_the_outbox_is_read_is_waited_for() -> None:
    """A daemon that stops does not take the answer of an earlier look for the end."""
    posted: list[str] = []

    async def post(body: str) -> None:
        await trio.lowlevel.checkpoint()
        posted.append(body)

    outbox = Outbox(coming=[entry(1)])
    sender = ReportSender(cast("Journal", outbox), open_session(), post)
    outbox.sender = sender
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.run)
            await sender.wait_delivered()
            nursery.cancel_scope.cancel()
    assert len(posted) == 1
    assert outbox.entries == []


async def test_a_page_that_is_set_aside_does_not_hide_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A report may fill a page alone; the server fails over it, and the others go all the same."""
    posted: list[str] = []

    async def post(body: str) -> Any:
        await trio.lowlevel.checkpoint()
        if "cmd_1" in body:
            raise ServerRefusedError(500, "", "trouble", retryable=None)
        posted.append(body)

    outbox = Outbox([entry(1), entry(2)])
    sender = ReportSender(cast("Journal", outbox), open_session(), post)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        await trio.sleep(25)
        nursery.cancel_scope.cancel()
    assert len(posted) == 1
    assert [one.seq for one in outbox.entries] == [1]
