"""A retired environment that the server then orders destroyed."""

from attrs import evolve

from bbhost.domain.environment import EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.supervisor import Supervisor
from bbhost.lifecycle.environment import EnvironmentEvent
from tests.fakes.world import FakeWorld

ONE = EnvironmentId("env_one")
SPEC = ManagedWorktreeSpec("/src", "/data/worktrees/env_one/demo", "b", None, 1000)
CONTEXT = WorkspaceContext(SPEC.target_path, WorkspaceKind.MANAGED_WORKTREE)


async def retire(supervisor: Supervisor) -> None:
    await supervisor.provision(ONE, SPEC)
    actor = supervisor.actor(ONE)
    assert actor is not None
    assert await actor.ask(EnvironmentEvent.RETIRE)
    await actor.view.wait_value(lambda view: view.state is EnvironmentState.TOMBSTONED)


async def test_the_order_is_remembered_and_nothing_is_touched(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The tombstone says from then on that the files may go; the sweep acts upon it, not the order."""
    await retire(supervisor)
    before = world.journal[ONE]
    assert before.cause is TeardownCause.RETIRE
    names = world.names()
    await supervisor.destroy(ONE, CONTEXT)
    after = world.journal[ONE]
    assert after.state is EnvironmentState.TOMBSTONED
    assert after.cause is TeardownCause.DESTROY
    assert after.incarnation == before.incarnation
    assert world.names() == [*names, "journal"]
    assert supervisor.live_ids() == []


async def test_an_order_about_another_path_says_nothing(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Only the very workspace that was retired is given free."""
    await retire(supervisor)
    await supervisor.destroy(ONE, evolve(CONTEXT, workspace_path="/data/worktrees/other/demo"))
    assert world.journal[ONE].cause is TeardownCause.RETIRE
