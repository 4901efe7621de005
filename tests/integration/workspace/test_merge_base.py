"""HEAD compared with a branch, checked against the commands the answer is defined by."""

from pathlib import Path

import pytest

from bbhost.domain.status import FileStatus, MergeBaseStatus, WorkingTreeState
from bbhost.errors import GitCommandError
from bbhost.workspace import merge_base as module
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git
from tests.integration.workspace.test_status import Reader


def write(repo: Path, name: str, text: str, message: str | None = None) -> None:
    (repo / name).write_text(text)
    if message is not None:
        commit_all(repo, message)


async def compare(repo: Path, branch: str = "main") -> MergeBaseStatus:
    found = (await Reader(repo).read(branch)).status.merge_base
    assert found is not None
    return found


def defined(repo: Path, branch: str) -> tuple[int, int]:
    """Ahead and behind as the contract defines them."""
    counted = git_text(
        repo, "rev-list", "--cherry-pick", "--left-right", "--count", f"{branch}...HEAD"
    )
    behind, ahead = counted.split()
    return int(ahead), int(behind)


@pytest.fixture
def feature(repo: Path) -> Path:
    """``feature`` two commits ahead of ``main``, which stayed where it was."""
    run_git(repo, "checkout", "-qb", "feature")
    write(repo, "a.txt", "a\nb\nc\nd\n", "one more line")
    write(repo, "bin", "\0")
    run_git(repo, "mv", "src/b.txt", "moved.txt")
    commit_all(repo, "ünicode – subject")
    return repo


async def test_ahead_only(feature: Path):
    """Commits oldest first with author and time, files and lines from the merge base."""
    found = await compare(feature)
    assert (found.ahead_count, found.behind_count) == defined(feature, "main") == (2, 0)
    assert found.base_ref == git_text(feature, "rev-parse", "main")
    assert found.has_committed_unmerged_changes
    assert [commit.subject for commit in found.commits] == ["one more line", "ünicode – subject"]
    last = found.commits[-1]
    assert last.sha == git_text(feature, "rev-parse", "HEAD")
    assert last.short_sha == git_text(feature, "rev-parse", "--short", "HEAD")
    assert last.author_name == "Dev"
    assert last.authored_at == int(git_text(feature, "log", "-1", "--format=%at")) * 1000
    assert {(file.path, file.status, file.insertions, file.deletions) for file in found.files} == {
        ("a.txt", FileStatus.MODIFIED, 1, 0),
        ("bin", FileStatus.ADDED, None, None),
        ("moved.txt", FileStatus.RENAMED, 0, 0),
    }
    assert (found.insertions, found.deletions) == (1, 0)


async def test_states_with_unmerged_commits(feature: Path):
    """Clean and dirty work trees ahead of the branch have states of their own."""
    reader = Reader(feature)
    tree = (await reader.read("main")).status.working_tree
    assert tree.state is WorkingTreeState.COMMITTED_UNMERGED
    (feature / "loose").write_text("")
    tree = (await reader.read("main")).status.working_tree
    assert tree.state is WorkingTreeState.DIRTY_AND_COMMITTED_UNMERGED
    assert (await reader.read()).status.working_tree.state is WorkingTreeState.UNTRACKED


async def test_same_commit_and_behind_only(feature: Path):
    """Nothing is unmerged, so no file and no line counts."""
    run_git(feature, "checkout", "-q", "main")
    found = await compare(feature, "feature")
    assert (found.ahead_count, found.behind_count, found.files) == (0, 2, ())
    assert found.base_ref == git_text(feature, "rev-parse", "main")
    same = await compare(feature)
    assert (same.ahead_count, same.behind_count, same.has_committed_unmerged_changes) == (
        0,
        0,
        False,
    )
    assert same.base_ref == git_text(feature, "rev-parse", "main")


async def test_cherry_picked_commits_count_on_neither_side(feature: Path):
    """A commit whose patch the other side has too is left out of both counts."""
    run_git(feature, "checkout", "-q", "main")
    write(feature, "other", "x\n", "only main")
    run_git(feature, "cherry-pick", "feature~1")
    run_git(feature, "checkout", "-q", "feature")
    found = await compare(feature)
    assert (found.ahead_count, found.behind_count) == defined(feature, "main") == (1, 1)
    assert [commit.subject for commit in found.commits] == ["ünicode – subject"]


@pytest.mark.slow
async def test_squash_merged_branch_counts_as_merged(feature: Path):
    """One commit of the base does what the whole branch does, elsewhere in the file and re-indented."""
    run_git(feature, "checkout", "-q", "main")
    write(feature, "other", "x\n", "before")
    run_git(feature, "merge", "-q", "--squash", "feature")
    commit_all(feature, "squashed")
    write(feature, "another", "y\n", "after")
    run_git(feature, "checkout", "-q", "feature")
    assert defined(feature, "main") == (2, 3)
    found = await compare(feature)
    assert (found.ahead_count, found.behind_count) == (0, 3)
    assert (found.commits, found.files, found.insertions) == ((), (), 0)
    assert not found.has_committed_unmerged_changes
    write(feature, "a.txt", "more\n", "after the merge")
    assert (await compare(feature)).ahead_count == 3


async def test_same_files_with_another_change_is_not_a_squash(feature: Path):
    """Touching the same files is not enough."""
    run_git(feature, "checkout", "-q", "main")
    run_git(feature, "merge", "-q", "--squash", "feature")
    write(feature, "a.txt", "a\nb\nc\nsomething else\n")
    commit_all(feature, "nearly")
    run_git(feature, "checkout", "-q", "feature")
    assert (await compare(feature)).ahead_count == 2


async def test_binary_change_of_the_same_file_is_not_a_squash(repo: Path):
    """Two different contents of a binary file are two changes."""
    (repo / "bin").write_bytes(b"\0")
    commit_all(repo, "binary")
    run_git(repo, "checkout", "-qb", "feature")
    (repo / "bin").write_bytes(b"\0\1")
    commit_all(repo, "mine")
    run_git(repo, "checkout", "-q", "main")
    (repo / "bin").write_bytes(b"\0\2")
    commit_all(repo, "theirs")
    run_git(repo, "checkout", "-q", "feature")
    assert (await compare(repo)).ahead_count == 1


async def test_commits_that_undo_each_other_are_nothing_unmerged(feature: Path):
    """An empty diff counts as merged once the branches have diverged."""
    run_git(feature, "checkout", "-qb", "idle", "main")
    write(feature, "x", "x\n", "do")
    (feature / "x").unlink()
    commit_all(feature, "undo")
    assert (await compare(feature)).ahead_count == 2
    run_git(feature, "checkout", "-q", "main")
    write(feature, "y", "y\n", "goes on")
    run_git(feature, "checkout", "-q", "idle")
    assert (await compare(feature)).ahead_count == 0


@pytest.mark.slow
async def test_merge_base_among_several_boundary_commits(repo: Path):
    """Where the branch also has older parents of the base, git is asked for the merge base."""
    for number in range(3):
        write(repo, f"m{number}", "m\n", f"main {number}")
    run_git(repo, "checkout", "-qb", "old", "HEAD~3")
    write(repo, "o", "o\n", "old work")
    run_git(repo, "checkout", "-qb", "feature", "main")
    write(repo, "f", "f\n", "feature work")
    run_git(repo, "merge", "-q", "--no-edit", "old")
    run_git(repo, "checkout", "-q", "main")
    write(repo, "m9", "m\n", "main goes on")
    run_git(repo, "checkout", "-q", "feature")
    found = await compare(repo)
    assert found.base_ref == git_text(repo, "merge-base", "main", "HEAD")
    assert (found.ahead_count, found.behind_count) == defined(repo, "main")


async def test_nothing_in_common(repo: Path):
    """No merge base: counts, commits, but no files."""
    run_git(repo, "checkout", "-q", "--orphan", "other")
    write(repo, "a.txt", "unrelated\n", "unrelated")
    found = await compare(repo)
    assert (found.base_ref, found.ahead_count, found.behind_count) == (None, 1, 1)
    assert found.files == ()


@pytest.mark.slow
async def test_branch_names(feature: Path, tmp_path: Path):
    """Local before remote before anything else that names a commit; what does not exist is an error."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", str(feature), str(clone))
    assert (await compare(clone, "origin/main")).ahead_count == 2
    run_git(clone, "tag", "v1", "origin/main")
    run_git(clone, "tag", "-a", "-m", "x", "v2", "origin/main")
    assert (await compare(clone, "v1")).ahead_count == 2
    assert (await compare(clone, "v2")).ahead_count == 2
    with pytest.raises(GitCommandError):
        await compare(clone, "nope")


@pytest.mark.slow
async def test_cost(feature: Path):
    """Two processes for a pair of commits, none when it is asked again, three for a squash."""
    reader = Reader(feature)
    await reader.settle()
    assert await reader.cost("main") == {"status": 1, "log": 1, "diff": 1}
    assert await reader.cost("main") == {"status": 1}
    (feature / "a.txt").write_text("dirty\n")
    assert await reader.cost("main") == {"status": 1, "diff": 1}
    run_git(feature, "checkout", "-q", "--force", "main")
    write(feature, "other", "x\n", "before")
    run_git(feature, "merge", "-q", "--squash", "feature")
    commit_all(feature, "squashed")
    run_git(feature, "checkout", "-q", "feature")
    reader.refs.invalidate(reader.repository.common_dir)
    assert await reader.cost("main") == {
        "status": 1,
        "for-each-ref": 1,
        "log": 1,
        "diff": 1,
        "diff-tree": 1,
    }
    assert await reader.cost("main") == {"status": 1}


@pytest.mark.slow
async def test_long_history_is_asked_for_side_by_side(
    feature: Path, monkeypatch: pytest.MonkeyPatch
):
    """Beyond the limit of one log the answer is the same, with more processes."""
    run_git(feature, "checkout", "-q", "main")
    write(feature, "other", "x\n", "before")
    run_git(feature, "checkout", "-q", "feature")
    expected = await compare(feature)
    monkeypatch.setattr(module, "LOG_LIMIT", 100)
    assert await compare(feature) == expected
    monkeypatch.setattr(module, "LOG_LIMIT", 600)
    run_git(feature, "checkout", "-q", "main")
    run_git(feature, "merge", "-q", "--squash", "feature")
    commit_all(feature, "squashed")
    run_git(feature, "checkout", "-q", "feature")
    assert (await compare(feature)).ahead_count == 0


async def test_deepened_shallow_clone_is_compared_anew(feature: Path, tmp_path: Path):
    """The same two commits have more in common once the history between them is there."""
    clone = tmp_path / "clone"
    run_git(
        tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", f"file://{feature}", str(clone)
    )
    run_git(clone, "checkout", "-q", "feature")
    reader = Reader(clone)
    found = (await reader.read("origin/main")).status.merge_base
    assert found is not None
    assert found.base_ref is None
    run_git(clone, "fetch", "-q", "--unshallow")
    found = (await reader.read("origin/main")).status.merge_base
    assert found is not None
    assert (found.base_ref, found.ahead_count) == (git_text(feature, "rev-parse", "main"), 2)


async def test_linked_worktrees_share_what_is_known(tmp_path: Path):
    """Two work trees at the same commits cost one comparison."""
    repo = make_repository(tmp_path / "one")
    run_git(repo, "worktree", "add", "-q", "-b", "x", str(tmp_path / "x"))
    write(tmp_path / "x", "new", "x\n", "new")
    run_git(repo, "worktree", "add", "-q", "--detach", str(tmp_path / "y"), "x")
    reader, other = Reader(tmp_path / "x"), Reader(tmp_path / "y")
    other.git, other.refs = reader.git, reader.refs
    await reader.settle()
    await reader.read("main")
    assert await other.cost("main") == {"status": 1}
