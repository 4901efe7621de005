"""Whoever waits for an environment gets an answer, whatever becomes of the environment's owner."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.environment import TeardownCause
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.stay import ReadyStay
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError, EnvironmentBusyError, JournalError
from tests.fakes.world import FakeBoundary, FakeWorld

ONE = EnvironmentId("env_one")
SPEC = ManagedWorktreeSpec("/src", "/data/worktrees/env_one/demo", "b", None, 1000)
CONTEXT = WorkspaceContext(SPEC.target_path, WorkspaceKind.MANAGED_WORKTREE)


async def _fall_ill() -> None:
    """A guest whose cleanup fails when its stay is left."""
    try:
        await trio.sleep_forever()
    finally:
        raise ZeroDivisionError("cleanup failed")


async def test_a_guest_that_fails_while_it_is_ended_does_not_stop_the_teardown(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """Its error comes in one group with the cancellation; the state is left all the same."""
    await supervisor.provision(ONE, SPEC)
    handle = await supervisor.enter(ONE, CONTEXT)
    handle.stay.host(_fall_ill)
    await wait_all_tasks_blocked()
    with trio.fail_after(1):
        await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_a_guest_that_fails_while_the_daemon_stops_does_not_fail_the_daemon(
    world: FakeWorld,
) -> None:
    """The bulkhead holds for what comes together with a cancellation, too."""
    supervisor = Supervisor(world.services())
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await supervisor.provision(ONE, SPEC)
        handle = await supervisor.enter(ONE, CONTEXT)
        handle.stay.host(_fall_ill)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert world.journal[ONE].state is S.READY


async def test_an_owner_that_crashes_is_not_waited_for(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """A defect while it tears down: those who wait are told to come back."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    actor = supervisor.actor(ONE)
    assert actor is not None

    def break_down(name: str, _subject: str) -> None:
        if name == "boundary.end":
            actor._services = None  # type: ignore[assignment] # a defect after the teardown itself

    world.before_seam = break_down
    world.pauses["boundary.end"] = trio.Event()
    outcomes: list[str] = []

    async def order(name: str, ask: Callable[[], Awaitable[object]]) -> None:
        with trio.fail_after(1):
            try:
                await ask()
            except EnvironmentBusyError:
                outcomes.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(order, "retire", partial(supervisor.retire, ONE))
        await wait_all_tasks_blocked()
        nursery.start_soon(order, "destroy", partial(supervisor.destroy, ONE, CONTEXT))
        nursery.start_soon(order, "provision", partial(supervisor.provision, ONE, SPEC))
        await wait_all_tasks_blocked()
        world.pauses.pop("boundary.end").set()
    assert sorted(outcomes) == ["destroy", "provision", "retire"]


async def test_what_a_crashed_owner_started_is_ended_with_its_environment(
    world: FakeWorld, autojump_clock: trio.testing.MockClock
) -> None:
    """The next owner goes on with the same boundary: with another one it would end nothing of it."""
    opened: list[FakeBoundary] = []

    def open_boundary(key: EnvironmentId, incarnation: Incarnation) -> FakeBoundary:
        opened.append(world.open_boundary(key, incarnation))
        return opened[-1]

    supervisor = Supervisor(evolve(world.services(), open_boundary=open_boundary))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await supervisor.provision(ONE, SPEC)
        handle = await supervisor.enter(ONE, CONTEXT)

        async def broken() -> None:
            raise ZeroDivisionError

        handle.stay.host(broken)
        await wait_all_tasks_blocked()
        await trio.sleep(10)
        await supervisor.destroy(ONE, CONTEXT)
        nursery.cancel_scope.cancel()
    assert len(opened) == 1


async def test_destroy_that_joins_a_retire_gives_the_files_free(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """As one that comes right after it does: the server ordered the workspace away."""
    await supervisor.provision(ONE, SPEC)
    world.pauses["boundary.end"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.retire, ONE)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
        await wait_all_tasks_blocked()
        world.pauses.pop("boundary.end").set()
    assert world.journal[ONE].state is S.TOMBSTONED
    assert world.journal[ONE].cause is TeardownCause.DESTROY


async def test_a_destroy_is_not_overtaken_by_the_note_that_something_is_made(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Both are being written: what is on record afterwards, and is shown, is the later state."""
    world.pauses["provision.begin"] = trio.Event()
    async with trio.open_nursery() as nursery:

        async def provision() -> None:
            with pytest.raises(BbhostError):
                await supervisor.provision(ONE, SPEC)

        nursery.start_soon(provision)
        await wait_all_tasks_blocked()
        world.pauses["journal"] = trio.Event()
        world.pauses["boundary.end"] = trio.Event()
        nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
        await wait_all_tasks_blocked()
        world.pauses.pop("provision.begin").set()
        await wait_all_tasks_blocked()
        world.pauses.pop("journal").set()
        await wait_all_tasks_blocked()
        view = supervisor.view(ONE)
        assert view is not None
        assert view.state is S.DESTROYING
        assert view.record.cause is TeardownCause.DESTROY
        assert world.journal[ONE].state is S.DESTROYING
        world.pauses.pop("boundary.end").set()
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_a_provision_is_not_told_of_a_destruction_that_may_not_come(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """The decision to retire hangs in the journal: whoever asks meanwhile is told to come back."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    world.pauses["journal"] = trio.Event()
    async with trio.open_nursery() as nursery:

        async def retire() -> None:
            with pytest.raises(JournalError):
                await supervisor.retire(ONE)

        nursery.start_soon(retire)
        await wait_all_tasks_blocked()
        with trio.fail_after(600), pytest.raises(EnvironmentBusyError, match="torn down"):
            await supervisor.provision(ONE, SPEC)
        world.fail["journal"] = [JournalError("the disk is full")]
        world.pauses.pop("journal").set()
    assert world.journal[ONE].state is S.READY
    with trio.fail_after(600):
        await supervisor.provision(ONE, SPEC)


async def test_a_stay_whose_last_task_has_ended_takes_nobody_in() -> None:
    """A defect ended it, and its owner has not had its turn: that is no error of Trio's."""
    async with trio.open_nursery() as nursery:
        stay = ReadyStay("env_one", nursery, lambda: None)
    with pytest.raises(EnvironmentBusyError):
        stay.host(trio.sleep_forever)
    with pytest.raises(EnvironmentBusyError):
        await stay.call(trio.sleep_forever)
