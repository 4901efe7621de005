"""Leftovers go where a tombstone says so; everything else stays until it is asked for by name."""

import os
import time
from pathlib import Path

import pytest

from bbhost.daemon.assembly import Parts
from bbhost.daemon.collecting import GcItem, GcKind, GcOutcome, GcReport, GcRequest
from bbhost.daemon.leftovers import find_leftovers
from bbhost.daemon.lock import AlreadyRunningError, hold_lock
from bbhost.daemon.offline import collect_offline, rescue_desk_offline
from bbhost.errors import RescueError
from bbhost.workspace.rescue_list import list_rescues
from tests.integration.maintenance.helpers import (
    destroy,
    plant_trash,
    provision,
    retire,
)
from tests.integration.workspace.scratch import run_git

pytestmark = pytest.mark.slow


def outcome(report: GcReport, item_id: str) -> str:
    """What became of one thing."""
    (item,) = [item for item in report.items if item.id == item_id]
    return item.outcome


async def leave_behind(parts: Parts, name: str, repo: Path) -> Path:
    """A worktree of an environment that its tombstone calls destroyed, with work in it."""
    path = await provision(parts, name, repo)
    await destroy(parts, name, path)
    run_git(repo, "worktree", "add", "-q", str(path), f"bb/{name}")
    (path / "unsaved.txt").write_text("work\n")
    return path


async def test_nothing_unclear_goes(parts: Parts, repo: Path) -> None:
    """A dry run changes nothing, a real one removes only what was destroyed, and rescues its work."""
    one = await leave_behind(parts, "env_one", repo)
    live = await provision(parts, "env_live", repo)
    kept = await provision(parts, "env_kept", repo)
    await retire(parts, "env_kept")
    strange = parts.data_dir / "worktrees" / "env_strange" / "demo"
    run_git(repo, "worktree", "add", "-q", "--detach", str(strange))
    plain = parts.data_dir / "worktrees" / "plain"
    plain.mkdir()
    (plain / "file").write_text("x")
    personal = parts.data_dir / "personal-workspaces" / "env_p"
    personal.mkdir(parents=True)
    everything = [one, live, kept, strange, plain, personal]

    collector = parts.collector()
    dry = await collector.collect(GcRequest())
    assert all(path.exists() for path in everything)
    assert outcome(dry, "worktrees/env_one/demo") == GcOutcome.WOULD_REMOVE

    done = await collector.collect(GcRequest(dry_run=False))
    assert done.succeeded
    assert not one.exists()
    assert [path.exists() for path in everything[1:]] == [True] * 5
    assert outcome(done, "worktrees/env_one/demo") == GcOutcome.REMOVED
    assert outcome(done, "worktrees/env_kept/demo") == GcOutcome.KEPT
    assert outcome(done, "worktrees/env_strange/demo") == GcOutcome.UNCLEAR
    assert outcome(done, "worktrees/plain") == GcOutcome.UNCLEAR
    assert outcome(done, "personal-workspaces/env_p") == GcOutcome.UNCLEAR
    assert not any("env_live" in item.id for item in done.items)
    (rescue,) = await list_rescues(parts.git, repo)
    assert rescue.environment_id == "env_one"
    assert str(one) not in run_git(repo, "worktree", "list").decode()


async def test_the_unclear_goes_when_it_is_named(parts: Parts, repo: Path) -> None:
    """Its work is rescued or kept in the trash all the same; a wrong name is said to be wrong."""
    await provision(parts, "env_live", repo)
    strange = parts.data_dir / "worktrees" / "env_strange" / "demo"
    run_git(repo, "worktree", "add", "-q", "--detach", str(strange))
    (strange / "unsaved.txt").write_text("work\n")
    plain = parts.data_dir / "worktrees" / "plain"
    plain.mkdir()
    (plain / "file").write_text("x")
    wanted = frozenset({"worktrees/env_strange/demo", "worktrees/plain", "worktrees/nowhere"})
    done = await parts.collector().collect(GcRequest(False, wanted))
    assert not strange.exists()
    assert not plain.exists()
    assert done.unknown_ids == ("worktrees/nowhere",)
    assert not done.succeeded
    assert [r.environment_id for r in await list_rescues(parts.git, repo)] == ["env_strange"]
    notes = [entry.note for entry in parts.tools.trash.entries()]
    assert [note.path for note in notes if note and note.keep_until_ms] == [str(plain)]


@pytest.mark.parametrize("what", ["locked", "copied", "link"])
async def test_what_is_not_certainly_ours_is_refused(
    parts: Parts, repo: Path, tmp_path: Path, what: str
) -> None:
    """A locked worktree, one whose registration names another place, a symbolic link: nothing is touched."""
    await provision(parts, "env_live", repo)
    path = parts.data_dir / "worktrees" / "env_odd" / "demo"
    if what == "link":
        path.parent.mkdir(parents=True)
        path.symlink_to(tmp_path)
    else:
        run_git(repo, "worktree", "add", "-q", "--detach", str(path))
    if what == "locked":
        run_git(repo, "worktree", "lock", str(path))
    if what == "copied":
        moved = path.parent.with_name("env_moved")
        path.parent.rename(moved)
        path = moved / "demo"
    wanted = frozenset({str(path.relative_to(parts.data_dir))})
    done = await parts.collector().collect(GcRequest(False, wanted))
    assert os.path.lexists(path)
    assert outcome(done, str(path.relative_to(parts.data_dir))) == GcOutcome.REFUSED
    assert tmp_path.exists()


async def test_a_worktree_that_was_moved_in_behind_a_link_is_no_registration_of_ours(
    parts: Parts, repo: Path, tmp_path: Path
) -> None:
    """Git knows it by a path outside; looking for leftovers is done at every start and must not fail."""
    outside = tmp_path / "outside"
    run_git(repo, "worktree", "add", "-q", "--detach", str(outside))
    inside = parts.data_dir / "worktrees" / "env_moved" / "demo"
    inside.parent.mkdir(parents=True)
    outside.rename(inside)
    outside.symlink_to(inside)
    await provision(parts, "env_live", repo)
    report = await parts.collector().collect(GcRequest())
    assert outcome(report, "worktrees/env_moved/demo") == GcOutcome.UNCLEAR


async def test_a_path_that_is_provisioned_meanwhile_is_in_use(parts: Parts, repo: Path) -> None:
    """What was a leftover when it was looked at is an environment when it would be removed."""
    path = await leave_behind(parts, "env_one", repo)
    collector = parts.collector()
    (leftover,) = find_leftovers(parts.data_dir, parts.supervisor.records())
    await provision(parts, "env_one", repo)
    item = GcItem(GcKind.WORKSPACE, leftover.id, str(path), GcOutcome.WOULD_REMOVE)
    done = await collector._remove(leftover, item)
    assert done.outcome == GcOutcome.IN_USE
    assert path.exists()


async def test_a_retired_environment_goes_once_the_server_orders_it(
    parts: Parts, repo: Path
) -> None:
    """The order is remembered by the tombstone; the sweep at the next start acts upon it."""
    path = await provision(parts, "env_one", repo)
    await retire(parts, "env_one")
    assert await parts.collector().sweep() == []
    await destroy(parts, "env_one", path)
    assert path.exists()
    (item,) = await parts.collector().sweep()
    assert item.outcome == GcOutcome.REMOVED
    assert not path.exists()


async def test_trash_and_rescues_past_their_time_go(parts: Parts, repo: Path) -> None:
    """And those that are not past it stay."""
    old = plant_trash(parts, "env_old", days_ago=30)
    young = plant_trash(parts, "env_young", days_ago=-3)
    path = await provision(parts, "env_one", repo)
    (path / "unsaved.txt").write_text("work\n")
    await destroy(parts, "env_one", path)
    dry = await parts.collector().collect(GcRequest())
    assert [i.outcome for i in dry.items if i.kind == "trash" and "old" in i.id] == [
        "would_remove"
    ]
    done = await parts.collector().collect(GcRequest(dry_run=False))
    assert done.succeeded
    assert not old.exists()
    assert young.exists()
    assert len(await list_rescues(parts.git, repo)) == 1
    assert done.to_json()["items"]


async def test_collecting_without_a_daemon_holds_its_lock(parts: Parts, repo: Path) -> None:
    """With a daemon it is refused; without one it does the same."""
    path = await leave_behind(parts, "env_one", repo)
    with hold_lock(parts.data_dir), pytest.raises(AlreadyRunningError):
        await collect_offline(parts.config, GcRequest())
    done = await collect_offline(parts.config, GcRequest(dry_run=False))
    assert outcome(done, "worktrees/env_one/demo") == GcOutcome.REMOVED
    assert not path.exists()


async def test_rescued_work_is_given_back(parts: Parts, repo: Path, tmp_path: Path) -> None:
    """List, show, restore, drop; without a daemon as with one."""
    path = await provision(parts, "env_one", repo)
    (path / "unsaved.txt").write_text("work\n")
    (path / "a.txt").write_text("changed\n")
    await destroy(parts, "env_one", path)
    desk = await rescue_desk_offline(parts.config)
    (listed,) = (await desk.listing())["rescues"]
    assert listed["name"] == "env_one/1"
    assert listed["path"] == str(path)
    assert abs(listed["rescuedAtMs"] / 1000 - time.time()) < 60
    shown = await desk.show("env_one")
    assert shown["files"]["worktree"] == [
        {"path": "a.txt", "status": "M"},
        {"path": "unsaved.txt", "status": "A"},
    ]
    target = tmp_path / "back"
    restored = await desk.restore("env_one", target)
    assert sorted(restored["written"]) == ["a.txt", "unsaved.txt"]
    assert (target / "unsaved.txt").read_text() == "work\n"
    with pytest.raises(RescueError, match="absolute"):
        await desk.restore("env_one", Path("back"))
    await desk.drop("env_one/1")
    with pytest.raises(RescueError, match="Nothing was rescued"):
        await desk.drop("env_one/1")
