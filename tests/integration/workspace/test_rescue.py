"""Work survives the removal of its worktree, byte for byte."""

import os
from pathlib import Path

import pytest
from attrs import evolve

from bbhost.errors import RescueError
from bbhost.workspace.evidence import examine
from bbhost.workspace.rescue import rescue_worktree
from bbhost.workspace.rescue_list import (
    drop_rescue,
    expire_rescues,
    find_rescue,
    list_rescues,
    show_rescue,
    show_rescue_diff,
)
from bbhost.workspace.rescue_restore import restore_rescue
from bbhost.workspace.saved_files import SaveLimits
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git
from tests.integration.workspace.world import Snapshot, World


@pytest.fixture
async def world(tmp_path: Path, repo: Path) -> World:
    world = World(tmp_path / "data", repo)
    await world.provision()
    return world


def kinds(refs: tuple[str, ...]) -> list[str]:
    return sorted(ref.rpartition("/")[2] for ref in refs)


async def remove_and_restore(world: World, tmp_path: Path) -> tuple[Path, Snapshot]:
    before = Snapshot.of(world.target())
    report = await world.remove()
    assert report.rescue.refs
    assert report.rescue.keep_reason == ""
    rescue = await find_rescue(world.tools.git, world.source, "env_1")
    target = tmp_path / "restored"
    await restore_rescue(world.tools, rescue, target)
    return target, before


@pytest.mark.slow
async def test_everything_comes_back_as_it_was(world: World, tmp_path: Path) -> None:
    """Bytes, modes and symlinks; staged, unstaged, untracked, deleted; any name."""
    path = world.target()
    (path / "a.txt").write_bytes(b"changed\r\n\0binary")
    (path / "src/b.txt").unlink()
    (path / "staged").write_text("in the index")
    run_git(path, "add", "staged")
    (path / "staged").write_text("and then on disk")
    (path / 'new\nline "q" \\ tab\t').write_text("x")
    (path / os.fsdecode(b"not-utf8-\xff")).write_text("y")
    (path / "dîr/deep").mkdir(parents=True)
    (path / "dîr/deep/run").write_text("#!/bin/sh\n")
    (path / "dîr/deep/run").chmod(0o755)
    (path / "secret").write_text("s")
    (path / "secret").chmod(0o600)
    (path / "link").symlink_to("/nowhere/at all")
    (path / "src").rmdir() if not any((path / "src").iterdir()) else None
    (path / "src").write_text("a file where a directory was")
    (path / "large").write_bytes(os.urandom(300_000))
    (path / "large\nname").write_bytes(os.urandom(70_000))
    (path / "empty").write_text("")
    status = run_git(path, "status", "--porcelain", "-z", "-uall")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before
    assert run_git(target, "status", "--porcelain", "-z", "-uall") == status
    assert git_text(target, "show", ":staged") == "in the index"


async def test_what_git_ignores_is_not_rescued(world: World, tmp_path: Path) -> None:
    (world.target() / ".gitignore").write_text("ignored\n")
    (world.target() / "ignored").write_text("x")
    target, _ = await remove_and_restore(world, tmp_path)
    assert sorted(p.name for p in target.iterdir()) == [".git", ".gitignore", "a.txt", "src"]


async def test_line_endings_and_filters_change_nothing(world: World, tmp_path: Path) -> None:
    """Work is stored as it is on disk: neither attributes nor configuration take part."""
    path = world.target()
    run_git(world.source, "config", "filter.evil.clean", "sh -c 'touch ../../../../evil; cat'")
    run_git(world.source, "config", "filter.evil.smudge", "sh -c 'touch ../../../../evil; cat'")
    (path / ".gitattributes").write_text("*.txt text eol=crlf\n*.dat filter=evil\n*.i ident\n")
    (path / "a.txt").write_bytes(b"mixed\r\nendings\n")
    (path / "x.dat").write_bytes(b"data")
    (path / "y.i").write_bytes(b"$Id: kept as it is $")
    hook = world.source / ".git/hooks/reference-transaction"
    hook.write_text("#!/bin/sh\ntouch evil-hook\n")
    hook.chmod(0o755)
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before
    assert not (tmp_path / "evil").exists()
    assert not list(tmp_path.rglob("evil-hook"))


@pytest.mark.slow
async def test_a_conflict_comes_back_as_a_conflict(world: World, tmp_path: Path) -> None:
    path = world.target()
    (world.source / "a.txt").write_text("theirs\n")
    commit_all(world.source, "theirs")
    (path / "a.txt").write_text("ours\n")
    commit_all(path, "ours")
    run_git(path, "merge", "main", check=False)
    status = run_git(path, "status", "--porcelain")
    assert status.startswith(b"UU")
    stages = git_text(path, "ls-files", "--unmerged")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before
    assert run_git(target, "status", "--porcelain") == status
    assert git_text(target, "ls-files", "--unmerged") == stages


async def test_intent_to_add_does_not_break_it(world: World, tmp_path: Path) -> None:
    (world.target() / "later").write_text("soon")
    run_git(world.target(), "add", "--intent-to-add", "later")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before


async def test_an_unborn_branch(world: World, tmp_path: Path) -> None:
    """No commit to build on: everything is in the rescue alone."""
    run_git(world.target(), "switch", "-q", "--orphan", "fresh")
    (world.target() / "first").write_text("1")
    (world.target() / "staged").write_text("2")
    run_git(world.target(), "add", "staged")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before


@pytest.mark.slow
async def test_commits_that_no_branch_has(world: World, tmp_path: Path) -> None:
    """A detached HEAD with commits on it is work; one on a branch's commit is not."""
    run_git(world.target(), "checkout", "-q", "--detach")
    (world.target() / "a.txt").write_text("detached work\n")
    lost = commit_all(world.target(), "nobody has this")
    report = await world.remove()
    assert kinds(report.rescue.refs) == ["head", "worktree"]
    run_git(world.source, "reflog", "expire", "--expire=now", "--all")
    run_git(world.source, "gc", "-q", "--prune=now")
    rescue = await find_rescue(world.tools.git, world.source, "env_1/1")
    assert rescue.refs["head"] == lost
    await restore_rescue(world.tools, rescue, tmp_path / "restored")
    assert git_text(tmp_path / "restored", "rev-parse", "HEAD") == lost


async def test_nothing_to_rescue_makes_no_ref(world: World) -> None:
    run_git(world.target(), "checkout", "-q", "--detach")
    report = await world.remove()
    assert report.rescue.refs == ()
    assert await list_rescues(world.tools.git, world.source) == []


async def test_a_stale_index_lock_does_not_matter(world: World, tmp_path: Path) -> None:
    """Killed agents leave it behind; rescuing takes no lock."""
    (world.source / ".git/worktrees/repo/index.lock").write_text("")
    (world.target() / "work").write_text("x")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before


async def test_too_much_work_stays_in_the_trash(world: World) -> None:
    (world.target() / "huge").write_bytes(b"x" * 5000)
    report = await world.remove(limits=SaveLimits(max_bytes=4000))
    assert report.rescue.refs == ()
    (entry,) = world.tools.trash.entries()
    assert entry.note is not None
    assert entry.note.keep_until_ms is not None
    assert "4000 bytes" in entry.note.reason
    assert (entry.files / "huge").stat().st_size == 5000


async def test_repositories_within_stay_in_the_trash(world: World) -> None:
    """Git does not look into them; the rest is rescued all the same."""
    make_repository(world.target() / "nested")
    (world.target() / "work").write_text("x")
    report = await world.remove()
    assert kinds(report.rescue.refs) == ["worktree"]
    assert "nested" in report.rescue.keep_reason
    (entry,) = world.tools.trash.entries()
    assert (entry.files / "nested/.git/HEAD").exists()


async def test_rescuing_again_replaces_what_was_kept(world: World, tmp_path: Path) -> None:
    """An attempt that was cut short after storing."""
    (world.target() / "work").write_text("first")
    run_git(world.target(), "add", "work")
    await rescue_worktree(world.tools, world.removal(), examine(world.removal()))
    (world.target() / "work").write_text("second")
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before


async def test_incarnations_are_kept_apart_and_odd_ids_are_safe(world: World) -> None:
    name = "odd/../id with.lock"
    (world.target() / "work").write_text("x")
    for incarnation in (1, 2):
        removal = evolve(world.removal(), environment_id=name, incarnation=incarnation)
        outcome = await rescue_worktree(world.tools, removal, examine(removal))
        assert outcome.keep_reason == ""
    rescues = await list_rescues(world.tools.git, world.source)
    assert [(r.environment_id, r.incarnation) for r in rescues] == [(name, 1), (name, 2)]
    assert (await find_rescue(world.tools.git, world.source, name)).incarnation == 2


@pytest.mark.slow
async def test_listing_showing_dropping_expiring(world: World) -> None:
    git = world.tools.git
    (world.target() / "a.txt").write_text("changed\n")
    (world.target() / "new").write_text("n")
    (world.target() / "src/b.txt").unlink()
    await world.remove()
    (rescue,) = await list_rescues(git, world.source)
    assert rescue.note is not None
    assert (rescue.note.branch, rescue.note.path) == ("bb/env_1", str(world.target()))
    assert rescue.rescued_at_s > 1_700_000_000
    files = await show_rescue(git, rescue)
    assert [(f.path, f.status) for f in files] == [
        ("a.txt", "M"),
        ("new", "A"),
        ("src/b.txt", "D"),
    ]
    assert b"+changed" in await show_rescue_diff(git, rescue)
    with pytest.raises(RescueError, match="no index"):
        await show_rescue(git, rescue, "index")
    assert await expire_rescues(git, world.source, older_than_s=rescue.rescued_at_s) == []
    assert await expire_rescues(git, world.source, older_than_s=rescue.rescued_at_s + 1)
    await drop_rescue(git, rescue)
    assert await list_rescues(git, world.source) == []
    with pytest.raises(RescueError):
        await find_rescue(git, world.source, "env_1")


@pytest.mark.slow
async def test_restoring_onto_a_worktree_spares_other_content(
    world: World, tmp_path: Path
) -> None:
    (world.target() / "a.txt").write_text("rescued\n")
    (world.target() / "new").write_text("rescued\n")
    await world.remove()
    rescue = await find_rescue(world.tools.git, world.source, "env_1")
    await world.provision("env_2")
    target = world.target("env_2")
    (target / "new").write_text("somebody's")
    with pytest.raises(RescueError, match="new"):
        await restore_rescue(world.tools, rescue, target)
    assert (target / "a.txt").read_text() == "a\nb\nc\n", "nothing was written"
    report = await restore_rescue(world.tools, rescue, target, overwrite=True)
    assert sorted(report.written) == ["a.txt", "new"]
    assert (target / "new").read_text() == "rescued\n"
    await restore_rescue(world.tools, rescue, target)
    with pytest.raises(RescueError):
        await restore_rescue(world.tools, rescue, tmp_path)


@pytest.mark.slow
async def test_restoring_does_not_follow_links(world: World, tmp_path: Path) -> None:
    (world.target() / "dir").mkdir()
    (world.target() / "dir/f").write_text("rescued")
    await world.remove()
    rescue = await find_rescue(world.tools.git, world.source, "env_1")
    await world.provision("env_2")
    trap = tmp_path / "trap"
    trap.mkdir()
    (world.target("env_2") / "dir").symlink_to(trap)
    with pytest.raises(RescueError):
        await restore_rescue(world.tools, rescue, world.target("env_2"), overwrite=True)
    assert list(trap.iterdir()) == []


@pytest.mark.slow
async def test_large_work_comes_back_in_pieces(world: World, tmp_path: Path) -> None:
    """Beyond what is held in memory at a time."""
    (world.target() / "large").write_bytes(os.urandom(9_000_000))
    (world.target() / "many").mkdir()
    for number in range(150):
        (world.target() / f"many/{number}").write_bytes(os.urandom(40_000))
    target, before = await remove_and_restore(world, tmp_path)
    assert Snapshot.of(target) == before
