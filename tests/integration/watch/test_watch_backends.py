"""One behaviour for all backends: what an owner may rely on, whichever finds the changes."""

import contextlib
import shutil
import threading

import pytest
import trio

from bbhost.watch import ChangeBatch, WatchBackend
from tests.integration.watch.git_oracle import GitOracle, git, target_of
from tests.integration.watch.helpers import next_batch, no_more_batches

pytestmark = pytest.mark.slow  # watchfiles takes its time, and silence takes some to be heard


@pytest.fixture(params=["inotify", "watchfiles", "polling"])
async def any_service(request, start_service):
    return await start_service(
        request.param, poll_seconds=0.02, poll_share=1.0, quiet_ms=15, longest_ms=100
    )


@pytest.fixture
async def at_rest(any_service, repository, oracle):
    """An open watch on which nothing is going on."""
    (repository / "node_modules" / "p").mkdir(parents=True)
    async with any_service.open_watch(target_of(repository), oracle) as watch:
        assert (await next_batch(watch)).unknown
        await no_more_batches(watch)
        yield watch


async def test_writes_are_workspace(at_rest, repository) -> None:
    (repository / "src" / "a.txt").write_text("other\n")
    assert await next_batch(at_rest) == ChangeBatch(workspace=True)


async def test_what_is_made_moved_and_removed_is_workspace(at_rest, repository) -> None:
    for change in (
        lambda: (repository / "src" / "b").write_text("x"),
        lambda: (repository / "src" / "b").rename(repository / "c"),
        lambda: (repository / "c").unlink(),
        lambda: (repository / "src" / "link").symlink_to("a.txt"),
        lambda: (repository / "src" / "a.txt").chmod(0o755),
    ):
        change()
        assert (await next_batch(at_rest)).workspace
        await no_more_batches(at_rest)


async def test_a_write_deep_in_a_new_tree_is_seen(at_rest, repository) -> None:
    (repository / "a" / "b" / "c").mkdir(parents=True)
    (repository / "a" / "b" / "c" / "f").write_text("x")
    assert (await next_batch(at_rest)).workspace
    await no_more_batches(at_rest)
    (repository / "a" / "b" / "c" / "f").write_text("y and more")
    assert (await next_batch(at_rest)).workspace


async def test_a_write_in_a_moved_tree_is_seen(at_rest, repository, tmp_path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside").rename(repository / "inside")
    assert (await next_batch(at_rest)).workspace
    await no_more_batches(at_rest)
    (repository / "inside" / "deep" / "f").write_text("x")
    assert (await next_batch(at_rest)).workspace


async def test_what_is_ignored_is_silent(at_rest, repository) -> None:
    (repository / "node_modules" / "p" / "f").write_text("x")
    (repository / "node_modules" / "q" / "deep").mkdir(parents=True)
    (repository / "node_modules" / "q" / "deep" / "f").write_text("x")
    with trio.move_on_after(0.25) as pause:
        batch = await at_rest.wait_changes()
        pytest.fail(f"unexpected {batch}")
    assert pause.cancelled_caught


async def test_a_rule_that_changes_moves_the_border(at_rest, repository) -> None:
    (repository / ".gitignore").write_text("src/new/\n")
    assert (await next_batch(at_rest)).workspace
    await no_more_batches(at_rest)
    (repository / "node_modules" / "p" / "f").write_text("x")
    assert (await next_batch(at_rest)).workspace


async def test_the_index_is_workspace(at_rest, repository) -> None:
    git(repository, "update-index", "--chmod=+x", "src/a.txt")
    assert await next_batch(at_rest) == ChangeBatch(workspace=True)


async def test_refs_are_refs(at_rest, repository) -> None:
    git(repository, "update-ref", "refs/remotes/origin/deep/er", "HEAD")
    assert await next_batch(at_rest) == ChangeBatch(refs=True)
    git(repository, "branch", "feature/x")
    assert await next_batch(at_rest) == ChangeBatch(refs=True)


async def test_locks_and_objects_are_silent(at_rest, repository) -> None:
    git(repository, "hash-object", "-w", "src/a.txt")
    (repository / ".git" / "index.lock").touch()
    (repository / ".git" / "index.lock").unlink()
    (repository / ".git" / "refs" / "heads" / "x.lock").touch()
    (repository / ".git" / "logs" / "HEAD").touch()
    with trio.move_on_after(0.25) as pause:
        batch = await at_rest.wait_changes()
        pytest.fail(f"unexpected {batch}")
    assert pause.cancelled_caught


async def test_a_root_that_goes_away_is_told(at_rest, repository) -> None:
    shutil.rmtree(repository)
    assert await next_batch(at_rest)
    assert not at_rest.is_certain


async def test_only_inotify_is_ever_certain(at_rest) -> None:
    assert at_rest.is_certain is (at_rest.backend is WatchBackend.INOTIFY)


async def test_two_watches_of_one_checkout_are_both_told(any_service, repository) -> None:
    async with contextlib.AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(
                any_service.open_watch(target_of(repository), GitOracle())
            )
            for _ in range(2)
        ]
        for watch in watches:
            await next_batch(watch)
        for watch in watches:
            await no_more_batches(watch)
        (repository / "src" / "b").touch()
        for watch in watches:
            assert (await next_batch(watch)).workspace


async def test_leaving_leaves_no_thread_behind(any_service, repository) -> None:
    async with any_service.open_watch(target_of(repository), GitOracle()) as watch:
        await next_batch(watch)
    busy = [t.name for t in threading.enumerate() if "watch" in t.name.lower()]
    assert busy == []
    assert any_service.statistics().watches == ()


async def test_many_may_open_and_leave_at_once(any_service, repository) -> None:
    async def once() -> None:
        async with any_service.open_watch(target_of(repository), GitOracle()) as watch:
            await next_batch(watch)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(once)
    assert any_service.statistics().watches == ()
