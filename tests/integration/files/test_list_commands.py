"""host.list_files and host.list_paths: walks, bounds and ranking."""

import os
import threading

import pytest
import trio

from bbhost.contract.commands import HostListFiles, HostListPaths
from bbhost.errors import BbhostError
from bbhost.workspace.files import walking
from bbhost.workspace.files.ranking import best_matches, match_positions
from bbhost.workspace.files.service import HostFiles
from bbhost.workspace.files.walking import FoundPath, WalkBudget, walk
from tests.integration.files.conftest import World, open_descriptors


@pytest.fixture
def tree(world: World) -> World:
    for path in ("README.md", "src/a.txt", "src/deep/b.txt", "zeta"):
        world.write(path)
    for path in (".hidden", ".git/config", "node_modules/x/index.js", "src/node_modules/y"):
        world.write(path)
    (world.root / "link").symlink_to("src")
    (world.root / "link.txt").symlink_to("README.md")
    (world.root / "empty").mkdir()
    os.mkfifo(world.root / "fifo")
    (world.root / os.fsdecode(b"latin-\xe4")).write_text("")
    return world


async def test_files_are_listed_in_order(files: HostFiles, tree: World) -> None:
    found = await files.list_files(HostListFiles(str(tree.root), 100))
    assert [(file.path, file.name) for file in found.files] == [
        ("README.md", "README.md"),
        ("src/a.txt", "a.txt"),
        ("src/deep/b.txt", "b.txt"),
        ("zeta", "zeta"),
    ]
    assert not found.truncated


async def test_a_directory_precedes_its_children(files: HostFiles, tree: World) -> None:
    both = HostListPaths(str(tree.root), 100, include_files=True, include_directories=True)
    found = await files.list_paths(both)
    assert [(path.kind, path.path) for path in found.paths] == [
        ("file", "README.md"),
        ("directory", "empty"),
        ("directory", "src"),
        ("file", "src/a.txt"),
        ("directory", "src/deep"),
        ("file", "src/deep/b.txt"),
        ("file", "zeta"),
    ]
    assert all((path.score, path.positions) == (0, ()) for path in found.paths)
    only = HostListPaths(str(tree.root), 100, include_files=False, include_directories=True)
    assert [path.path for path in (await files.list_paths(only)).paths] == [
        "empty",
        "src",
        "src/deep",
    ]


async def test_more_than_the_limit_is_truncated(files: HostFiles, tree: World) -> None:
    exact = await files.list_files(HostListFiles(str(tree.root), 4))
    assert (len(exact.files), exact.truncated) == (4, False)
    fewer = await files.list_files(HostListFiles(str(tree.root), 3))
    assert (len(fewer.files), fewer.truncated) == (3, True)
    ranked = await files.list_files(HostListFiles(str(tree.root), 1, "txt"))
    assert (len(ranked.files), ranked.truncated) == (1, True)


async def test_roots_are_checked(files: HostFiles, tree: World) -> None:
    missing = await files.list_files(HostListFiles(str(tree.root / "no"), 10, "x"))
    assert (missing.files, missing.truncated) == ((), False)
    for path in ("relative", f"{tree.root}/link", f"{tree.root}/link/", f"{tree.root}/zeta"):
        with pytest.raises(BbhostError) as caught:
            await files.list_files(HostListFiles(path, 10))
        assert (path, caught.value.code) == (path, "invalid_path")


async def test_a_query_ranks_names_before_directories(files: HostFiles, world: World) -> None:
    for path in ("session/other.py", "src/session.py", "src/sessions/x.py", "s/e/s/sion.py"):
        world.write(path)
    command = HostListPaths(
        str(world.root), 10, include_files=True, include_directories=False, query=" SESSION "
    )
    found = (await files.list_paths(command)).paths
    assert found[0].path == "src/session.py"
    assert found[0].positions == tuple(range(4, 11))
    assert found[-1].path == "s/e/s/sion.py"
    assert [path.score for path in found] == sorted((path.score for path in found), reverse=True)
    assert all(0 < path.score <= 100 for path in found)


def rank(query: str, *paths: str, limit: int = 10) -> list[str]:
    found = [FoundPath(path, is_directory=False) for path in paths]
    return [ranked.found.path for ranked in best_matches(found, query, limit)[0]]


def test_only_paths_with_the_characters_in_order_match() -> None:
    assert rank("abc", "a-b-c", "cba", "abc", "ABC.txt", "ab") == ["abc", "ABC.txt", "a-b-c"]
    assert rank("src tst", "src/test.py", "src/main.py", "test/a") == ["src/test.py"]
    assert rank("longer", "l", "lo/nger") == ["lo/nger"]


def test_equal_matches_are_in_order_of_length_and_alphabet() -> None:
    assert rank("x", "bb/x", "aa/x", "a/x") == ["a/x", "aa/x", "bb/x"]


def test_positions_count_as_browsers_do() -> None:
    assert match_positions("src/main.py", ["main"]) == (4, 5, 6, 7)
    assert match_positions("a/😀b.txt", ["b"]) == (4,)
    assert match_positions("İx/y", ["y"]) == (3,)
    assert match_positions("main/lib.rs", ["mlr"]) == (0, 5, 9)
    assert match_positions("a/b/abc", ["a", "c"]) == (4, 6)


# --- bounds ---------------------------------------------------------------------------------


def test_each_bound_ends_the_walk_and_says_so(world: World) -> None:
    for number in range(10):
        world.write(f"a/b/c/{number}")
    root = str(world.root)

    def paths(budget: WalkBudget) -> int:
        return len(list(walk(root, budget)))

    assert paths(budget := WalkBudget()) == 13
    assert not budget.exhausted
    assert paths(budget := WalkBudget(max_entries=5)) == 5
    assert budget.exhausted
    assert paths(budget := WalkBudget(max_depth=2)) == 2
    assert budget.exhausted
    assert paths(budget := WalkBudget(max_seconds=-1)) == 0
    assert budget.exhausted


def test_a_walk_left_early_closes_its_directories(world: World) -> None:
    world.write("a/b/c/d")
    before = open_descriptors()
    paths = walk(str(world.root), WalkBudget())
    for _ in range(3):
        next(paths)
    paths.close()
    assert open_descriptors() == before


def test_a_directory_swapped_for_a_link_is_not_walked(world: World) -> None:
    world.write("dir/file")
    paths = walk(str(world.root), WalkBudget())
    assert next(paths).path == "dir"
    (world.root / "dir").rename(world.root / "old")
    (world.root / "dir").symlink_to(world.outside)
    assert list(paths) == []


@pytest.mark.slow
async def test_a_cancelled_walk_stops(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread notices the cancellation at its next check, not at the end of the tree."""
    for number in range(walking._CHECK_EVERY + 1):
        world.write(f"{number:04d}")
    started = trio.Event()
    token = trio.lowlevel.current_trio_token()
    resume = threading.Event()
    scandir = os.scandir

    def waiting_scandir(path: int) -> object:
        token.run_sync_soon(started.set)
        resume.wait(10)
        return scandir(path)

    monkeypatch.setattr(walking.os, "scandir", waiting_scandir)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(files.list_files, HostListFiles(str(world.root), 10, "zz"))
            await started.wait()
            nursery.cancel_scope.cancel()
            resume.set()
    assert files._walks.borrowed_tokens == 0
