"""Git directories: what is told to whom, with real worktrees of one repository."""

from pathlib import Path

import pytest

from bbhost.watch.kernel_view import count_kernel_watches, kernel_watches
from tests.integration.watch.git_oracle import GitOracle, git, target_of
from tests.integration.watch.helpers import noticed, settle


@pytest.fixture
def worktrees(repository, tmp_path):
    """Two linked worktrees."""
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        git(repository, "worktree", "add", "-q", "-b", path.name, str(path))
    return paths


@pytest.fixture
async def pair(service, worktrees):
    """Their watches, settled, and the first worktree's path."""
    first, second = worktrees
    async with (
        service.open_watch(target_of(first), GitOracle()) as one,
        service.open_watch(target_of(second), GitOracle()) as two,
    ):
        await settle(one)
        await settle(two)
        yield first, one, two


def counts(watch):
    watch.drain_nowait()
    return watch.workspace_marks, watch.refs_marks


def changes(watch, before):
    """Whether the workspace and the refs were touched since."""
    now = counts(watch)
    return now[0] > before[0], now[1] > before[1]


async def test_the_common_dir_is_watched_once_for_all(service, pair) -> None:
    paths = service.watched_directories().values()
    assert len([path for path in paths if path.endswith("refs/heads")]) == 1


@pytest.mark.parametrize(
    ("command", "own", "sibling"),
    [
        (["rm", "-q", "src/a.txt"], (True, False), (False, False)),
        # HEAD names its branch, and the branch is a ref: only that changes.
        (["commit", "-q", "--allow-empty", "-m", "x"], (False, True), (False, True)),
        (["branch", "feature/deep/er"], (False, True), (False, True)),
        (["update-ref", "refs/remotes/origin/x", "HEAD"], (False, True), (False, True)),
        (["tag", "v1"], (False, True), (False, True)),
        (["checkout", "-q", "--detach"], (True, False), (False, False)),
        (["symbolic-ref", "refs/remotes/o/HEAD", "refs/heads/x"], (False, True), (False, True)),
        (["pack-refs", "--all"], (False, True), (False, True)),
        (["update-index", "--chmod=+x", "src/a.txt"], (True, False), (False, False)),
        (["config", "branch.one.merge", "refs/heads/x"], (False, True), (False, True)),
        (["update-ref", "refs/bbhost/rescue/x/1", "HEAD"], (False, False), (False, False)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_each_git_command_touches_what_it_changes(pair, command, own, sibling) -> None:
    first, one, two = pair
    before = counts(one), counts(two)
    git(first, *command)
    assert changes(one, before[0]) == own
    assert changes(two, before[1]) == sibling


async def test_refs_in_directories_made_by_git_are_never_missed(pair) -> None:
    first, one, two = pair
    git(first, "branch", "a/b/c/d")
    await settle(one)
    await settle(two)
    assert noticed(two, lambda: git(first, "update-ref", "refs/heads/a/b/c/e", "HEAD"))
    git(first, "branch", "-D", "a/b/c/d", "a/b/c/e")
    await settle(one)
    assert noticed(two, lambda: git(first, "branch", "a/b/c/d"))


async def test_a_branch_setting_of_one_worktree_asks_git_nothing(service, worktrees) -> None:
    """Or N worktrees would cost N questions each time a branch is pushed."""
    oracle = GitOracle()
    async with service.open_watch(target_of(worktrees[0]), oracle) as watch:
        await settle(watch)
        git(worktrees[1], "config", "branch.two.merge", "refs/heads/x")
        await settle(watch)
        assert oracle.listed == 1
        git(worktrees[1], "config", "core.excludesFile", "/nowhere")
        await settle(watch)
        assert oracle.listed == 2


async def test_a_merge_in_progress_is_workspace(pair) -> None:
    first, one, _two = pair
    git_dir = git(first, "rev-parse", "--absolute-git-dir").strip()
    before = counts(one)
    Path(git_dir, "MERGE_HEAD").write_text("x")
    assert changes(one, before) == (True, False)


async def test_the_last_watch_of_a_repository_lets_go_of_the_common_dir(
    service, worktrees
) -> None:
    before = count_kernel_watches()
    async with service.open_watch(target_of(worktrees[0]), GitOracle()) as one:
        await settle(one)
        alone = count_kernel_watches() - before
        async with service.open_watch(target_of(worktrees[1]), GitOracle()) as two:
            await settle(two)
            assert count_kernel_watches() - before == alone + 3, "root, src and git dir"
        assert count_kernel_watches() - before == alone
    assert count_kernel_watches() == before


async def test_the_kernel_and_the_table_agree_on_every_watch(service, pair) -> None:
    (instance,) = kernel_watches().values()
    known = service.watched_directories()
    assert {watch.wd for watch in instance} == set(known)
    for watch in instance:
        found = Path(known[watch.wd]).stat()
        assert (watch.inode, watch.device) == (found.st_ino, found.st_dev)
