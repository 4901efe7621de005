"""When a burst is over, on virtual time."""

import trio

from bbhost.watch import ChangeBatch, WatchTarget
from bbhost.watch.debounce import Debounce
from bbhost.watch.watch import Watch


def make_watch() -> Watch:
    return Watch(WatchTarget("/nowhere"), None, Debounce(0.075, 0.5), lambda _watch: None)


def test_nothing_is_due_before_a_change() -> None:
    assert Debounce(0.075, 0.5).due_at is None


def test_a_single_change_is_due_after_the_quiet_time() -> None:
    debounce = Debounce(0.5, 4)
    debounce.note(10.0)
    assert debounce.due_at == 10.5


def test_each_change_puts_it_off_up_to_the_longest_time() -> None:
    debounce = Debounce(0.5, 4)
    for tick in range(20):
        debounce.note(10 + tick * 0.25)
    assert debounce.due_at == 14


def test_taking_begins_a_new_burst() -> None:
    debounce = Debounce(0.5, 4)
    debounce.note(10.0)
    debounce.take()
    assert debounce.due_at is None
    debounce.note(20.0)
    assert debounce.due_at == 20.5


async def test_a_batch_comes_after_75_ms_of_quiet(autojump_clock) -> None:
    watch = make_watch()
    began = trio.current_time()
    watch.touch(workspace=True)
    assert await watch.wait_changes() == ChangeBatch(workspace=True)
    assert trio.current_time() - began == 0.075


async def test_a_batch_of_endless_changes_comes_after_500_ms(autojump_clock, nursery) -> None:
    watch = make_watch()

    async def write_all_the_time() -> None:
        while True:
            watch.touch(refs=True)
            await trio.sleep(0.05)

    nursery.start_soon(write_all_the_time)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    assert await watch.wait_changes() == ChangeBatch(refs=True)
    assert trio.current_time() - began == 0.5
    nursery.cancel_scope.cancel()


async def test_a_cancelled_wait_loses_nothing(autojump_clock) -> None:
    watch = make_watch()
    watch.touch(workspace=True)
    with trio.move_on_after(0.05) as impatient:
        await watch.wait_changes()
    assert impatient.cancelled_caught
    watch.touch(unknown=True)
    assert await watch.wait_changes() == ChangeBatch(workspace=True, unknown=True)


async def test_the_owner_sleeps_until_something_is_touched(autojump_clock, nursery) -> None:
    watch = make_watch()
    batches = []

    async def follow() -> None:
        batches.append(await watch.wait_changes())

    nursery.start_soon(follow)
    await trio.sleep(3600)
    assert batches == []
    watch.touch(workspace=True)
    await trio.sleep(1)
    assert batches == [ChangeBatch(workspace=True)]


def test_marks_tell_the_workspace_from_the_refs() -> None:
    trio.run(_touch_and_count)


async def _touch_and_count() -> None:
    watch = make_watch()
    watch.touch(workspace=True)
    watch.touch(refs=True)
    assert (watch.workspace_marks, watch.refs_marks, watch.marks) == (1, 1, 2)
    watch.touch(unknown=True)
    assert (watch.workspace_marks, watch.refs_marks) == (2, 2)
    await trio.lowlevel.checkpoint()
