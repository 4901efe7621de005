"""The life of an environment under its owner: what each command does in each state."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.environment import TeardownCause
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import (
    ManagedWorktreeSpec,
    UnmanagedSpec,
    WorkspaceContext,
    WorkspaceKind,
)
from bbhost.environment.ready import PUT_OFF_SECONDS
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import (
    BbhostError,
    EnvironmentBusyError,
    EnvironmentDestroyedError,
    JournalError,
    PathNotFoundError,
)
from bbhost.lifecycle.environment import EnvironmentEvent
from bbhost.reconciler.diff import ServerLists
from bbhost.reconciler.reconciler import Reconciler
from tests.fakes.world import FakeBatch, FakeWorld, disk_full, git_failed

ONE = EnvironmentId("env_one")
SPEC = ManagedWorktreeSpec("/src", "/data/worktrees/env_one/demo", "b", None, 1000)
CONTEXT = WorkspaceContext(SPEC.target_path, WorkspaceKind.MANAGED_WORKTREE)


async def test_provision_makes_a_watched_environment(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Provisioning is journalled first, makes the workspace, and ends watching."""
    outcome = await supervisor.provision(ONE, SPEC)
    assert outcome.discovered.path == SPEC.target_path
    assert [entry.key for entry in outcome.transcript] == ["git-worktree-started"]
    await wait_all_tasks_blocked()
    assert world.names()[:2] == ["journal", "provision.begin"]
    assert world.live_watches() == 1
    assert world.journal[ONE].state is S.READY


@pytest.mark.slow
async def test_destroyed_is_tombstoned_and_not_resurrected(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """After destroy, status and diff are refused, and touch nothing at all."""
    await supervisor.provision(ONE, SPEC)
    await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED
    before = list(world.history)
    for _ in range(3):
        with pytest.raises(EnvironmentDestroyedError):
            await supervisor.enter(ONE, CONTEXT)
    assert supervisor.entered(ONE) is None
    assert world.history == before
    assert world.live_watches() == 0
    assert supervisor.live_ids() == []


async def test_a_tombstone_refuses_even_when_the_directory_is_back(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """A path that exists again does not bring the environment back."""
    await supervisor.provision(ONE, SPEC)
    await supervisor.destroy(ONE, CONTEXT)
    world.disk[SPEC.target_path] = "again"
    with pytest.raises(EnvironmentDestroyedError):
        await supervisor.enter(ONE, CONTEXT)
    assert world.live_watches() == 0


async def test_destroy_without_a_live_entry_still_tombstones(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """An unknown id is tombstoned, so that nothing attaches it afterwards."""
    await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED
    world.disk[SPEC.target_path] = "there"
    with pytest.raises(EnvironmentDestroyedError):
        await supervisor.enter(ONE, CONTEXT)


async def test_destroy_of_an_unknown_id_removes_its_managed_files(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """What an earlier daemon made is removed when the server orders it."""
    world.disk[SPEC.target_path] = "left by an earlier daemon"
    await supervisor.destroy(ONE, CONTEXT)
    assert SPEC.target_path not in world.disk
    assert world.journal[ONE].state is S.TOMBSTONED
    assert "watch.open" not in world.names()


async def test_destroy_never_touches_an_unmanaged_workspace(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The user's own checkout stays as it is, whatever ends."""
    world.disk["/home/dev/repo"] = "mine"
    await supervisor.provision(ONE, UnmanagedSpec("/home/dev/repo"))
    await supervisor.destroy(ONE, WorkspaceContext("/home/dev/repo", WorkspaceKind.UNMANAGED))
    assert world.disk["/home/dev/repo"] == "mine"
    assert not {"trash", "hook", "rescue", "deregister", "rollback"} & set(world.names())
    assert world.journal[ONE].files_remain


@pytest.mark.slow
async def test_reprovision_is_a_new_incarnation(world: FakeWorld, supervisor: Supervisor) -> None:
    """An id that is provisioned again gets a new machine with a higher number."""
    await supervisor.provision(ONE, SPEC)
    await supervisor.destroy(ONE, CONTEXT)
    await supervisor.provision(ONE, SPEC)
    assert world.journal[ONE].incarnation == 2
    assert world.journal[ONE].state is S.READY


async def test_repeated_destroy_is_idempotent(world: FakeWorld, supervisor: Supervisor) -> None:
    """Concurrent and later destroys all succeed, and teardown runs once."""
    await supervisor.provision(ONE, SPEC)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
    await supervisor.destroy(ONE, CONTEXT)
    assert world.names().count("trash") == 1


async def test_provision_of_a_ready_environment_changes_nothing(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """It succeeds with an empty transcript."""
    await supervisor.provision(ONE, SPEC)
    again = await supervisor.provision(ONE, SPEC)
    assert again.transcript == ()
    assert world.names().count("provision.begin") == 1


async def test_provision_joins_the_one_under_way(world: FakeWorld, supervisor: Supervisor) -> None:
    """The same specification joins, and sees the transcript from its start; another is refused."""
    world.pauses["provision.made"] = trio.Event()
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.provision, ONE, SPEC)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.provision, ONE, SPEC, lambda entry: seen.append(entry.key))
        await wait_all_tasks_blocked()
        other = ManagedWorktreeSpec("/src", SPEC.target_path, "another", None, 1000)
        with pytest.raises(EnvironmentBusyError):
            await supervisor.provision(ONE, other)
        world.pauses.pop("provision.made").set()
    assert seen == ["git-worktree-started"]
    assert world.names().count("provision.begin") == 1


async def test_failed_provisioning_is_rolled_back_before_it_is_reported(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The caller hears of the failure when nothing is left."""
    world.fail["provision.made"] = [git_failed()]
    with pytest.raises(BbhostError) as caught:
        await supervisor.provision(ONE, SPEC)
    assert caught.value.code == "git_command_failed"
    assert world.disk == {}
    assert world.registered == set()
    assert world.journal[ONE].cause is TeardownCause.ROLLBACK


async def test_rollback_removes_only_what_this_provisioning_made(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """A directory that was there before stays, although provisioning failed."""
    world.disk[SPEC.target_path] = "was here before"
    world.fail["provision.begin"] = [git_failed()]
    with pytest.raises(BbhostError):
        await supervisor.provision(ONE, SPEC)
    assert world.disk[SPEC.target_path] == "was here before"
    assert "rollback" not in world.names()


async def test_destroy_cancels_provisioning(world: FakeWorld, supervisor: Supervisor) -> None:
    """The provisioning caller is told, and what was half made is removed."""
    world.pauses["provision.made"] = trio.Event()
    errors: list[BbhostError] = []

    async def ask() -> None:
        try:
            await supervisor.provision(ONE, SPEC)
        except BbhostError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await supervisor.destroy(ONE, CONTEXT)
    assert [error.code for error in errors] == ["environment_destroyed"]
    assert world.disk == {}
    assert "watch.open" not in world.names()


async def test_commands_wait_for_provisioning(world: FakeWorld, supervisor: Supervisor) -> None:
    """A status that arrives while provisioning is served once the environment is ready."""
    world.pauses["provision.made"] = trio.Event()
    answers: list[object] = []

    async def ask() -> None:
        handle = await supervisor.enter(ONE, CONTEXT)
        answers.append(await handle.status(None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.provision, ONE, SPEC)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert answers == []
        world.pauses.pop("provision.made").set()
    assert len(answers) == 1


async def test_provision_while_destroying_waits_and_makes_a_new_incarnation(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The tombstone comes first; then a new life begins."""
    await supervisor.provision(ONE, SPEC)
    world.pauses["hook"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
        await wait_all_tasks_blocked()
        nursery.start_soon(supervisor.provision, ONE, SPEC)
        await wait_all_tasks_blocked()
        assert world.journal[ONE].incarnation == 1
        world.pauses.pop("hook").set()
    assert world.journal[ONE].incarnation == 2
    assert world.journal[ONE].state is S.READY


async def test_a_missing_directory_attaches_nothing(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """path_not_found, and nothing is created, watched or remembered."""
    with pytest.raises(PathNotFoundError):
        await supervisor.enter(ONE, CONTEXT)
    assert world.history == []
    assert supervisor.records() == []


async def test_an_unknown_id_with_a_directory_is_attached(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Nothing is made; the environment is ready and watched."""
    world.disk[SPEC.target_path] = "there"
    handle = await supervisor.enter(ONE, CONTEXT)
    await handle.status(None)
    assert "provision.begin" not in world.names()
    assert world.journal[ONE].state is S.READY
    assert not world.journal[ONE].created_workspace


async def test_an_excluded_id_is_not_attached(world: FakeWorld, supervisor: Supervisor) -> None:
    """The server's list at session open decides about ids never seen here."""
    world.disk[SPEC.target_path] = "there"
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset()))
    with pytest.raises(EnvironmentDestroyedError):
        await supervisor.enter(ONE, CONTEXT)
    assert world.history == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.slow
async def test_watch_is_gone_before_teardown_begins(
    seed: int, world: FakeWorld, supervisor: Supervisor
) -> None:
    """Whatever the schedule, no watch, guest or call of ``ready`` is alive when teardown begins."""
    alive: set[str] = set()
    seen: list[tuple[str, int, frozenset[str]]] = []

    def look(name: str, _subject: str) -> None:
        if name in {"hook", "boundary.end", "rescue", "trash", "deregister", "prune"}:
            seen.append((name, world.live_watches(), frozenset(alive)))

    world.before_seam = look
    await supervisor.provision(ONE, SPEC)
    handle = await supervisor.enter(ONE, CONTEXT)

    async def guest(name: str) -> None:
        alive.add(name)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(seed % 7):
                    await trio.lowlevel.checkpoint()
            alive.discard(name)

    handle.stay.host(guest, "terminal")
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(EnvironmentDestroyedError):
                await handle.call(guest, "call")

        nursery.start_soon(call)
        for _ in range(seed):
            await trio.lowlevel.checkpoint()
        nursery.start_soon(supervisor.destroy, ONE, CONTEXT)
    assert [name for name, _, _ in seen][:2] == ["hook", "boundary.end"]
    assert all(count == 0 and not left for _, count, left in seen)


async def test_changes_are_told_only_when_something_differs(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """An event that leaves the fingerprint equal is silent."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    (watch,) = world.watches[SPEC.target_path]
    watch.poke(FakeBatch())
    await wait_all_tasks_blocked()
    assert world.posts == []
    world.contents[SPEC.target_path] = 1
    watch.poke(FakeBatch())
    await wait_all_tasks_blocked()
    assert world.posts == [(ONE, EnvironmentChange.WORK_STATUS)]
    world.refs = 1
    watch.poke(FakeBatch(workspace=False, refs=True))
    await wait_all_tasks_blocked()
    assert world.posts[1:] == [(ONE, EnvironmentChange.GIT_REFS)]


async def test_a_change_before_the_watch_has_a_baseline_is_told(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """What the server was answered is what a later look is compared with."""
    world.pauses["watch.open"] = trio.Event()
    await supervisor.provision(ONE, SPEC)
    handle = await supervisor.enter(ONE, CONTEXT)
    await handle.status(None)
    world.contents[SPEC.target_path] = 1
    world.pauses.pop("watch.open").set()
    await wait_all_tasks_blocked()
    assert world.posts == [(ONE, EnvironmentChange.WORK_STATUS)]


async def test_a_change_during_the_first_look_is_told(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Nobody was answered before, and the look itself sees the change already."""
    world.pauses["status"] = trio.Event()
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    world.contents[SPEC.target_path] = 1
    world.pauses.pop("status").set()
    await wait_all_tasks_blocked()
    assert world.posts == [(ONE, EnvironmentChange.WORK_STATUS)]


async def test_status_of_an_unchanged_environment_runs_no_git(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Asked a hundred times, computed once; after an event, once more."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    handle = await supervisor.enter(ONE, CONTEXT)
    runs = world.status_runs
    for _ in range(100):
        await handle.status(None)
    assert world.status_runs == runs
    (watch,) = world.watches[SPEC.target_path]
    watch.work_marks += 1
    await handle.status(None)
    assert world.status_runs == runs + 1


async def test_an_uncertain_watch_answers_nothing_from_memory(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """While the watch cannot promise anything, every status is computed."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    (watch,) = world.watches[SPEC.target_path]
    watch.is_certain = False
    handle = await supervisor.enter(ONE, CONTEXT)
    runs = world.status_runs
    await handle.status(None)
    await handle.status(None)
    assert world.status_runs == runs + 2


async def test_failed_teardown_leaves_no_tombstone(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """A workspace that is intact goes back to ready, freshly watched; the server may try again."""
    await supervisor.provision(ONE, SPEC)
    world.fail["rescue"] = [git_failed() for _ in range(3)]
    with pytest.raises(BbhostError) as caught:
        await supervisor.destroy(ONE, CONTEXT)
    assert caught.value.code == "git_command_failed"
    assert world.journal[ONE].state is S.READY
    await wait_all_tasks_blocked()
    assert world.live_watches() == 1
    await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED


async def expect_destroy_told_and_tried_on(world: FakeWorld, supervisor: Supervisor) -> None:
    """The failure is told, the environment stays in ``destroying``, and is tombstoned in the end."""
    with pytest.raises(BbhostError):
        await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.DESTROYING
    actor = supervisor.actor(ONE)
    assert actor is not None
    await actor.view.wait_value(lambda view: view.state is S.TOMBSTONED)


async def test_a_teardown_that_has_begun_to_remove_never_goes_back(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """Those who wait are told; the owner goes on trying until it is gone."""
    await supervisor.provision(ONE, SPEC)
    world.fail["deregister"] = [git_failed() for _ in range(5)]
    await expect_destroy_told_and_tried_on(world, supervisor)
    assert world.live_watches() == 0


async def test_a_teardown_goes_back_to_nothing_that_is_gone(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """An earlier daemon had moved the files away; this one has not come so far and changed nothing."""
    await supervisor.provision(ONE, SPEC)
    del world.disk[SPEC.target_path]
    world.fail["rescue"] = [git_failed() for _ in range(5)]
    await expect_destroy_told_and_tried_on(world, supervisor)


async def test_a_teardown_does_not_go_back_to_what_came_after_the_workspace(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """It was moved away, git could not be told, and somebody wrote at its path: that is no workspace."""
    await supervisor.provision(ONE, SPEC)
    world.fail["deregister"] = [git_failed()]

    def write_again(seam: str, _subject: str) -> None:
        if seam == "deregister":
            world.disk[SPEC.target_path] = "rubbish"
            world.fail["trash"] = world.fail.get("trash") or [git_failed() for _ in range(4)]

    world.before_seam = write_again
    await expect_destroy_told_and_tried_on(world, supervisor)


async def test_changes_are_told_while_directories_keep_appearing(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """The watches of an installation are never all set: only what doubts everything is put off, and
    not for long."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    (watch,) = world.watches[SPEC.target_path]
    watch.is_certain, watch.is_settling = False, True
    watch.poke(FakeBatch(unknown=True))
    await wait_all_tasks_blocked()
    world.contents[SPEC.target_path] = 1
    watch.poke(FakeBatch())
    await wait_all_tasks_blocked()
    assert world.posts == [(ONE, EnvironmentChange.WORK_STATUS)]
    world.contents[SPEC.target_path] = 2
    for _ in range(3):
        watch.poke(FakeBatch(unknown=True))
        await trio.sleep(PUT_OFF_SECONDS)
    assert world.posts[1:] == [(ONE, EnvironmentChange.WORK_STATUS)]


async def test_the_batch_that_comes_when_all_is_watched_doubts_everything(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Whatever it says: what was put off is in it."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    (watch,) = world.watches[SPEC.target_path]
    watch.is_settling = True
    world.contents[SPEC.target_path] = 1
    watch.poke(FakeBatch(unknown=True))
    await wait_all_tasks_blocked()
    assert world.posts == []
    watch.is_settling = False
    watch.poke(FakeBatch(workspace=False, refs=True))
    await wait_all_tasks_blocked()
    assert world.posts == [(ONE, EnvironmentChange.WORK_STATUS)]


async def test_watch_retries_give_up(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """Sixty failures in a row end the trying; a command starts it again."""
    world.fail["watch.open"] = [BbhostError("no inotify") for _ in range(60)]
    await supervisor.provision(ONE, SPEC)
    await trio.sleep(3600)
    assert world.names().count("watch.open") == 60
    handle = await supervisor.enter(ONE, CONTEXT)
    await handle.status(None)
    await wait_all_tasks_blocked()
    assert world.live_watches() == 1


async def test_a_refused_journal_write_refuses_the_event(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """An event that cannot be made durable is not accepted, and the environment lives on."""
    await supervisor.provision(ONE, SPEC)
    await wait_all_tasks_blocked()
    world.fail["journal"] = [disk_full()]
    with pytest.raises(JournalError):
        await supervisor.destroy(ONE, CONTEXT)
    assert world.live_watches() == 1
    handle = await supervisor.enter(ONE, CONTEXT)
    await handle.status(None)
    await supervisor.destroy(ONE, CONTEXT)
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_reconcile_drops_idle_ones_and_keeps_live_ones(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """What the server does not list is released; its files stay."""
    two = EnvironmentId("env_two")
    await supervisor.provision(ONE, SPEC)
    await supervisor.provision(two, ManagedWorktreeSpec("/src", "/data/two", "c", None, 1))
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset({two})))
    await reconciler.reconcile()
    assert world.journal[ONE].state is S.TOMBSTONED
    assert world.journal[ONE].cause is TeardownCause.RETIRE
    assert world.journal[ONE].files_remain
    assert SPEC.target_path in world.disk
    assert world.journal[two].state is S.READY
    assert world.live_watches() == 1


async def test_reconcile_never_drops_active_work(world: FakeWorld, supervisor: Supervisor) -> None:
    """A busy environment is kept, and retired when it becomes idle."""
    await supervisor.provision(ONE, SPEC)
    handle = await supervisor.enter(ONE, CONTEXT)
    reconciler = Reconciler(supervisor)
    with handle.stay.activity("terminal"):
        reconciler.take_lists(ServerLists(retired=frozenset({ONE})))
        (outcome,) = await reconciler.reconcile()
        assert not outcome.done
        assert world.journal[ONE].state is S.READY
    assert world.idle_notes == [ONE, ONE], "when it became ready, and when its work ended"
    await reconciler.reconcile()
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_an_old_server_without_lists_orders_nothing(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """Absent lists mean unknown."""
    await supervisor.provision(ONE, SPEC)
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists())
    assert await reconciler.reconcile() == []
    assert world.journal[ONE].state is S.READY


async def test_a_contradicted_tombstone_heals(world: FakeWorld, supervisor: Supervisor) -> None:
    """Live on the server, tombstoned here: a new incarnation attaches, if the files are there."""
    await supervisor.provision(ONE, SPEC)
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(retired=frozenset({ONE})))
    await reconciler.reconcile()
    reconciler.take_lists(ServerLists(live=frozenset({ONE})))
    (outcome,) = await reconciler.reconcile()
    assert outcome.done
    assert world.journal[ONE].state is S.READY
    assert world.journal[ONE].incarnation == 2
    await supervisor.destroy(ONE, CONTEXT)
    (outcome,) = await reconciler.reconcile()
    assert not outcome.done
    assert "does not exist" in outcome.detail
    assert world.journal[ONE].state is S.TOMBSTONED


async def test_an_unreported_destroy_is_not_a_contradiction(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The server lists it only because our result has not reached it yet."""
    world.disk["/home/dev/repo"] = "mine"
    await supervisor.provision(ONE, UnmanagedSpec("/home/dev/repo"))
    await supervisor.destroy(ONE, WorkspaceContext("/home/dev/repo", WorkspaceKind.UNMANAGED))

    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset({ONE})), unreported=frozenset({ONE}))
    assert await reconciler.reconcile() == []


@pytest.mark.slow
async def test_a_list_from_before_a_destroy_lifts_nothing(
    world: FakeWorld, supervisor: Supervisor
) -> None:
    """The server destroyed it after it made the list; the list is old, not a contradiction."""
    world.disk["/home/dev/repo"] = "mine"
    await supervisor.provision(ONE, UnmanagedSpec("/home/dev/repo"))
    reconciler = Reconciler(supervisor)
    reconciler.take_lists(ServerLists(live=frozenset({ONE})))
    reconciler.dismiss(ONE)
    await supervisor.destroy(ONE, WorkspaceContext("/home/dev/repo", WorkspaceKind.UNMANAGED))
    assert await reconciler.reconcile() == []
    assert world.live_watches() == 0


async def test_restore_finishes_what_was_begun(world: FakeWorld) -> None:
    """After a crash: ready is watched again, destroying goes on, provisioning is undone."""
    first = Supervisor(world.services())
    ids = [EnvironmentId(f"env_{n}") for n in range(3)]
    specs = [ManagedWorktreeSpec("/src", f"/data/{n}", "b", None, 1) for n in range(3)]
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await first.provision(ids[0], specs[0])
        await first.provision(ids[1], specs[1])
        world.pauses["rescue"] = trio.Event()
        world.pauses["provision.made"] = trio.Event()
        context = WorkspaceContext("/data/1", WorkspaceKind.MANAGED_WORKTREE)
        nursery.start_soon(first.destroy, ids[1], context)
        nursery.start_soon(first.provision, ids[2], specs[2])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    next_world = world.after_crash()
    second = Supervisor(next_world.services())
    async with trio.open_nursery() as nursery:
        await nursery.start(second.run)
        await second.restore(next_world.journal.values())
        await wait_all_tasks_blocked()
        states = [next_world.journal[key].state for key in ids]
        assert states == [S.READY, S.TOMBSTONED, S.TOMBSTONED]
        assert set(next_world.disk) == {"/data/0"}
        assert next_world.registered == {"/data/0"}
        assert next_world.live_watches() == 1
        nursery.cancel_scope.cancel()


async def test_a_crashing_guest_does_not_end_other_environments(
    world: FakeWorld, supervisor: Supervisor, autojump_clock: trio.testing.MockClock
) -> None:
    """A defect ends one stay; its owner starts again, and the others never notice."""
    two = EnvironmentId("env_two")
    await supervisor.provision(ONE, SPEC)
    await supervisor.provision(two, ManagedWorktreeSpec("/src", "/data/two", "c", None, 1))
    handle = await supervisor.enter(ONE, CONTEXT)

    async def broken() -> None:
        raise ZeroDivisionError

    handle.stay.host(broken)
    await trio.sleep(10)
    await wait_all_tasks_blocked()
    assert sorted(supervisor.live_ids()) == [ONE, two]
    assert world.live_watches() == 2


async def test_an_event_after_the_end_is_refused(world: FakeWorld, supervisor: Supervisor) -> None:
    """Asking an owner that has ended answers no, and does not wait."""
    await supervisor.provision(ONE, SPEC)
    actor = supervisor.actor(ONE)
    assert actor is not None
    await supervisor.destroy(ONE, CONTEXT)
    await wait_all_tasks_blocked()
    assert not await actor.ask(EnvironmentEvent.DESTROY)
