"""Locks by key."""

import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.toolkit.keyed_locks import KeyedLocks


async def test_one_who_gave_up_waiting_takes_no_lock_of_others_away() -> None:
    """The lock it had waited for is forgotten already; the one by that name now is another's."""
    locks = KeyedLocks()
    scope = trio.CancelScope()

    async def give_up() -> None:
        with scope:
            async with locks.hold("key"):
                raise AssertionError("it never gets it")

    async with trio.open_nursery() as nursery:
        first = locks.hold("key")
        await first.__aenter__()
        nursery.start_soon(give_up)
        await wait_all_tasks_blocked()
        scope.cancel()
        await first.__aexit__(None, None, None)
        async with locks.hold("key"):
            await wait_all_tasks_blocked()
            assert locks.locked("key")
    assert len(locks) == 0
