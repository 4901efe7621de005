"""Ignored files that a worktree needs come along; nothing else does."""

import os
from pathlib import Path

import pytest

from bbhost.toolkit import faults
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import commit_all, run_git
from tests.integration.workspace.world import World


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> World:
    (repo / ".gitignore").write_text(".env\ncache/\nnode_modules/\nlinks/\n")
    commit_all(repo, "ignore")
    return World(tmp_path / "data", repo)


async def test_only_ignored_files_that_are_asked_for(world: World) -> None:
    """With bytes, mode and modification time."""
    source = world.source
    (source / ".worktreeinclude").write_text(
        "# secrets\n.env\ncache/\n!cache/no\nuntracked\na.txt\n"
    )
    (source / ".env").write_text("KEY=1\n")
    (source / ".env").chmod(0o600)
    os.utime(source / ".env", ns=(1_000_000_000, 2_000_000_000))
    (source / "cache/deep").mkdir(parents=True)
    (source / "cache/deep/tool").write_text("#!/bin/sh\n")
    (source / "cache/deep/tool").chmod(0o755)
    (source / "cache/ü\n").write_text("odd name")
    (source / "node_modules").mkdir()
    (source / "node_modules/big").write_text("not asked for")
    (source / "untracked").write_text("not ignored")
    (source / "a.txt").write_text("changed, but tracked")
    transcript = Transcript()
    await world.provision(transcript=transcript)
    target = world.target()
    found = (target / ".env").stat()
    assert (target / ".env").read_text() == "KEY=1\n"
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o600, 2_000_000_000)
    assert os.access(target / "cache/deep/tool", os.X_OK)
    assert (target / "cache/ü\n").exists()
    assert not (target / "node_modules").exists()
    assert not (target / "untracked").exists()
    assert (target / "a.txt").read_text() == "a\nb\nc\n"
    assert run_git(target, "status", "--porcelain") == b""
    entries = {entry.key: entry for entry in transcript.entries}
    assert entries["worktree-include-completed"].text == "Copied 3 ignored files"
    assert entries["worktree-include-output-1"].text == ".env"
    keys = [entry.key for entry in transcript.entries]
    assert keys.index("workspace-target") < keys.index("worktree-include-started")


async def test_links_do_not_lead_out(world: World, tmp_path: Path) -> None:
    """Neither a link that is asked for, nor one on the way, nor the list itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    source = world.source
    (source / ".worktreeinclude").write_text("links/\n")
    (source / "links").mkdir()
    (source / "links/absolute").symlink_to(outside / "secret")
    (source / "links/climbing").symlink_to("../../outside/secret")
    (source / "links/inside").symlink_to("../a.txt")
    (source / "links/directory").symlink_to(outside)
    transcript = Transcript()
    await world.provision(transcript=transcript)
    links = world.target() / "links"
    assert [path.name for path in links.iterdir()] == ["inside"]
    assert (links / "inside").read_text() == "a\nb\nc\n"
    assert sum("leads out" in entry.text for entry in transcript.entries) == 3
    (source / ".worktreeinclude").unlink()
    (outside / "list").write_text(".env\n")
    (source / ".env").write_text("x")
    (source / ".worktreeinclude").symlink_to(outside / "list")
    await world.provision("env_2")
    assert not (world.target("env_2") / ".env").exists()


async def test_what_the_branch_tracks_is_never_overwritten(world: World) -> None:
    """Ignored in the source checkout, tracked on the branch that is checked out."""
    source = world.source
    run_git(source, "switch", "-q", "-c", "with-env")
    (source / ".env").write_text("tracked")
    run_git(source, "add", "-f", ".env")
    commit_all(source, "env")
    (source / "links").symlink_to("src")
    run_git(source, "add", "-f", "links")
    commit_all(source, "a link where the source has a directory")
    run_git(source, "switch", "-q", "main")
    (source / ".env").write_text("ignored")
    (source / "links").mkdir()
    (source / "links/new").write_text("x")
    (source / ".worktreeinclude").write_text(".env\nlinks/\n")
    await world.provision(base_branch="with-env")
    assert (world.target() / ".env").read_text() == "tracked"
    assert not (world.target() / "src/new").exists()
    assert run_git(world.target(), "status", "--porcelain") == b""


async def test_without_a_list_nothing_is_asked(world: World) -> None:
    (world.source / ".env").write_text("x")
    transcript = Transcript()
    await world.provision(transcript=transcript)
    assert not (world.target() / ".env").exists()
    assert not any("include" in entry.key for entry in transcript.entries)
    assert "ls-files" not in world.tools.git.statistics().processes


async def test_a_failure_to_list_is_told_and_does_not_fail_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.source / ".worktreeinclude").write_text(".env\n")
    monkeypatch.setattr("bbhost.workspace.include.LIST_SECONDS", 0.0)
    transcript = Transcript()
    assert (await world.provision(transcript=transcript)).created
    assert "worktree-include-failed" in [entry.key for entry in transcript.entries]


async def test_a_full_disk_undoes_the_provisioning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.source / ".worktreeinclude").write_text(".env\n")
    (world.source / ".env").write_text("x")
    monkeypatch.setitem(faults._FAULTS, "provision.included", "raise")
    with pytest.raises(OSError, match="fault"):
        await world.provision()
    assert world.leftovers() == []
