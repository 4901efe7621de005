"""Orders that come while an owner has crashed, or while its environment is on its way somewhere."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError, EnvironmentBusyError, GitTimeoutError
from bbhost.reconciler.diff import ServerLists
from bbhost.reconciler.reconciler import Reconciler
from tests.fakes.world import FakeBatch, FakeWorld, git_failed

ONE, TWO = EnvironmentId("env_one"), EnvironmentId("env_two")
SPEC = ManagedWorktreeSpec("/src", "/data/worktrees/env_one/demo", "b", None, 1000)
CONTEXT = WorkspaceContext(SPEC.target_path, WorkspaceKind.MANAGED_WORKTREE)
OTHER = ManagedWorktreeSpec("/src", "/data/worktrees/env_two/demo", "c", None, 1000)
OTHER_CONTEXT = WorkspaceContext(OTHER.target_path, WorkspaceKind.MANAGED_WORKTREE)


async def _crash(supervisor: Supervisor) -> None:
    """End the owner of ONE by a defect of a guest."""
    handle = await supervisor.enter(ONE, CONTEXT)

    async def broken() -> None:
        raise ZeroDivisionError

    handle.stay.host(broken)
    await wait_all_tasks_blocked()
    assert supervisor.actor(ONE) is None


async def test_destroy_of_a_crashed_owner_really_destroys(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """It is not answered with success while the environment waits to be started again."""
    await supervisor.provision(ONE, SPEC)
    await _crash(supervisor)
    await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED
    assert world.disk == {}
    await trio.sleep(100)
    assert world.live_watches() == 0, "the restart that was planned brings nothing back"
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_provision_of_a_crashed_owner_makes_no_second_incarnation(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """The environment is there; its owner is started again and answers."""
    await supervisor.provision(ONE, SPEC)
    await _crash(supervisor)
    outcome = await supervisor.provision(ONE, SPEC)
    assert outcome.discovered.path == SPEC.target_path
    await trio.sleep(100)
    assert world.journal[ONE].incarnation == 1
    assert world.live_watches() == 1


async def test_a_command_on_a_crashed_owner_is_told_to_come_back(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """It is not said to be destroyed, which it is not."""
    await supervisor.provision(ONE, SPEC)
    await _crash(supervisor)
    with pytest.raises(EnvironmentBusyError):
        await supervisor.enter(ONE, CONTEXT)


async def test_provision_right_after_restore_succeeds(world: FakeWorld) -> None:
    """A command that is resumed before the restored owner has run finds it ready."""
    world.disk[SPEC.target_path] = "whole"
    first = Supervisor(world.services())
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await first.provision(ONE, SPEC)
        nursery.cancel_scope.cancel()
    next_world = world.after_crash()
    second = Supervisor(next_world.services())
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run)
        await second.restore(next_world.journal.values())
        outcome = await second.provision(ONE, SPEC)
        assert outcome.discovered.path == SPEC.target_path
        nursery.cancel_scope.cancel()


async def test_provision_while_retiring_is_written_makes_a_new_incarnation(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """Leaving has been decided and is being journalled: provision waits, and does not fail."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    world.pauses["journal"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.retire, ONE)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        nursery.start_soon(supervisor.provision, ONE, SPEC)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        world.pauses.pop("journal").set()
    assert world.journal[ONE].state is S.READY
    assert world.journal[ONE].incarnation == 2


async def test_a_destroy_answered_while_reconciling_is_not_undone(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """An action that was found before the answer, and would be applied after it, is dropped."""
    for key, spec in ((ONE, SPEC), (TWO, OTHER)):
        await supervisor.provision(key, spec)
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset({ONE})))
    await reconciler.reconcile()
    assert world.journal[TWO].files_remain
    reconciler.take_lists(ServerLists(live=frozenset({TWO})))
    world.pauses["boundary.end"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.reconcile)  # retires ONE, and would then lift TWO
        await wait_all_tasks_blocked()
        reconciler.dismiss(TWO)
        await supervisor.destroy(TWO, OTHER_CONTEXT)
        world.pauses.pop("boundary.end").set()
    assert world.journal[TWO].state is S.TOMBSTONED
    assert world.journal[TWO].incarnation == 1


@pytest.mark.slow
async def test_a_watch_that_opens_and_fails_is_given_up(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """Opening alone is no success: the delays grow, and after sixty attempts it is left alone."""
    world.fail["watch.refs"] = [git_failed() for _ in range(1_000)]
    await supervisor.provision(ONE, SPEC)
    await trio.sleep(7_200)
    assert world.names().count("watch.open") == 60


async def test_a_status_that_can_be_computed_again_is_told(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The server was told of the failure; the end of it is a change as well."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    (watch,) = world.watches[SPEC.target_path]
    world.fail["status"] = [GitTimeoutError("git took too long")]
    watch.poke(FakeBatch())
    await wait_all_tasks_blocked()
    watch.poke(FakeBatch())
    await wait_all_tasks_blocked()
    assert len(world.posts) == 2


async def test_provision_waits_for_an_attach(world: FakeWorld, supervisor: Supervisor) -> None:
    """Somebody takes over what is there at the same moment: that is no other specification."""
    world.disk[SPEC.target_path] = "whole"
    world.pauses["discover"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.enter, ONE, CONTEXT)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.provision, ONE, SPEC)
        await wait_all_tasks_blocked()
        world.pauses.pop("discover").set()
    assert world.journal[ONE].state is S.READY
    assert world.journal[ONE].incarnation == 1


async def test_a_retire_that_fails_does_not_stop_the_reconciler(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """The environment is ready again; it is tried again, and others are not kept waiting."""
    await supervisor.provision(ONE, SPEC)
    world.fail["boundary.end"] = [git_failed() for _ in range(3)]
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset()))
    (outcome,) = await reconciler.reconcile()
    assert not outcome.done
    assert outcome.failed
    assert world.journal[ONE].state is S.READY
    (outcome,) = await reconciler.reconcile()
    assert outcome.done
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_provision_during_a_teardown_that_fails_is_answered(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """It finds the environment ready again; it does not wait for a tombstone that never comes."""
    await supervisor.provision(ONE, SPEC)
    world.fail["rescue"] = [git_failed() for _ in range(3)]
    async with trio.open_nursery() as nursery:

        async def destroy() -> None:
            with pytest.raises(BbhostError):
                await supervisor.destroy(ONE, CONTEXT)

        nursery.start_soon(destroy)
        await wait_all_tasks_blocked()
        with trio.fail_after(600):
            await supervisor.provision(ONE, SPEC)
    assert world.journal[ONE].state is S.READY
    assert world.journal[ONE].incarnation == 1
