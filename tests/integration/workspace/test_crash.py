"""Killed at any step: what follows ends as if nothing had happened."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bbhost.workspace
from bbhost.workspace.commit import CommitFacts, commit_workspace, find_finished_commit
from bbhost.workspace.merge import MergeFacts, find_published_merge, squash_merge
from bbhost.workspace.repository import Repository, discover_repository
from bbhost.workspace.rescue_list import find_rescue
from bbhost.workspace.rescue_restore import restore_rescue
from bbhost.workspace.rollback import rollback_workspace
from bbhost.workspace.temporary_worktree import sweep_temporary_worktrees
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash_emptier import empty_trash
from tests.integration.workspace.scratch import commit_all, git_text, run_git
from tests.integration.workspace.world import Snapshot, World

PROVISION = [
    "provision.before_parent",
    "provision.parent_made",
    "provision.worktree_added",
    "provision.include_listed",
    "provision.included",
    "provision.setup_ended",
    "provision.done",
]
DESTROY = [
    "rescue.scanned",
    "rescue.files_stored",
    "rescue.stored",
    "removal.before_discard",
    "trash.entry_made",
    "trash.note_written",
    "trash.moved",
    "removal.before_deregister",
    "removal.deregistered",
    "removal.parent_pruned",
]
COMMIT = ["commit.before_add", "commit.added", "commit.committed"]
MERGE = [
    "merge.marked",
    "merge.worktree_made",
    "merge.merged",
    "merge.committed",
    "merge.before_publish",
    "merge.published",
    "merge.before_cleanup",
    "merge.deregistered",
]
EMPTY = ["trash.files_deleted"]
COVERED_ELSEWHERE = {
    # Nothing follows from being killed there that another point does not show.
    "checkout.before_switch",
    "checkout.switched",
    "provision.before_personal",
    "provision.personal_made",
    "teardown.script_ended",
}

pytestmark = pytest.mark.slow


def crash(world: World, what: str, point: str) -> None:
    """Run ``what`` in a process that is killed at ``point``."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.workspace.crash_child", what, world.data, world.source],
        env={**os.environ, "BBHOST_FAULT": f"kill:{point}"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, (point, done.stderr.decode())


def repository_of(path: Path) -> Repository:
    found = discover_repository(path)
    assert found is not None
    return found


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> World:
    (repo / ".gitignore").write_text(".env\n")
    (repo / ".worktreeinclude").write_text(".env\n")
    (repo / ".env").write_text("x")
    (repo / ".bb-env-setup.sh").write_text("echo set up > ready\n")
    commit_all(repo, "set-up")
    return World(tmp_path / "data", repo)


def test_every_fault_point_is_covered() -> None:
    """A new step gets its crash test, or a reason not to have one."""
    code = Path(bbhost.workspace.__file__).parent.glob("*.py")
    points = {
        point
        for path in code
        for point in re.findall(r'fault_point\("([^"]+)"\)', path.read_text())
    }
    assert points == {*PROVISION, *DESTROY, *COMMIT, *MERGE, *EMPTY, *COVERED_ELSEWHERE}


@pytest.mark.parametrize("point", PROVISION)
async def test_killed_while_provisioning(world: World, point: str) -> None:
    """The rollback that follows leaves nothing but the branch, and a new attempt succeeds."""
    crash(world, "provision", point)
    await rollback_workspace(world.tools, world.spec(), "env_1", 1, created_workspace=True)
    assert world.leftovers() == []
    assert (await world.provision()).created
    assert (world.target() / "ready").exists()


@pytest.mark.parametrize("point", DESTROY)
async def test_killed_while_destroying(world: World, tmp_path: Path, point: str) -> None:
    """Destroying again ends it: nothing is left, and the work can be given back as it was."""
    await world.provision()
    (world.target() / "a.txt").write_text("staged")
    run_git(world.target(), "add", "a.txt")
    (world.target() / "a.txt").write_text("edited")
    (world.target() / "new").write_text("new")
    before = Snapshot.of(world.target())
    crash(world, "destroy", point)
    await world.remove()
    assert world.leftovers() == []
    rescue = await find_rescue(world.tools.git, world.source, "env_1")
    await restore_rescue(world.tools, rescue, tmp_path / "restored")
    (tmp_path / "restored/.env").write_text("x")
    assert Snapshot.of(tmp_path / "restored") == before
    await empty_trash(world.tools.trash, wall_clock_ms())
    assert world.tools.trash.entries() == []


async def test_killed_while_emptying_the_trash(world: World) -> None:
    await world.provision()
    await world.remove()
    crash(world, "empty", "trash.files_deleted")
    assert (await empty_trash(world.tools.trash, wall_clock_ms())).deleted == 1
    assert world.tools.trash.entries() == []


@pytest.mark.parametrize("point", COMMIT)
async def test_killed_while_committing(world: World, point: str) -> None:
    """Done once, and told truthfully."""
    await world.provision()
    (world.target() / "new").write_text("new")
    head = git_text(world.target(), "rev-parse", "HEAD")
    facts = CommitFacts("by the daemon", head, "bb/env_1")
    crash(world, "commit", point)
    repository = repository_of(world.target())
    done = await find_finished_commit(world.tools, repository, facts)
    assert (done is not None) == (point == "commit.committed")
    if done is None:
        done = await commit_workspace(world.tools, repository, facts.message)
    assert git_text(world.target(), "rev-parse", "HEAD") == done.sha
    assert git_text(world.target(), "rev-parse", "HEAD^") == head
    assert git_text(world.target(), "status", "--porcelain") == ""


@pytest.mark.parametrize("point", MERGE)
async def test_killed_while_merging(world: World, point: str) -> None:
    """Published once, told truthfully, and the temporary worktree is gone."""
    await world.provision()
    (world.target() / "new").write_text("new")
    commit_all(world.target(), "new")
    before = git_text(world.source, "rev-parse", "main")
    facts = MergeFacts("bb/env_1", "main", before, "by the daemon")
    crash(world, "merge", point)
    assert await sweep_temporary_worktrees(world.tools) == 1
    repository = repository_of(world.target())
    done = await find_published_merge(world.tools, repository, facts)
    published = point in {"merge.published", "merge.before_cleanup", "merge.deregistered"}
    assert (done is not None) == published
    if done is None:
        done = await squash_merge(world.tools, repository, facts)
    assert git_text(world.source, "rev-parse", "main") == done.sha
    assert git_text(world.source, "rev-parse", "main^") == before
    assert git_text(world.source, "status", "--porcelain") == ""
    assert list((world.data / "temporary-worktrees").iterdir()) == []
    assert git_text(world.source, "worktree", "list").count("\n") == 1
