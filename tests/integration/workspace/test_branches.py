"""``host.list_branches`` on real repositories."""

from pathlib import Path

import pytest

from bbhost.contract.results import (
    Detached,
    NoOperation,
    OnBranch,
    OperationInProgress,
    ProjectSourceCheckout,
    SelectedBranch,
    Unborn,
    UnknownCheckout,
)
from bbhost.errors import InvalidPathError
from bbhost.workspace.branches import read_branches
from bbhost.workspace.git import Git
from bbhost.workspace.refs import RefsCache
from tests.integration.workspace.scratch import commit_all, git_text, run_git


async def branches(
    path: Path | str, query: str | None = None, selected: str | None = None, limit: int = 100
) -> ProjectSourceCheckout:
    git = Git()
    return await read_branches(
        git, RefsCache(git), str(path), query=query, selected_branch=selected, limit=limit
    )


async def test_default_branch_first_then_by_name(repo: Path):
    """Local branches alphabetical after the default branch; HEAD as branch and commit."""
    for name in ("zebra", "alpha", "feature/One"):
        run_git(repo, "branch", name)
    found = await branches(repo)
    assert found.branches == ("main", "alpha", "feature/One", "zebra")
    assert found.checkout == OnBranch("main", git_text(repo, "rev-parse", "HEAD"))
    assert (found.default_branch, found.has_uncommitted_changes) == ("main", False)
    assert found.operation == NoOperation()
    assert found.selected_branch is None
    assert not found.branches_truncated


@pytest.mark.slow
async def test_query_limit_and_selected_branch(repo: Path, tmp_path: Path):
    """Each list has its own limit; the selected branch is looked up in the unfiltered lists."""
    for number in range(4):
        run_git(repo, "branch", f"Topic/{number}")
    run_git(tmp_path, "clone", "-q", str(repo), "clone")
    clone = tmp_path / "clone"
    found = await branches(clone, " topic/ ", "main", limit=3)
    assert found.branches == ()
    assert not found.branches_truncated
    assert found.remote_branches == ("origin/Topic/0", "origin/Topic/1", "origin/Topic/2")
    assert found.remote_branches_truncated
    assert found.selected_branch == SelectedBranch("main", "local")
    found = await branches(clone, selected="origin/Topic/3", limit=1)
    assert found.selected_branch == SelectedBranch("origin/Topic/3", "remote")
    assert "origin/HEAD" not in (await branches(clone)).remote_branches
    assert (await branches(clone, selected="nope")).selected_branch == SelectedBranch(
        "nope", "missing"
    )


async def test_states_of_head(repo: Path, tmp_path: Path):
    """Detached and unborn, dirty with an untracked file only."""
    run_git(repo, "checkout", "-q", "--detach")
    (repo / "new").write_text("")
    found = await branches(repo)
    assert found.checkout == Detached(git_text(repo, "rev-parse", "HEAD"))
    assert found.has_uncommitted_changes
    run_git(tmp_path, "init", "-q", "-b", "trunk", "fresh")
    found = await branches(tmp_path / "fresh")
    assert found.checkout == Unborn("trunk")
    assert (found.branches, found.default_branch) == ((), None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["merge", "rebase", "cherry-pick", "revert"])
async def test_operations_in_progress(repo: Path, kind: str):
    """An operation that stopped at a conflict is named, with and without conflicts left."""
    run_git(repo, "checkout", "-qb", "side")
    (repo / "a.txt").write_text("side\n")
    commit_all(repo, "side")
    run_git(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text("main\n")
    first = commit_all(repo, "main")
    (repo / "a.txt").write_text("main again\n")
    commit_all(repo, "main again")
    run_git(repo, kind, first if kind == "revert" else "side", check=False)
    assert (await branches(repo)).operation == OperationInProgress(kind, True)  # type: ignore[arg-type]
    run_git(repo, "add", "-A")
    assert (await branches(repo)).operation == OperationInProgress(kind, False)  # type: ignore[arg-type]


@pytest.mark.slow
async def test_not_a_repository(tmp_path: Path, repo: Path):
    """Plain, missing and bare directories give an empty answer; a relative path is refused."""
    run_git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "bare.git"):
        found = await branches(path, selected="main")
        assert isinstance(found.checkout, UnknownCheckout)
        assert (found.branches, found.remote_branches, found.default_branch) == ((), (), None)
        assert found.selected_branch == SelectedBranch("main", "missing")
    with pytest.raises(InvalidPathError):
        await branches("relative")
