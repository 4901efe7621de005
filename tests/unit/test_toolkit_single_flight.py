"""Who waits for a computation shares what becomes of it, but for its cancellation."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.errors import GitTimeoutError
from bbhost.toolkit.single_flight import SingleFlight


class Computation:
    """Computes when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = trio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.begun


async def test_one_result_for_all() -> None:
    """And a new computation for who asks afterwards."""
    flights, compute, results = SingleFlight[int](), Computation(), []

    async def ask() -> None:
        results.append(await flights.run("key", compute))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        compute.go_on.set()
    assert results == [1, 1, 1, 1]
    assert await flights.run("key", compute) == 2


async def test_one_failure_for_all_who_wait() -> None:
    """Each gets its own copy; who asks afterwards computes anew."""
    flights, compute = SingleFlight[int](), Computation()
    compute.error = GitTimeoutError("git took too long", code="git_command_timeout")
    errors: list[GitTimeoutError] = []

    async def ask() -> None:
        with pytest.raises(GitTimeoutError) as caught:
            await flights.run("key", compute)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        compute.go_on.set()
    assert compute.begun == 1
    assert len({id(error) for error in errors}) == 4
    assert {(error.message, error.code) for error in errors} == {
        ("git took too long", "git_command_timeout")
    }
    compute.error = None
    assert await flights.run("key", compute) == 2


async def test_a_cancellation_is_nobody_elses() -> None:
    """One of those who waited computes."""
    flights, compute, results = SingleFlight[int](), Computation(), []
    first = trio.CancelScope()

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            results.append(await flights.run("key", compute))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await wait_all_tasks_blocked()
        for _ in range(2):
            nursery.start_soon(ask, trio.CancelScope())
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        compute.go_on.set()
    assert results == [2, 2]
