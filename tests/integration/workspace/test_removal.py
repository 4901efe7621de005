"""Removing what this daemon made, and nothing else."""

import os
import shutil
from pathlib import Path

import pytest
import trio

from bbhost.domain.workspace import PersonalSpec
from bbhost.errors import NotRemovableError, WorktreeLockedError
from bbhost.toolkit import faults
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.provision import provision_workspace
from bbhost.workspace.removal import (
    deregister_worktree,
    discard_worktree,
    prune_parent,
    remove_managed_worktree,
    remove_personal_workspace,
)
from bbhost.workspace.repository import discover_repository
from bbhost.workspace.rollback import rollback_workspace
from bbhost.workspace.status import read_status
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git
from tests.integration.workspace.world import World


@pytest.fixture
async def world(tmp_path: Path, repo: Path) -> World:
    world = World(tmp_path / "data", repo)
    await world.provision()
    return world


def trashed_files(world: World) -> list[Path]:
    return [entry.files for entry in world.tools.trash.entries()]


async def test_a_removed_worktree_is_in_the_trash_and_nowhere_else(world: World) -> None:
    """The branch stays; files, registration and the empty parent go."""
    report = await world.remove()
    assert report.removed
    assert report.rescue.refs == ()
    assert world.leftovers() == []
    assert git_text(world.source, "branch", "--list", "bb/env_1")
    (files,) = trashed_files(world)
    assert (files / "src/b.txt").exists()


async def test_removing_again_succeeds(world: World) -> None:
    await world.remove()
    report = await world.remove()
    assert not report.removed
    assert len(trashed_files(world)) == 1


async def test_costs_one_process_and_none_where_the_status_is_certain(world: World) -> None:
    """It asks for work to rescue; deregistering needs none."""
    await world.provision("env_2")
    before = dict(world.tools.git.statistics().processes)
    await world.remove()
    after = dict(world.tools.git.statistics().processes)
    assert after.get("status", 0) == before.get("status", 0) + 1
    assert after["worktree"] == before["worktree"]
    found = discover_repository(world.target("env_2"))
    assert found is not None
    reading = await read_status(world.tools.git, world.tools.refs, found, None)
    before = dict(world.tools.git.statistics().processes)
    await world.remove("env_2", certain_status=reading.status)
    after = dict(world.tools.git.statistics().processes)
    assert {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)} in (
        {},
        {"config": 1},
    )


async def test_siblings_are_untouched(world: World) -> None:
    """Exactly this worktree: not the stale ones of others either."""
    await world.provision("env_2")
    stale = world.data.parent / "users-own"
    run_git(world.source, "worktree", "add", "-q", "-b", "own", str(stale))
    shutil.rmtree(stale)
    await world.remove()
    listed = git_text(world.source, "worktree", "list")
    assert "env_2" in listed
    assert "users-own" in listed


@pytest.mark.parametrize("path", ["", "/", "{data}", "{data}/worktrees", "{data}/worktrees/../x",
                                  "{data}/worktrees/.trash/x", "{data}/worktrees-evil/x", "relative/x",
                                  "{source}"])  # fmt: skip
async def test_paths_outside_of_the_managed_root_are_refused(world: World, path: str) -> None:
    text = path.format(data=world.data, source=world.source)
    removal = WorktreeRemoval("env_1", 1, Path(text), world.data, world.source)
    with pytest.raises(NotRemovableError):
        await remove_managed_worktree(world.tools, removal)
    assert world.source.exists()
    assert world.target().exists()


async def test_links_are_refused(world: World, tmp_path: Path) -> None:
    """A link in the place of the worktree, or on the way to it, leads to somebody's files."""
    precious = tmp_path / "precious"
    shutil.copytree(world.target(), precious / "repo", symlinks=True)
    shutil.rmtree(world.target())
    world.target().symlink_to(precious / "repo")
    with pytest.raises(NotRemovableError):
        await world.remove()
    world.target().unlink()
    world.target().parent.rmdir()
    world.target().parent.symlink_to(precious)
    with pytest.raises(NotRemovableError):
        await world.remove()
    assert (precious / "repo/a.txt").exists()


async def test_path_and_registration_must_name_each_other(world: World) -> None:
    """A copy of a worktree points to the registration of the original."""
    await world.provision("env_2")
    shutil.rmtree(world.target("env_2"))
    shutil.copytree(world.target("env_1"), world.target("env_2"), symlinks=True)
    with pytest.raises(NotRemovableError, match="do not name each other"):
        await world.remove("env_2")
    assert (world.target("env_2") / "a.txt").exists()
    assert git_text(world.target("env_1"), "status", "--porcelain") == ""


async def test_a_locked_worktree_is_honoured(world: World) -> None:
    run_git(world.source, "worktree", "lock", "--reason", "on a stick", str(world.target()))
    (world.target() / "work").write_text("x")
    with pytest.raises(WorktreeLockedError, match="on a stick"):
        await world.remove()
    assert (world.target() / "work").exists()
    assert git_text(world.target(), "status", "--porcelain") == "?? work"
    run_git(world.source, "worktree", "unlock", str(world.target()))
    assert (await world.remove()).removed


async def test_the_lock_of_a_missing_worktree_is_honoured_too(world: World) -> None:
    run_git(world.source, "worktree", "lock", str(world.target()))
    shutil.rmtree(world.target())
    report = await world.remove()
    assert report.registration_kept
    assert "env_1" in git_text(world.source, "worktree", "list")


async def test_a_stale_registration_goes(world: World) -> None:
    shutil.rmtree(world.target())
    report = await world.remove()
    assert not report.removed
    assert world.leftovers() == []


async def test_files_go_when_the_source_repository_is_gone(world: World) -> None:
    """Nothing can be rescued then, so the trash keeps them for a while."""
    shutil.rmtree(world.source)
    report = await world.remove()
    assert report.removed
    assert not world.target().parent.exists()
    (entry,) = world.tools.trash.entries()
    assert entry.note is not None
    assert entry.note.keep_until_ms is not None
    assert "gone" in entry.note.reason


async def test_files_go_when_git_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    report = await world.remove()
    monkeypatch.undo()
    assert report.removed
    assert report.rescue.keep_reason
    assert world.leftovers() == []


@pytest.mark.parametrize("what", ["deleted", "own repository", "emptied"])
async def test_a_damaged_worktree_goes_and_its_files_are_kept(world: World, what: str) -> None:
    """Agents delete .git, or make a repository of their own: no rescue, but no loss either."""
    (world.target() / "work").write_text("x")
    (world.target() / ".git").unlink()
    if what == "own repository":
        run_git(world.target(), "init", "-q")
    if what == "emptied":
        shutil.rmtree(world.target())
        world.target().mkdir()
    await world.remove()
    assert world.leftovers() == []
    (entry,) = world.tools.trash.entries()
    assert entry.note is not None
    assert (entry.note.keep_until_ms is None) == (what == "emptied")


@pytest.mark.slow
async def test_a_detached_worktree_of_a_repository_without_branches(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source")
    world = World(tmp_path / "data", source)
    await world.provision()
    run_git(world.target(), "checkout", "-q", "--detach")
    assert (await world.remove()).rescue.refs == ()


@pytest.mark.parametrize("step", range(4))
async def test_deleted_under_our_feet(
    world: World, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At whatever moment somebody else deletes the files, it is a success."""
    names = [
        "removal.before_discard",
        "rescue.scanned",
        "trash.note_written",
        "removal.before_deregister",
    ]

    def vanish(name: str) -> None:
        if name == names[step]:
            shutil.rmtree(world.target(), ignore_errors=True)

    (world.target() / "work").write_text("x")
    for module in ("removal", "rescue", "trash"):
        monkeypatch.setattr(f"bbhost.workspace.{module}.fault_point", vanish)
    await world.remove()
    assert world.leftovers() == []


async def test_what_comes_back_while_it_is_removed_goes_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that writes its output directory again and again."""

    def respawn(name: str) -> None:
        if name == "removal.deregistered":
            (world.target() / "dist").mkdir(parents=True, exist_ok=True)
            (world.target() / "dist/out").write_text("x")
            monkeypatch.setattr("bbhost.workspace.removal.fault_point", lambda name: None)

    monkeypatch.setattr("bbhost.workspace.removal.fault_point", respawn)
    await world.remove()
    assert world.leftovers() == []
    assert len(trashed_files(world)) == 2


async def test_a_full_disk_does_not_keep_us_from_making_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(faults._FAULTS, "trash.entry_made", "raise")
    assert (await world.remove()).removed
    assert world.leftovers() == []
    assert trashed_files(world) == []


async def test_a_full_disk_does_not_lose_what_must_be_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_git(world.target(), "init", "-q", "nested")
    (world.target() / "nested/f").write_text("x")
    monkeypatch.setitem(faults._FAULTS, "trash.note_written", "raise")
    with pytest.raises(OSError, match="fault"):
        await world.remove()
    assert (world.target() / "nested/f").exists()
    assert git_text(world.target(), "rev-parse", "--abbrev-ref", "HEAD") == "bb/env_1"


@pytest.mark.slow
async def test_submodule_repositories_are_kept(world: World, tmp_path: Path) -> None:
    """Git has them within the registration of the worktree, so deregistering would delete them."""
    other = make_repository(tmp_path / "other")
    run_git(
        world.target(),
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(other),
        "sub",
    )
    commit_all(world.target(), "submodule")
    lost = commit_all(world.target() / "sub", "only here")
    await world.remove()
    assert world.leftovers() == []
    kept = [entry for entry in world.tools.trash.entries() if (entry.files / "sub/HEAD").exists()]
    assert len(kept) == 1
    dirs = (f"--git-dir={kept[0].files / 'sub'}", f"--work-tree={tmp_path}")
    assert git_text(tmp_path, *dirs, "cat-file", "-t", lost) == "commit"
    assert all(e.note is not None and e.note.keep_until_ms for e in world.tools.trash.entries())


async def test_steps_can_be_taken_alone_and_twice(world: World) -> None:
    removal = world.removal()
    assert await discard_worktree(world.tools, removal, "")
    assert not await discard_worktree(world.tools, removal, "")
    blind = WorktreeRemoval("env_1", 1, world.target(), world.data)
    assert await deregister_worktree(world.tools, blind), "the trash remembers the registration"
    assert await deregister_worktree(world.tools, removal)
    await prune_parent(removal)
    await prune_parent(removal)
    assert world.leftovers() == []


async def test_a_registration_whose_files_vanished_while_git_cannot_is_removed_by_hand(
    world: World,
) -> None:
    """A registration that git was killed in the middle of removing."""
    registration = world.source / ".git/worktrees/repo"
    (registration / "HEAD").unlink()
    shutil.rmtree(world.target())
    await world.remove()
    assert world.leftovers() == []


async def test_personal_workspaces_go_to_the_trash(world: World) -> None:
    path = world.data / "personal-workspaces/env_p"
    await provision_workspace(world.tools, "env_p", PersonalSpec(str(path)), Transcript(), None)
    (path / "f").write_text("x")
    with pytest.raises(NotRemovableError):
        await remove_personal_workspace(world.tools, "env_q", 1, path)
    assert await remove_personal_workspace(world.tools, "env_p", 1, path)
    assert not await remove_personal_workspace(world.tools, "env_p", 1, path)
    assert not path.exists()


async def test_rolling_back_removes_only_what_was_made(world: World) -> None:
    (world.target() / "work").write_text("x")
    await rollback_workspace(world.tools, world.spec(), "env_1", 1, created_workspace=False)
    assert (world.target() / "work").exists()
    await rollback_workspace(world.tools, world.spec(), "env_1", 1, created_workspace=True)
    await rollback_workspace(world.tools, world.spec(), "env_1", 1, created_workspace=True)
    assert world.leftovers() == []


@pytest.mark.parametrize(
    "state", ["locked", "no git file", "no gitdir", "index.lock", "files only"]
)
async def test_rolling_back_what_git_was_killed_in(world: World, state: str) -> None:
    """Half-made worktrees, in the order in which git makes them."""
    registration = world.source / ".git/worktrees/repo"
    (registration / "locked").write_text("initializing")
    match state:
        case "no git file":
            shutil.rmtree(world.target())
            world.target().mkdir()
        case "no gitdir":
            (registration / "gitdir").unlink()
        case "index.lock":
            (registration / "index").rename(registration / "index.lock")
        case "files only":
            shutil.rmtree(registration)
    await rollback_workspace(world.tools, world.spec(), "env_1", 1, created_workspace=True)
    assert world.leftovers() == []
    assert (await world.provision()).created


@pytest.mark.slow
async def test_removing_while_siblings_are_made(world: World) -> None:
    """The repository's lock keeps git's registrations whole."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.remove, "env_1")
            for number in range(2, 6):
                nursery.start_soon(world.provision, f"env_{number}")
        async with trio.open_nursery() as nursery:
            for number in range(2, 6):
                nursery.start_soon(world.remove, f"env_{number}")
    assert world.leftovers() == []


@pytest.mark.slow
async def test_a_mount_point_within_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptying the trash would delete what is mounted there."""
    table = world.data / "mounts"
    inner = os.path.realpath(world.target() / "vol ume").replace(" ", "\\040")
    table.write_text(f"36 35 98:0 / {inner} rw - ext4 /dev/x rw\n")
    monkeypatch.setattr("bbhost.workspace.managed_root._MOUNT_TABLE", table)
    with pytest.raises(NotRemovableError, match="mount point"):
        await world.remove()
