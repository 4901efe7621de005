"""Of the watches that share refs one owner reads them for all, and none of that is lost."""

from collections.abc import Callable

import pytest
import trio

from bbhost.watch import WatchTarget
from bbhost.watch.debounce import Debounce
from bbhost.watch.git_areas import CommonArea
from bbhost.watch.table import WatchTable
from bbhost.watch.tree_area import TreeArea
from bbhost.watch.watch import Watch


class Siblings:
    """Watches of one repository, and the batches that their owners were given."""

    def __init__(self, nursery: trio.Nursery, number: int) -> None:
        self.nursery = nursery
        self.batches: dict[Watch, int] = {}
        self.scopes: dict[Watch, trio.CancelScope] = {}
        self.while_reading: dict[Watch, Callable[[], object]] = {}
        self.hold: dict[Watch, trio.Event] = {}
        limiter = trio.CapacityLimiter(1)
        self.area = CommonArea("/nowhere/.git", WatchTable(None), lambda _area: None, limiter)
        self.tree = TreeArea("/nowhere", WatchTable(None), lambda _area: None, limiter)
        for _ in range(number):
            self.join()

    def join(self) -> Watch:
        watch = Watch(WatchTarget("/nowhere"), None, Debounce(0.075, 0.5), lambda _watch: None)
        self.area.watches.append(watch)
        self.batches[watch] = 0
        self.nursery.start_soon(self._own, watch)
        return watch

    async def _own(self, watch: Watch) -> None:
        with trio.CancelScope() as self.scopes[watch]:
            while True:
                batch = await watch.wait_changes()
                assert batch.refs
                self.batches[watch] += 1
                if watch in self.hold:
                    await self.hold.pop(watch).wait()
                if watch in self.while_reading:
                    self.while_reading.pop(watch)()
                    await trio.lowlevel.checkpoint()

    @property
    def told(self) -> list[int]:
        return list(self.batches.values())

    def close(self, watch: Watch) -> None:
        self.scopes[watch].cancel()
        self.area.leave(watch, self.tree)


@pytest.fixture
async def siblings(nursery, autojump_clock) -> Siblings:
    siblings = Siblings(nursery, 3)
    await trio.testing.wait_all_tasks_blocked()
    return siblings


async def test_one_owner_is_woken_and_all_know_that_they_do_not(siblings, autojump_clock) -> None:
    for _ in range(5):
        siblings.area.touch()
    await trio.sleep(1)
    assert siblings.told == [1, 0, 0]
    assert [watch.refs_marks for watch in siblings.area.watches] == [5, 5, 5]


async def test_the_others_hear_at_once_what_concerns_them(siblings, autojump_clock) -> None:
    first, second, third = siblings.area.watches
    siblings.while_reading[first] = lambda: [second.tell_refs(), third.tell_refs()]
    siblings.area.touch()
    await trio.sleep(0.076)
    assert siblings.told == [1, 1, 1], "no second quiet time"


async def test_a_burst_of_its_own_is_not_cut_short(siblings, autojump_clock) -> None:
    second = siblings.area.watches[1]
    second.note_refs()
    await trio.sleep(0.05)
    second.tell_refs()
    await trio.sleep(0.02)
    assert siblings.told == [0, 0, 0]
    await trio.sleep(0.006)
    assert siblings.told == [0, 1, 0]


async def test_a_change_while_the_refs_are_read_is_read_by_another(
    siblings, autojump_clock
) -> None:
    siblings.while_reading[siblings.area.watches[0]] = siblings.area.touch
    siblings.area.touch()
    await trio.sleep(1)
    assert siblings.told == [1, 1, 0]


async def test_while_all_are_busy_each_looks_for_itself(nursery, autojump_clock) -> None:
    late = Siblings(nursery, 2)
    late.area.touch()  # their owners have not begun to wait
    await trio.sleep(1)
    assert late.told == [1, 1]


async def test_one_that_is_busy_is_not_waited_for(siblings, autojump_clock) -> None:
    """Not even where it has been told already, as all were while all were busy."""
    first, second, third = siblings.area.watches
    events = siblings.hold[first], siblings.hold[second], siblings.hold[third] = [
        trio.Event() for _ in range(3)
    ]
    siblings.area.touch()
    first.tell_refs(), second.tell_refs(), third.tell_refs()
    await trio.sleep(0.2)
    siblings.area.touch()  # all are busy
    events[1].set()
    events[2].set()
    await trio.sleep(1)
    assert siblings.told == [1, 2, 2]
    siblings.area.touch()
    await trio.sleep(1)
    assert siblings.told == [1, 3, 2]


async def test_one_in_a_burst_of_its_own_is_spared(siblings, autojump_clock) -> None:
    first = siblings.area.watches[0]
    first.note_refs()
    siblings.area.touch()
    await trio.sleep(0.08)
    assert siblings.told == [1, 1, 0]


async def test_what_a_closed_watch_was_to_read_another_reads(siblings, autojump_clock) -> None:
    siblings.area.touch()
    siblings.close(siblings.area.watches[0])
    await trio.sleep(1)
    assert siblings.told == [0, 1, 0]


async def test_what_a_closed_watch_was_reading_another_reads(siblings, autojump_clock) -> None:
    first = siblings.area.watches[0]
    siblings.while_reading[first] = lambda: siblings.close(first)
    siblings.area.touch()
    await trio.sleep(1)
    assert siblings.told == [1, 1, 0]


async def test_what_has_been_read_is_not_read_again_after_a_close(
    siblings, autojump_clock
) -> None:
    siblings.area.touch()
    await trio.sleep(1)
    siblings.close(siblings.area.watches[0])
    await trio.sleep(1)
    assert siblings.told == [1, 0, 0]
    siblings.area.touch()
    await trio.sleep(1)
    assert siblings.told == [1, 1, 0]
