"""Repositories inside the workspace: their files are not watched, a submodule's HEAD is."""

import shutil

import pytest

from bbhost.watch import WatchTarget
from bbhost.watch.kernel_view import count_kernel_watches
from tests.integration.watch.git_oracle import GitOracle, git, make_repository, target_of
from tests.integration.watch.helpers import noticed, settle, watched_paths

STATUS = ["--no-optional-locks", "status", "--porcelain=v2", "-uall", "--ignore-submodules=dirty"]


@pytest.fixture
def with_submodule(repository, tmp_path):
    """The repository with a submodule ``sub`` whose HEAD is on a branch."""
    library = make_repository(tmp_path / "library")
    git(repository, "submodule", "--quiet", "add", str(library), "sub")
    git(repository, "commit", "-q", "-m", "with a submodule")
    return repository


async def test_the_files_of_a_submodule_are_not_watched(service, with_submodule, oracle) -> None:
    async with service.open_watch(target_of(with_submodule), oracle) as watch:
        await settle(watch)
        assert watched_paths(service, with_submodule) == {".", "src", "sub"}
        before = git(with_submodule, *STATUS)
        (with_submodule / "sub" / "src" / "a.txt").write_text("other")
        assert git(with_submodule, *STATUS) == before


async def test_the_head_of_a_submodule_is_noticed(service, with_submodule, oracle) -> None:
    submodule = with_submodule / "sub"
    async with service.open_watch(target_of(with_submodule), oracle) as watch:
        await settle(watch)
        assert noticed(watch, lambda: git(submodule, "commit", "-q", "--allow-empty", "-m", "x"))
        assert watch.is_certain
        assert noticed(watch, lambda: git(submodule, "checkout", "-q", "--detach"))
        assert noticed(watch, lambda: git(submodule, "checkout", "-q", "-b", "a/b/c"))
        await settle(watch)
        assert noticed(watch, lambda: git(submodule, "commit", "-q", "--allow-empty", "-m", "y"))
        assert noticed(watch, lambda: git(submodule, "pack-refs", "--all"))


@pytest.mark.slow
async def test_a_submodule_that_is_added_and_removed(service, repository, tmp_path) -> None:
    library = make_repository(tmp_path / "library")
    async with service.open_watch(target_of(repository), GitOracle()) as watch:
        await settle(watch)
        resting = count_kernel_watches()
        git(repository, "submodule", "--quiet", "add", str(library), "deep/sub")
        await settle(watch)
        submodule = repository / "deep" / "sub"
        assert watched_paths(service, repository) == {".", "src", "deep", "deep/sub"}
        assert noticed(watch, lambda: git(submodule, "commit", "-q", "--allow-empty", "-m", "x"))
        git(repository, "rm", "-q", "-f", "--cached", "deep/sub")
        await settle(watch)
        shutil.rmtree(repository / "deep")
        shutil.rmtree(repository / ".git" / "modules")
        await settle(watch)
        assert count_kernel_watches() == resting
    assert count_kernel_watches() == 0


@pytest.mark.slow
async def test_worktrees_inside_a_checkout_are_one_directory_each(service, repository) -> None:
    async with service.open_watch(target_of(repository), GitOracle()) as watch:
        await settle(watch)
        for number in range(5):
            git(repository, "worktree", "add", "-q", f".trees/{number}")
        await settle(watch)
        assert watched_paths(service, repository) == {
            *{".", "src", ".trees"},
            *(f".trees/{number}" for number in range(5)),
        }
        assert not noticed(watch, lambda: (repository / ".trees/1/src/a.txt").write_text("x"))
        git(repository, "worktree", "remove", "--force", ".trees/1")
        await settle(watch)
        assert ".trees/1" not in watched_paths(service, repository)


async def test_a_repository_that_ends_is_an_ordinary_directory(service, repository) -> None:
    nested = make_repository(repository / "nested")
    async with service.open_watch(target_of(repository), GitOracle()) as watch:
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "nested"}
        shutil.rmtree(nested / ".git")
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "nested", "nested/src"}
        assert noticed(watch, lambda: (nested / "src" / "a.txt").write_text("other"))
        git(nested, "init", "-q")
        await settle(watch)
        assert watched_paths(service, repository) == {".", "src", "nested"}


async def test_a_broken_repository_is_an_ordinary_directory(service, repository) -> None:
    (repository / "broken" / "inner").mkdir(parents=True)
    (repository / "broken" / ".git").write_text("gitdir: /nonexistent\n")
    async with service.open_watch(target_of(repository), GitOracle()) as watch:
        await settle(watch)
        assert noticed(watch, lambda: (repository / "broken" / "inner" / "f").write_text("x"))


async def test_in_a_plain_directory_a_repository_is_nothing_special(service, tmp_path) -> None:
    make_repository(tmp_path / "inside")
    async with service.open_watch(WatchTarget(str(tmp_path)), GitOracle()) as watch:
        await settle(watch)
        assert noticed(watch, lambda: (tmp_path / "inside/src/a.txt").write_text("x"))


@pytest.mark.slow
async def test_a_worktree_that_is_a_submodule_elsewhere_is_never_certain(
    service, repository, tmp_path
) -> None:
    library = make_repository(tmp_path / "library")
    git(library, "worktree", "add", "-q", str(repository / "odd"))
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", "odd")
    async with service.open_watch(target_of(repository), GitOracle()) as watch:
        assert (await watch.wait_changes()).unknown
        watch.drain_nowait()
        assert not watch.is_certain
