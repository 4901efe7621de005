"""What goes wrong: lost roots, overflows, no room, failing oracles."""

import errno
import logging
import os
import shutil
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from bbhost.errors import (
    GitCommandError,
    NotGitRepoError,
    PathNotFoundError,
    WatchRefusedError,
)
from bbhost.watch import WatchBackend, WatchTarget, make_watch_service, places
from bbhost.watch.kernel import Kernel, NoRoomError
from bbhost.watch.kernel_view import count_kernel_watches
from tests.integration.watch.git_oracle import GitOracle, git, make_repository, target_of
from tests.integration.watch.helpers import next_batch, no_more_batches, noticed, settle


async def test_targets_that_cannot_be_watched_are_refused_at_once(
    service, repository, tmp_path
) -> None:
    refused = [
        (WatchTarget(str(tmp_path / "missing")), PathNotFoundError),
        (WatchTarget("/"), WatchRefusedError),
        (WatchTarget(str(Path.home())), WatchRefusedError),
        (WatchTarget(str(repository), str(tmp_path / "x"), str(tmp_path / "x")), NotGitRepoError),
    ]
    for target, error in refused:
        with pytest.raises(error):
            async with service.open_watch(target, GitOracle()):
                pass
    assert service.statistics().watches == ()


async def test_a_plain_directory_is_watched_without_git(service, tmp_path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    oracle = GitOracle()
    async with service.open_watch(WatchTarget(str(tmp_path)), oracle) as watch:
        await settle(watch)
        assert noticed(watch, lambda: (tmp_path / "deep" / "er" / "f").touch())
        (tmp_path / "new" / "er").mkdir(parents=True)
        await settle(watch)
        assert noticed(watch, lambda: (tmp_path / "new" / "er" / "f").touch())
        assert (oracle.listed, oracle.asked) == (0, [])


@pytest.mark.slow
async def test_a_deleted_root_stops_the_watch_until_it_is_there_and_asked_for(
    service, repository, oracle
) -> None:
    before = count_kernel_watches()
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        await no_more_batches(watch)
        shutil.rmtree(repository)
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.NONE)
        assert not watch.is_certain
        assert "No such file" in watch.coverage.reason
        assert count_kernel_watches() == before
        assert (await next_batch(watch)).unknown
        watch.drain_nowait()
        assert watch.coverage.backend is WatchBackend.NONE
        make_repository(repository)
        await settle(watch)
        assert watch.coverage.reason == ""
        assert noticed(watch, lambda: (repository / "src" / "a.txt").write_text("new"))


async def test_a_root_that_is_replaced_is_noticed_by_the_next_drain(
    service, repository, oracle, tmp_path
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        repository.rename(tmp_path / "old")
        shutil.copytree(tmp_path / "old", repository)
        watch.drain_nowait()
        assert not watch.is_certain
        await settle(watch)
        assert noticed(watch, lambda: (repository / "src" / "a.txt").write_text("new"))
        assert not noticed(watch, lambda: (tmp_path / "old/src/a.txt").write_text("new"))


async def test_a_parent_that_is_replaced_is_noticed_by_the_next_drain(
    service, tmp_path, oracle
) -> None:
    """The kernel says nothing about a root whose parent is renamed."""
    repository = make_repository(tmp_path / "parent" / "repository")
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        marks = watch.marks
        (tmp_path / "parent").rename(tmp_path / "elsewhere")
        shutil.copytree(tmp_path / "elsewhere", tmp_path / "parent")
        watch.drain_nowait()
        assert not watch.is_certain
        await settle(watch)
        assert watch.marks > marks
        assert noticed(watch, lambda: (repository / "src" / "a.txt").write_text("new"))


async def test_a_worktree_that_is_deregistered_stops(service, repository, tmp_path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "one"))
    async with service.open_watch(target_of(tmp_path / "one"), GitOracle()) as watch:
        await settle(watch)
        git(repository, "worktree", "remove", "--force", str(tmp_path / "one"))
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.NONE)


@pytest.mark.slow
async def test_after_an_overflow_everything_is_unknown_and_then_watched(
    service, repository, oracle
) -> None:
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        await no_more_batches(watch)
        marks = watch.marks
        for number in range(9000):  # nobody reads meanwhile: this task does not yield
            (repository / f"f{number % 10}").touch()
            os.truncate(repository / f"f{number % 10}", 0)
        (repository / "lost" / "deep").mkdir(parents=True)
        watch.drain_nowait()
        assert service.statistics().overflows == 1
        assert not watch.is_certain
        assert (await next_batch(watch)).unknown
        await settle(watch)
        assert watch.marks > marks
        assert noticed(watch, lambda: (repository / "lost" / "deep" / "f").touch())


async def test_files_outside_that_rules_depend_on_are_looked_at(
    start_service, repository, oracle, tmp_path
) -> None:
    rules = tmp_path / "excludes"
    service = await start_service(rule_files=(rules,))
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        rules.write_text("x")
        watch.drain_nowait()
        assert not watch.is_certain
        await settle(watch)
        assert oracle.listed == 2


async def test_a_failing_start_is_tried_again_until_it_works(
    start_service, repository, oracle, caplog
) -> None:
    service = await start_service(first_retry_seconds=0.001, longest_retry_seconds=0.002)
    oracle.failures = [GitCommandError("git failed"), OSError(errno.EIO, "disk"), OSError("odd")]
    with caplog.at_level(logging.INFO, "bbhost.watch"):
        async with service.open_watch(target_of(repository), oracle) as watch:
            await settle(watch)
            assert watch.coverage.reason == ""
            assert noticed(watch, lambda: (repository / "src" / "b").touch())
    (line,) = [record.getMessage() for record in caplog.records]
    assert "git failed; attempt 2 of 60 in" in line


@pytest.mark.slow
async def test_sixty_failures_in_a_row_end_it_until_something_asks(
    start_service, repository, oracle, caplog
) -> None:
    before = count_kernel_watches()
    service = await start_service(first_retry_seconds=0.0001, longest_retry_seconds=0.0002)
    oracle.failures = [GitCommandError(f"failure {number}") for number in range(60)]
    with caplog.at_level(logging.INFO, "bbhost.watch"):
        async with service.open_watch(target_of(repository), oracle) as watch:
            with trio.fail_after(10):
                await watch.wait_backend(WatchBackend.NONE)
            assert watch.coverage.reason == "given up after 60 failed attempts: failure 59"
            assert oracle.failures == []
            assert count_kernel_watches() == before
            assert "starts again when something asks" in caplog.records[-1].getMessage()
            await settle(watch)
            assert watch.coverage.backend is WatchBackend.INOTIFY


async def test_a_failure_later_on_keeps_what_is_watched(start_service, repository, oracle) -> None:
    service = await start_service(first_retry_seconds=0.001)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await settle(watch)
        oracle.failures = [GitCommandError("git failed")]
        (repository / "new").mkdir()
        watch.drain_nowait()
        assert noticed(watch, lambda: (repository / "src" / "b").touch())
        await settle(watch)
        assert noticed(watch, lambda: (repository / "new" / "b").touch())


async def test_no_repository_is_not_tried_again(service, repository, oracle) -> None:
    oracle.failures = [NotGitRepoError("no git work tree")]
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.NONE)
        assert watch.coverage.reason == "no git work tree"


@pytest.mark.slow
async def test_what_exceeds_the_budget_polls_and_comes_back_when_room_appears(
    start_service, repository, tmp_path
) -> None:
    before = count_kernel_watches()
    other = make_repository(tmp_path / "other")
    for number in range(40):
        (repository / f"d{number}").mkdir()
        (other / f"d{number}").mkdir()
    service = await start_service(budget_watches=80, poll_seconds=0.01, poll_share=1.0)
    async with service.open_watch(target_of(repository), GitOracle()) as first:
        await settle(first)
        async with service.open_watch(target_of(other), GitOracle()) as second:
            with trio.fail_after(10):
                await second.wait_backend(WatchBackend.POLLING)
            assert "budget of 80" in second.coverage.reason
            assert not second.is_certain
            assert count_kernel_watches() - before == service.statistics().kernel_watches <= 80
            assert first.is_certain
            await no_more_batches(second)
            (other / "d7" / "f").write_text("x")
            assert (await next_batch(second)).workspace
        assert service.statistics().kernel_watches <= 80
    async with service.open_watch(target_of(other), GitOracle()) as second:
        await settle(second)
        async with service.open_watch(target_of(repository), GitOracle()) as first:
            with trio.fail_after(10):
                await first.wait_backend(WatchBackend.POLLING)
            await no_more_batches(first)
    assert count_kernel_watches() == before


@pytest.mark.slow
async def test_room_lets_the_waiting_ones_come_back(start_service, repository, tmp_path) -> None:
    other = make_repository(tmp_path / "other")
    for number in range(40):
        (repository / f"d{number}").mkdir()
        (other / f"d{number}").mkdir()
    service = await start_service(budget_watches=80, poll_seconds=0.01, poll_share=1.0)
    opened, close = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:

        async def hold_the_room() -> None:
            async with service.open_watch(target_of(repository), GitOracle()) as first:
                await settle(first)
                opened.set()
                await close.wait()

        nursery.start_soon(hold_the_room)
        await opened.wait()
        async with service.open_watch(target_of(other), GitOracle()) as second:
            with trio.fail_after(10):
                await second.wait_backend(WatchBackend.POLLING)
            await next_batch(second)
            close.set()
            with trio.fail_after(10):
                await second.wait_backend(WatchBackend.INOTIFY)
            await settle(second)
            assert second.coverage.reason == ""
            assert noticed(second, lambda: (other / "d3" / "f").touch())


async def test_the_kernels_own_limit_makes_it_poll(
    start_service, repository, oracle, monkeypatch
) -> None:
    before = count_kernel_watches()
    add = Kernel.add

    def add_some(self, path: str) -> int:
        if path.endswith("/src"):
            raise NoRoomError("the kernel has no inotify watch left")
        return add(self, path)

    monkeypatch.setattr(Kernel, "add", add_some)
    service = await start_service(poll_seconds=0.01, poll_share=1.0, recheck_seconds=0.05)
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.POLLING)
        assert "no inotify watch left" in watch.coverage.reason
        assert count_kernel_watches() == before
        monkeypatch.undo()
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.INOTIFY)
        await settle(watch)


@pytest.mark.slow
async def test_a_file_system_that_stays_silent_is_polled(
    start_service, repository, oracle, monkeypatch
) -> None:
    monkeypatch.setattr("bbhost.watch.scanning.silent_file_system", lambda _path: "NFS")
    service = await start_service(poll_seconds=0.01, poll_share=1.0, recheck_seconds=0.0)
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.POLLING)
        assert "NFS does not tell of all changes" in watch.coverage.reason
        assert service.statistics().kernel_watches == 0
        await no_more_batches(watch)
        (repository / "src" / "a.txt").write_text("other")
        assert (await next_batch(watch)).workspace


async def test_a_watch_that_was_closed_is_not_polled(
    start_service, repository, oracle, monkeypatch
) -> None:
    """The thread that looks whether the file system tells of changes comes back too late."""
    looking, go_on = threading.Event(), threading.Event()

    def look(_path: str) -> str:
        looking.set()
        go_on.wait(10)
        return "NFS"

    def go_on_a_bit_later() -> None:
        looking.wait(10)
        time.sleep(0.1)
        go_on.set()

    monkeypatch.setattr("bbhost.watch.scanning.silent_file_system", look)
    service = await start_service(poll_seconds=0.01, poll_share=1.0)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, go_on_a_bit_later)
            async with service.open_watch(target_of(repository), oracle):
                await trio.to_thread.run_sync(looking.wait)
        await trio.sleep(0.1)
    assert service.statistics().polls == 0


@pytest.mark.slow
async def test_a_polled_root_that_goes_away_is_not_polled_for_ever(
    start_service, repository, oracle
) -> None:
    service = await start_service("polling", poll_seconds=0.01, poll_share=1.0)
    async with service.open_watch(target_of(repository), oracle) as watch:
        assert watch.coverage.reason == "configured"
        await next_batch(watch)
        shutil.rmtree(repository)
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.NONE)
        polls = service.statistics().polls
        await no_more_batches(watch)
        watch.drain_nowait()
        assert watch.backend is WatchBackend.NONE
        assert service.statistics().polls == polls
        make_repository(repository)
        watch.drain_nowait()
        assert watch.backend is WatchBackend.POLLING
        assert (await next_batch(watch)).unknown


async def test_a_large_tree_is_polled_in_part_and_says_so(
    start_service, repository, oracle
) -> None:
    for number in range(20):
        (repository / f"d{number}").mkdir()
    service = await start_service("polling", poll_entries=10)
    async with service.open_watch(target_of(repository), oracle) as watch:
        await next_batch(watch)
        assert watch.coverage.reason == "configured; too large, polled in part"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(errno.EMFILE, "Too many open files"), "Too many open files"), (None, "NFS")],
)
async def test_what_watchfiles_cannot_keep_is_polled(
    start_service, repository, oracle, monkeypatch, error, reason
) -> None:
    def refuse(*_args) -> None:
        raise error

    service = await start_service("watchfiles")
    if error is not None:
        monkeypatch.setattr("bbhost.watch.notifier.RustNotify", refuse)
    else:
        monkeypatch.setattr("bbhost.watch.notifier.silent_file_system", lambda _path: "NFS")
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.POLLING)
        assert reason in watch.coverage.reason


@pytest.mark.slow
async def test_watchfiles_gives_up_after_sixty_failures_until_something_asks(
    start_service, repository, oracle
) -> None:
    service = await start_service(
        "watchfiles", first_retry_seconds=0.0001, longest_retry_seconds=0.0002
    )
    oracle.failures = [GitCommandError(f"failure {number}") for number in range(60)]
    async with service.open_watch(target_of(repository), oracle) as watch:
        with trio.fail_after(30):
            assert (await watch.wait_changes()).unknown
        assert watch.coverage.reason == "given up after 60 failed attempts: failure 59"
        watch.drain_nowait()
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.WATCHFILES)


async def test_without_an_inotify_instance_watches_poll_until_one_can_be_had(
    start_service, repository, oracle, monkeypatch
) -> None:
    def refuse(_self) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Kernel, "__init__", refuse)
    service = await start_service(poll_seconds=0.01, poll_share=1.0, recheck_seconds=0.05)
    async with service.open_watch(target_of(repository), oracle) as watch:
        assert watch.coverage.backend is WatchBackend.POLLING
        assert service.statistics().instances == 0
        assert (await next_batch(watch)).unknown
        monkeypatch.undo()
        with trio.fail_after(10):
            await watch.wait_backend(WatchBackend.INOTIFY)
        await settle(watch)
        assert service.statistics().instances == 1


def test_file_system_names_cover_the_common_network_ones() -> None:
    assert {"NFS", "CIFS", "9p", "FUSE"} <= set(places._SILENT_FILE_SYSTEMS.values())


@pytest.mark.parametrize("backend", ["inotify", "watchfiles", "polling"])
async def test_a_service_that_ends_before_its_watches_is_survived(
    backend, repository, oracle
) -> None:
    service = make_watch_service(backend)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        stack = AsyncExitStack()
        watch = await stack.enter_async_context(service.open_watch(target_of(repository), oracle))
        await next_batch(watch)
        nursery.cancel_scope.cancel()
    watch.drain_nowait()
    assert not watch.is_certain
    assert watch.coverage.reason == "the watch service has ended"
    await stack.aclose()
    with pytest.raises(RuntimeError):
        async with service.open_watch(target_of(repository), oracle):
            pass
