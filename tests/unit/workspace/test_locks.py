"""Locks: fair, re-entrant, in one order, and nobody waits for ever."""

from pathlib import Path

import pytest
import trio
import trio.testing

from bbhost.errors import WorkspaceBusyError
from bbhost.workspace.locks import WorkspaceLocks

REPO, CHECKOUT = Path("/r"), Path("/r/worktrees/w")


async def test_first_come_first_served() -> None:
    locks = WorkspaceLocks()
    order = []

    async def one(number: int) -> None:
        async with locks.checkout(CHECKOUT):
            order.append(number)

    async with trio.open_nursery() as nursery, locks.checkout(CHECKOUT):
        for number in range(5):
            nursery.start_soon(one, number)
            await trio.testing.wait_all_tasks_blocked()
        assert order == []
    assert order == list(range(5))


async def test_a_holder_may_take_it_again() -> None:
    locks = WorkspaceLocks()
    async with locks.checkout(CHECKOUT), locks.repository(REPO):
        async with locks.checkout(CHECKOUT), locks.repository(REPO):
            pass
        with trio.move_on_after(0) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_the_wrong_order_is_a_defect() -> None:
    """Two tasks that took them crosswise could wait for each other for ever."""
    locks = WorkspaceLocks()
    async with locks.repository(REPO):
        with pytest.raises(RuntimeError, match="lock order"):
            async with locks.checkout(CHECKOUT):
                pass
    async with locks.checkout(CHECKOUT):
        with pytest.raises(RuntimeError, match="lock order"):
            async with locks.checkout(Path("/other")):
                pass


async def test_waiting_is_bounded_and_the_work_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    locks = WorkspaceLocks(wait_seconds=300)
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            async with locks.repository(REPO):
                await trio.sleep(1000)

        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(WorkspaceBusyError, match="300 seconds"):
            async with locks.repository(REPO):
                pass
        async with locks.repository(Path("/another")):
            await trio.sleep(400)
    assert trio.current_time() >= 1000
    assert len(locks._locks) == 0
    assert locks._held == {}
