"""Random changes by another process, then the promise is checked directory by directory."""

import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from bbhost.watch import WatchTarget
from bbhost.watch.kernel_view import count_kernel_watches
from bbhost.watch.watch import Watch
from tests.integration.watch import churn
from tests.integration.watch.git_oracle import GitOracle, git, make_repository, target_of
from tests.integration.watch.helpers import next_batch, noticed, settle, watched_paths


def expected_directories(root: Path) -> set[str]:
    """Directories that are not ignored, by walking and asking git about each."""
    paths = [os.path.relpath(path, root) for path in churn.directories(root)[1:]]
    listed = subprocess.run(
        ["git", "check-ignore", "-z", "--stdin"],
        input="\0".join(paths),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return {".", *paths} - set(listed.stdout.split("\0"))


async def churn_and_follow(watch, root: Path, seed: int, steps: int) -> None:
    """Let another process change the tree, while batches are taken."""
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            while True:
                await watch.wait_changes()

        nursery.start_soon(follow)
        await trio.run_process([sys.executable, churn.__file__, str(root), str(seed), str(steps)])
        nursery.cancel_scope.cancel()


async def list_changes(root: Path) -> str:
    """Ask git, without stopping the loop and without touching the index."""
    args = ("--no-optional-locks", "status", "--porcelain", "-uall")
    return await trio.to_thread.run_sync(git, root, *args)


def missed_writes(watch, root: Path, directories: set[str]) -> list[str]:
    """Write into each directory and return those where the next drain did not show it."""
    return [
        directory
        for directory in sorted(directories)
        if not noticed(watch, (root / directory / "probe.txt").touch)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_after_random_changes_every_write_is_noticed(
    service, repository, oracle, seed
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        for round_ in range(3):
            await churn_and_follow(watch, repository, 1000 * seed + round_, 60)
            await settle(watch)
            expected = expected_directories(repository)
            assert watched_paths(service, repository) == expected
            assert missed_writes(watch, repository, expected) == []
            # A write in an unignored directory of a watch that is at rest keeps it at rest.
            assert watch.is_certain
    assert count_kernel_watches() == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
async def test_after_many_random_changes_every_write_is_noticed(
    service, repository, oracle, seed
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await churn_and_follow(watch, repository, seed, 1500)
        await settle(watch)
        expected = expected_directories(repository)
        assert watched_paths(service, repository) == expected
        assert missed_writes(watch, repository, expected) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_no_equal_mark_ever_stands_for_a_changed_tree(
    service, repository, oracle, seed
) -> None:
    """The rule of freshness itself, while another process is at work.

    A listing begun at certain marks and found at the same certain marks later must be the listing
    that a new walk gives at that moment, as far as git looks: names of what is not ignored.
    """
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def run() -> None:
                for part in range(12):
                    await churn_and_follow(watch, repository, seed * 100 + part, 6)
                    await trio.sleep(0.1)  # room for answers from the cache between the bursts
                done.set()

            nursery.start_soon(run)
            cached: tuple[int, str] | None = None
            served = 0
            while not (done.is_set() and served):
                watch.drain_nowait()
                if cached is not None and watch.is_certain and cached[0] == watch.marks:
                    now = await list_changes(repository)
                    watch.drain_nowait()
                    if watch.is_certain and cached[0] == watch.marks:
                        assert cached[1] == now
                        served += 1
                began = watch.marks
                certain = watch.is_certain
                # Kept while it is good, as a cache would.
                if cached is None or cached[0] != began or not certain:
                    answer = await list_changes(repository)
                    cached = (began, answer) if certain else None


@pytest.mark.slow
async def test_idle_watches_cost_no_task_and_no_timer(service, tmp_path) -> None:
    async with AsyncExitStack() as stack:
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(100):
            (tmp_path / f"t{number}").mkdir()
            target = WatchTarget(str(tmp_path / f"t{number}"))
            watch = await stack.enter_async_context(service.open_watch(target, GitOracle()))
            await watch.wait_certain()
        await trio.testing.wait_all_tasks_blocked()
        statistics = trio.lowlevel.current_statistics()
        assert statistics.tasks_living == before
        assert statistics.seconds_to_next_deadline == float("inf")
        assert service.statistics().running_tasks == 0


@pytest.mark.slow
async def test_three_hundred_watches_on_one_instance_all_deliver(service, tmp_path) -> None:
    trees = [tmp_path / f"t{number}" for number in range(300)]
    for tree in trees:
        for number in range(49):
            (tree / f"d{number}").mkdir(parents=True)
    told: set[Path] = set()
    ready: set[Path] = set()
    all_ready, everything = trio.Event(), trio.Event()

    async def own(tree: Path) -> None:
        async with service.open_watch(WatchTarget(str(tree)), GitOracle()) as watch:
            await watch.wait_certain()
            assert (await watch.wait_changes()).unknown
            ready.add(tree)
            if len(ready) == len(trees):
                all_ready.set()
            assert (await watch.wait_changes()).workspace
            told.add(tree)
            if len(told) == len(trees):
                everything.set()
            await everything.wait()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for tree in trees:
                nursery.start_soon(own, tree)
            await all_ready.wait()
            statistics = service.statistics()
            assert statistics.instances == 1
            assert statistics.kernel_watches == count_kernel_watches() == 300 * 50
            assert statistics.running_tasks == 0
            for tree in trees:
                (tree / "d48" / "f").touch()
    assert told == set(trees)
    assert count_kernel_watches() == 0


@pytest.mark.slow
async def test_sibling_worktrees_cost_each_other_no_git(service, tmp_path) -> None:
    """A commit in one of many worktrees voids what all know, is told to one, and asks the oracle nothing."""
    repository = make_repository(tmp_path / "repository")
    paths = [tmp_path / f"w{number}" for number in range(20)]
    for path in paths:
        git(repository, "worktree", "add", "-q", "-b", path.name, str(path))
    oracle = GitOracle()
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(service.open_watch(target_of(path), oracle))
            for path in paths
        ]
        for watch in watches:
            await settle(watch)
            assert (await next_batch(watch)).unknown
        listed, marks = oracle.listed, [watch.refs_marks for watch in watches]
        told: list[Watch] = []

        async def follow(watch: Watch) -> None:
            while True:
                if (await watch.wait_changes()).refs:
                    told.append(watch)

        async with trio.open_nursery() as owners:
            for watch in watches:
                owners.start_soon(follow, watch)
            await trio.testing.wait_all_tasks_blocked()
            (paths[0] / "src" / "a.txt").write_text("changed\n")
            await trio.to_thread.run_sync(
                lambda: git(paths[0], "commit", "-q", "-a", "-m", "second")
            )
            await trio.sleep(1.5)
            owners.cancel_scope.cancel()
        assert len(set(told)) in {1, 2}, "a second one where it came while the first was reading"
        assert all(watch.refs_marks > mark for watch, mark in zip(watches, marks, strict=True))
        assert (oracle.listed, oracle.asked) == (listed, [])
