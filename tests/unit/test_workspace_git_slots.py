"""Slots for git: bounded in all and for each directory, and nobody waits for a directory that hangs."""

import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.workspace.git_slots import GitSlots


async def hold(slots: GitSlots, place: str, held: list[str]) -> None:
    async with slots.hold((place, "status")):
        held.append(place)
        await trio.sleep_forever()


async def test_one_directory_gets_its_share_and_no_more(nursery: trio.Nursery) -> None:
    slots, held = GitSlots(8), list[str]()
    for _ in range(20):
        nursery.start_soon(hold, slots, "/hangs", held)
    await wait_all_tasks_blocked()
    assert (len(held), slots.running, slots.waiting) == (4, 4, 16)
    for number in range(10):
        nursery.start_soon(hold, slots, f"/other{number}", held)
    await wait_all_tasks_blocked()
    assert (len(held), slots.running, slots.waiting) == (8, 8, 22)
    slots.resize(20)
    await wait_all_tasks_blocked()
    assert (held.count("/hangs"), slots.running) == (10, 20)
    nursery.cancel_scope.cancel()


async def test_with_one_slot_everybody_gets_it_in_turn() -> None:
    slots, order = GitSlots(1), list[int]()

    async def use(number: int) -> None:
        async with slots.hold(("/one", "status")):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(use, number)
    assert sorted(order) == list(range(5))
    assert (slots.running, slots.waiting, len(slots._places)) == (0, 0, 0)


async def test_giving_up_leaves_nothing(nursery: trio.Nursery) -> None:
    slots, held = GitSlots(2), list[str]()
    nursery.start_soon(hold, slots, "/a", held)
    await wait_all_tasks_blocked()
    with trio.move_on_after(0):
        async with slots.hold(("/a", "status")):
            raise AssertionError("the share is taken")
    async with slots.hold(("/a", "worktree")):
        assert slots.running == 2
    nursery.cancel_scope.cancel()
    await wait_all_tasks_blocked()
    assert list(slots._places) in ([], [("/a", "status")])
