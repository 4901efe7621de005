"""A branch that is there already is reset by provisioning; its commits are kept."""

import time
from pathlib import Path

import pytest

from bbhost.errors import GitCommandError
from bbhost.workspace.rescue_list import expire_rescues, list_rescues
from tests.integration.workspace.scratch import git_text, run_git
from tests.integration.workspace.world import World


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> World:
    return World(tmp_path / "data", repo)


def commit_on_branch(world: World, name: str = "bb/env_1") -> str:
    """Make a branch with a commit that nothing else leads to; return the commit."""
    source = world.source
    tree = git_text(source, "rev-parse", "main^{tree}")
    commit = git_text(source, "commit-tree", tree, "-p", "main", "-m", "precious")
    run_git(source, "branch", name, commit)
    return commit


async def test_commits_that_only_the_branch_has_are_kept(world: World) -> None:
    """Listed, dated, with the branch's name; the old tip is the parent."""
    commit = commit_on_branch(world)
    await world.provision(base_branch="main")
    assert git_text(world.target(), "rev-parse", "HEAD") == git_text(
        world.source, "rev-parse", "main"
    )
    (rescue,) = await list_rescues(world.tools.git, world.source)
    assert git_text(world.source, "rev-parse", f"{rescue.refs['branch']}^") == commit
    assert rescue.note is not None
    assert rescue.note.branch == "bb/env_1"
    assert rescue.note.path == str(world.target())
    # It has a date, so it is not forgotten at once.
    day_ago = int(time.time()) - 24 * 3600
    assert await expire_rescues(world.tools.git, world.source, older_than_s=day_ago) == []


@pytest.mark.parametrize("keeper", [("tag", "kept"), ("branch", "kept")])
async def test_commits_that_something_else_leads_to_are_not_kept_twice(
    keeper: tuple[str, str], world: World
) -> None:
    commit = commit_on_branch(world)
    run_git(world.source, *keeper, commit)
    await world.provision(base_branch="main")
    assert await list_rescues(world.tools.git, world.source) == []


async def test_a_new_branch_costs_nothing(world: World) -> None:
    await world.provision(base_branch="main")
    assert "fast-import" not in world.tools.git.statistics().processes
    assert await list_rescues(world.tools.git, world.source) == []


async def test_what_cannot_be_kept_is_not_reset(world: World) -> None:
    """Provisioning fails, and the branch stands where it stood."""
    commit = commit_on_branch(world)
    # A ref beneath which another must go cannot be made.
    run_git(world.source, "update-ref", "refs/bbhost/rescue", "main")
    with pytest.raises(GitCommandError):
        await world.provision(base_branch="main")
    assert git_text(world.source, "rev-parse", "bb/env_1") == commit
    assert not world.target().exists()
