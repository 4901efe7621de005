"""The tree: what is watched, and that nothing in it is missed."""

import os
import shutil
import subprocess

import pytest
import trio

from bbhost.watch import ChangeBatch, WatchBackend
from bbhost.watch.kernel_view import count_kernel_watches
from tests.integration.watch.git_oracle import git, target_of
from tests.integration.watch.helpers import noticed, settle, watched_paths


async def test_a_write_is_seen_by_the_next_drain_without_a_checkpoint(
    service, repository, oracle
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert watch.coverage.backend is WatchBackend.INOTIFY
        assert noticed(watch, lambda: (repository / "src" / "a.txt").write_text("two\n"))
        assert noticed(watch, lambda: (repository / "src" / "a.txt").chmod(0o755))
        assert noticed(watch, lambda: (repository / "src" / "new").touch())
        assert noticed(watch, lambda: (repository / "src" / "new").rename(repository / "moved"))
        assert noticed(watch, lambda: (repository / "moved").unlink())
        assert noticed(watch, lambda: os.truncate(repository / "src" / "a.txt", 0))
        assert not noticed(watch, lambda: (repository / "src" / "a.txt").read_text())
        assert watch.is_certain


@pytest.mark.slow
async def test_the_first_batch_says_unknown_and_the_next_what_was_touched(
    service, repository, oracle
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(10):
            assert (await watch.wait_changes()).unknown
            (repository / "src" / "a.txt").write_text("two\n")
            assert await watch.wait_changes() == ChangeBatch(workspace=True)
            git(repository, "branch", "other")
            assert await watch.wait_changes() == ChangeBatch(refs=True)


async def test_ignored_directories_cost_no_watch(service, repository, oracle) -> None:
    for number in range(200):
        (repository / "node_modules" / f"p{number}" / "lib").mkdir(parents=True)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src"}
        assert not noticed(watch, lambda: (repository / "node_modules" / "p1" / "f").touch())


@pytest.mark.slow
async def test_ignored_directories_that_appear_cost_no_watch_and_one_question(
    service, repository, oracle
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        script = "for i in range(300): os.makedirs(f'src/node_modules/p{i}/lib')"
        subprocess.run(["python3", "-c", f"import os\n{script}"], cwd=repository, check=True)
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src"}
        assert len(oracle.asked) == 1
        shutil.rmtree(repository / "src" / "node_modules")
        (repository / "src" / "node_modules" / "again").mkdir(parents=True)
        await settle(watch)
        assert len(oracle.asked) == 1, "a known ignored directory is not asked about again"


async def test_ignored_directories_that_appear_during_the_start_cost_no_watch(
    service, repository, oracle
) -> None:
    """Git's list is older than they are, and their parent was not watched yet."""
    (repository / "x" / "y").mkdir(parents=True)

    def install() -> None:
        (repository / "x" / "y" / "node_modules" / "p").mkdir(parents=True)
        (repository / "x" / "y" / "wanted" / "p").mkdir(parents=True)

    oracle.after_listing = install
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        paths = {".", "src", "x", "x/y", "x/y/wanted", "x/y/wanted/p"}
        assert watched_paths(service, repository) == paths


@pytest.mark.parametrize("attempt", range(5))
async def test_a_write_into_a_tree_made_at_once_is_never_missed(
    service, repository, oracle, attempt
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert noticed(watch, lambda: subprocess.run(
            ["mkdir", "-p", "a/b/c/d/e"], cwd=repository, check=True
        ))  # fmt: skip
        await settle(watch)
        assert {"a", "a/b", "a/b/c/d/e"} <= watched_paths(service, repository)
        assert len(oracle.asked) == 1, "a deep tree is one question"
        assert noticed(watch, lambda: (repository / "a/b/c/d/e/f").write_text("x"))
        assert watch.is_certain


async def test_certainty_returns_with_a_higher_mark(service, repository, oracle) -> None:
    """What was computed while a new directory was not watched must not count as fresh."""
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        oracle.gate = trio.Event()
        (repository / "a").mkdir()
        watch.drain_nowait()
        assert not watch.is_certain
        began = watch.marks
        await trio.testing.wait_all_tasks_blocked(0.05)
        (repository / "a" / "unseen").write_text("x")
        oracle.gate.set()
        await settle(watch)
        assert watch.marks > began


async def test_directories_that_move_stay_watched_or_leave(
    service, repository, oracle, tmp_path
) -> None:
    (repository / "old" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        (repository / "old").rename(repository / "src" / "new")
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "src/new", "src/new/deep"}
        assert noticed(watch, lambda: (repository / "src/new/deep/f").touch())
        (repository / "src" / "new").rename(tmp_path / "gone")
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src"}
        assert not noticed(watch, lambda: (tmp_path / "gone/deep/f").write_text("x"))
        (tmp_path / "outside").rename(repository / "in")
        await settle(watch)
        assert noticed(watch, lambda: (repository / "in/deep/f").touch())
        shutil.rmtree(repository / "in")
        (repository / "in").mkdir()
        await settle(watch)
        assert noticed(watch, lambda: (repository / "in/f").touch())


async def test_a_changed_rule_moves_the_border(service, repository, oracle) -> None:
    (repository / "node_modules" / "p").mkdir(parents=True)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert noticed(watch, lambda: (repository / ".gitignore").write_text("src/\n"))
        assert not watch.is_certain
        await settle(watch)
        # `src` holds a tracked file: git does not take it as ignored.
        assert watched_paths(service, repository) == {
            ".",
            "src",
            "node_modules",
            "node_modules/p",
        }
        (repository / ".git" / "info" / "exclude").write_text("/node_modules/p\n")
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "node_modules"}
        git(repository, "config", "core.excludesFile", str(repository / "ignore-more"))
        await settle(watch)
        (repository / "node_modules" / "q").mkdir()
        await settle(watch)
        assert noticed(watch, lambda: (repository / "node_modules/q/f").touch())


async def test_an_ignored_directory_that_becomes_tracked_is_watched(
    service, repository, oracle
) -> None:
    (repository / "node_modules" / "p").mkdir(parents=True)
    (repository / "node_modules" / "p" / "f").write_text("x")
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert "node_modules" not in watched_paths(service, repository)
        git(repository, "add", "-f", "node_modules/p/f")
        watch.drain_nowait()
        assert not watch.is_certain
        await settle(watch)
        assert noticed(watch, lambda: (repository / "node_modules/p/f").write_text("y"))


async def test_an_index_that_changes_during_the_start_is_compared(
    service, repository, oracle
) -> None:
    """Git has listed `node_modules`, then it becomes tracked, then the list arrives."""
    (repository / "node_modules").mkdir()
    (repository / "node_modules" / "f").write_text("x")

    def track() -> None:
        oracle.after_listing = None
        git(repository, "add", "-f", "node_modules/f")
        service.drain_nowait()

    oracle.after_listing = track
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "node_modules"}


async def test_an_index_write_that_tracks_nothing_ignored_costs_no_git(
    service, repository, oracle
) -> None:
    (repository / "node_modules" / "p").mkdir(parents=True)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        (repository / "src" / "b").write_text("x")
        git(repository, "add", ".")
        await settle(watch)
        assert (oracle.listed, oracle.asked) == (1, [])


@pytest.mark.slow
async def test_a_plain_status_of_another_process_does_not_go_round_in_circles(
    service, repository, oracle
) -> None:
    """Git rewrites the index while its files are younger than a second, and then no more."""
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        os.utime(repository / "src" / "a.txt")
        at_rest = False
        with trio.fail_after(10):
            while not at_rest:
                with trio.move_on_after(0.7) as pause:
                    await watch.wait_changes()
                    git(repository, "status")
                at_rest = pause.cancelled_caught


async def test_leaving_removes_every_kernel_watch(service, repository, oracle) -> None:
    before = count_kernel_watches()
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        assert count_kernel_watches() > before
        assert service.statistics().kernel_watches == count_kernel_watches() - before
    assert count_kernel_watches() == before


@pytest.mark.slow
async def test_leaving_in_the_middle_of_the_start_removes_every_kernel_watch(
    service, repository, oracle
) -> None:
    before = count_kernel_watches()
    for number in range(300):
        (repository / f"d{number}").mkdir()
    for steps in range(12):
        async with service.open_watch(target_of(repository), oracle):
            for _ in range(steps * 3):
                await trio.lowlevel.checkpoint()
            await trio.sleep(steps / 1000)
        assert count_kernel_watches() == before
    with trio.fail_after(5):
        while service.statistics().running_tasks:
            await trio.lowlevel.checkpoint()


async def test_one_checkout_for_two_environments_is_one_set_of_kernel_watches(
    service, repository, oracle
) -> None:
    before = count_kernel_watches()
    target = target_of(repository)
    async with service.open_watch(target, oracle) as first:
        await settle(first)
        alone = count_kernel_watches() - before
        async with service.open_watch(target, oracle) as second:
            await settle(second)
            assert count_kernel_watches() - before == alone
            marks = first.marks, second.marks
            (repository / "src" / "b").touch()
            second.drain_nowait()
            assert first.marks > marks[0]
            assert second.marks > marks[1]
        assert count_kernel_watches() - before == alone
        assert noticed(first, lambda: (repository / "src" / "c").touch())
    assert count_kernel_watches() == before


async def test_nested_roots_share_kernel_watches(service, repository, oracle) -> None:
    before = count_kernel_watches()
    target = target_of(repository)
    async with service.open_watch(target, oracle) as outer:
        await settle(outer)
        nested = target_of(repository / "src")
        async with service.open_watch(nested, oracle) as inner:
            await settle(inner)
        assert noticed(outer, lambda: (repository / "src" / "c").touch())
    assert count_kernel_watches() == before
