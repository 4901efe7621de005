"""Attaching may fail for a reason that passes. Nothing was destroyed then, so the next command tries again."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.domain.environment import EnvironmentRecord, TeardownCause
from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import AttachSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import EnvironmentDestroyedError, GitCommandError
from bbhost.reconciler.diff import ServerLists
from bbhost.reconciler.reconciler import Reconciler
from tests.fakes.world import FakeWorld

ONE = EnvironmentId("env_one")
PATH = "/worktrees/env_one/demo"
CONTEXT = WorkspaceContext(PATH, WorkspaceKind.MANAGED_WORKTREE)


@pytest.fixture
async def tried(world: FakeWorld, supervisor: Supervisor) -> Supervisor:
    """An attach of ONE has failed; its workspace is there all the same."""
    world.disk[PATH] = "mine"
    world.fail["discover"] = [GitCommandError("not now")]
    with pytest.raises(GitCommandError, match="not now"):
        await supervisor.enter(ONE, CONTEXT)
    await wait_all_tasks_blocked()
    assert world.journal[ONE].state is S.TOMBSTONED
    assert world.disk[PATH] == "mine"
    return supervisor


async def test_the_next_command_attaches_again(world: FakeWorld, tried: Supervisor) -> None:
    """With the next incarnation."""
    handle = await tried.enter(ONE, CONTEXT)
    await handle.status(None)
    assert world.journal[ONE].state is S.READY
    assert world.journal[ONE].incarnation == 2


async def test_an_excluded_id_is_not_tried_again(world: FakeWorld, tried: Supervisor) -> None:
    """The server's list decides, as about an id never seen."""
    Reconciler(tried).take_lists(ServerLists(live=frozenset()))
    world.history.clear()
    with pytest.raises(EnvironmentDestroyedError):
        await tried.enter(ONE, CONTEXT)
    assert world.history == []


async def test_destroying_removes_what_could_not_be_attached(
    world: FakeWorld, tried: Supervisor
) -> None:
    """As of an id never seen; and from then on it is destroyed."""
    await tried.destroy(ONE, CONTEXT)
    assert PATH not in world.disk
    record = world.journal[ONE]
    assert (record.state, record.cause) == (S.TOMBSTONED, TeardownCause.DESTROY)
    world.disk[PATH] = "late"
    with pytest.raises(EnvironmentDestroyedError):
        await tried.enter(ONE, CONTEXT)


async def test_an_order_to_destroy_outlives_the_attach_it_met(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The attach is about to fail when the order comes: in the end it is destroyed, and stays so."""
    world.disk[PATH] = "mine"
    world.pauses["boundary.end"] = trio.Event()
    world.fail["discover"] = [GitCommandError("not now")]
    async with trio.open_nursery() as nursery:

        async def enter() -> None:
            with pytest.raises(GitCommandError):
                await supervisor.enter(ONE, CONTEXT)

        nursery.start_soon(enter)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
        await wait_all_tasks_blocked()
        world.pauses.pop("boundary.end").set()
    assert PATH not in world.disk
    assert world.journal[ONE].cause is TeardownCause.DESTROY
    with pytest.raises(EnvironmentDestroyedError):
        await supervisor.enter(ONE, CONTEXT)


async def test_an_attach_cut_short_by_a_crash_is_tried_again(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The daemon was killed in the middle of it."""
    world.disk[PATH] = "mine"
    record = EnvironmentRecord(
        environment_id=ONE,
        incarnation=Incarnation(1),
        state=S.PROVISIONING,
        spec=AttachSpec(PATH, WorkspaceKind.MANAGED_WORKTREE),
        changed_at=1,
    )
    world.journal[ONE] = record
    await supervisor.restore([record])
    await wait_all_tasks_blocked()
    handle = await supervisor.enter(ONE, CONTEXT)
    assert handle.path == PATH
    assert world.disk[PATH] == "mine"
