"""Commits and squash merges: made whole or not at all, and recognised after a crash."""

from pathlib import Path

import pytest
import trio

from bbhost.errors import GitCommandError, MergeRefusedError
from bbhost.toolkit import faults
from bbhost.workspace.commit import (
    CommitFacts,
    commit_workspace,
    find_finished_commit,
    note_commit_facts,
)
from bbhost.workspace.merge import (
    MergeFacts,
    find_published_merge,
    note_merge_facts,
    squash_merge,
)
from bbhost.workspace.published import CommitSummaryLine
from bbhost.workspace.repository import Repository, discover_repository
from bbhost.workspace.temporary_worktree import sweep_temporary_worktrees, temporary_worktree
from tests.integration.workspace.scratch import commit_all, git_text, run_git
from tests.integration.workspace.world import World


@pytest.fixture
async def world(tmp_path: Path, repo: Path) -> World:
    world = World(tmp_path / "data", repo)
    await world.provision()
    return world


def repository_of(path: Path) -> Repository:
    found = discover_repository(path)
    assert found is not None
    return found


async def merge(world: World, target: str = "main", message: str = "Merged") -> CommitSummaryLine:
    repository = repository_of(world.target())
    facts = await note_merge_facts(world.tools, repository, target, message)
    return await squash_merge(world.tools, repository, facts)


def assert_no_temporary_worktree(world: World) -> None:
    place = world.data / "temporary-worktrees"
    assert not place.exists() or list(place.iterdir()) == []
    assert "bbhost-merge" not in git_text(world.source, "worktree", "list")


@pytest.mark.slow
async def test_everything_is_committed_and_hooks_are_not_run(world: World) -> None:
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"):
        hook = world.source / ".git/hooks" / name
        hook.write_text("#!/bin/sh\necho refused >&2\nexit 1\n")
        hook.chmod(0o755)
    path = world.target()
    (path / "new").write_text("n")
    (path / "a.txt").unlink()
    done = await commit_workspace(
        world.tools, repository_of(path), "Subject\n\n# body\n\n\n\nmore  \n"
    )
    assert done == CommitSummaryLine(git_text(path, "rev-parse", "HEAD"), "Subject")
    assert git_text(path, "status", "--porcelain") == ""
    assert git_text(path, "log", "-1", "--format=%B") == "Subject\n\n# body\n\nmore"


@pytest.mark.slow
async def test_nothing_to_commit(world: World) -> None:
    with pytest.raises(GitCommandError, match="nothing to commit"):
        await commit_workspace(world.tools, repository_of(world.target()), "m")


@pytest.mark.slow
async def test_messages_that_look_like_options_or_are_long(world: World) -> None:
    for number, message in enumerate(("--amend", "x" * 300_000)):
        (world.target() / f"f{number}").write_text("x")
        done = await commit_workspace(world.tools, repository_of(world.target()), message)
        assert done.subject == message


@pytest.mark.slow
async def test_a_commit_is_recognised_afterwards(world: World) -> None:
    repository = repository_of(world.target())
    message = "One\n\n\nbody  \n"
    facts = await note_commit_facts(world.tools, repository, message)
    assert await find_finished_commit(world.tools, repository, facts) is None
    (world.target() / "x").write_text("x")
    done = await commit_workspace(world.tools, repository, message)
    assert await find_finished_commit(world.tools, repository, facts) == done
    commit_all(world.target(), "an agent went on")
    assert await find_finished_commit(world.tools, repository, facts) == done
    other = CommitFacts("Other", facts.head_before, facts.branch)
    assert await find_finished_commit(world.tools, repository, other) is None


@pytest.mark.slow
async def test_a_first_commit_is_recognised(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q", "-b", "main")
    (empty / "f").write_text("x")
    repository = repository_of(empty)
    facts = await note_commit_facts(world.tools, repository, "first")
    assert facts == CommitFacts("first", None, "main")
    assert await find_finished_commit(world.tools, repository, facts) is None
    done = await commit_workspace(world.tools, repository, "first")
    assert await find_finished_commit(world.tools, repository, facts) == done


@pytest.mark.slow
async def test_a_filter_that_is_not_run_refuses_the_commit(world: World, home: Path) -> None:
    """Committing around git-crypt would publish secrets; the user's own filters do run."""
    run_git(world.source, "config", "filter.crypt.clean", "tr a-z n-za-m")
    (world.target() / ".gitattributes").write_text("secret* filter=crypt\n")
    repository = repository_of(world.target())
    await commit_workspace(world.tools, repository, "attributes")
    (world.target() / "secret").write_text("abc")
    with pytest.raises(GitCommandError, match="crypt"):
        await commit_workspace(world.tools, repository, "leak")
    run_git(world.source, "config", "--global", "filter.crypt.clean", "tr a-z n-za-m")
    await commit_workspace(world.tools, repository, "safe")
    assert git_text(world.target(), "cat-file", "blob", "HEAD:secret") == "nop"


@pytest.mark.slow
async def test_merging_into_a_branch_that_nobody_has_checked_out(world: World) -> None:
    run_git(world.source, "branch", "release")
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "one")
    (world.target() / "y").write_text("y")
    commit_all(world.target(), "two")
    (world.target() / "uncommitted").write_text("not part of it")
    before = git_text(world.source, "rev-parse", "release")
    done = await merge(world, "release", "Both\n\nbody")
    assert done.subject == "Both"
    assert git_text(world.source, "rev-parse", "release") == done.sha
    assert git_text(world.source, "rev-parse", "release^") == before
    assert git_text(world.source, "show", "release:y") == "y"
    assert "uncommitted" not in git_text(world.source, "ls-tree", "--name-only", "release")
    assert_no_temporary_worktree(world)


@pytest.mark.slow
async def test_merging_into_a_branch_that_is_checked_out(world: World) -> None:
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "one")
    done = await merge(world)
    assert git_text(world.source, "rev-parse", "HEAD") == done.sha
    assert (world.source / "x").read_text() == "x"
    assert git_text(world.source, "status", "--porcelain") == ""
    assert_no_temporary_worktree(world)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "detached_head",
        "branch_not_found",
        "non_local_target_branch",
        "dirty_target_branch",
        "git_command_failed",
        "nothing",
    ],
)
async def test_refused_merges_leave_everything_alone(world: World, code: str) -> None:
    path = world.target()
    (path / "a.txt").write_text("ours\n")
    commit_all(path, "ours")
    target = "main"
    match code:
        case "detached_head":
            run_git(path, "checkout", "-q", "--detach")
        case "branch_not_found":
            target = "nowhere"
        case "non_local_target_branch":
            run_git(world.source, "update-ref", "refs/remotes/origin/far", "main")
            target = "far"
        case "dirty_target_branch":
            (world.source / "untracked").write_text("x")
        case "git_command_failed":
            (world.source / "a.txt").write_text("theirs\n")
            commit_all(world.source, "theirs")
        case "nothing":
            run_git(path, "reset", "-q", "--hard", "main")
            code = "git_command_failed"
    before = git_text(world.source, "rev-parse", "main")
    with pytest.raises((MergeRefusedError, GitCommandError)) as caught:
        await merge(world, target)
    assert caught.value.code == code
    assert git_text(world.source, "rev-parse", "main") == before
    assert_no_temporary_worktree(world)


@pytest.mark.slow
async def test_conflicts_are_named(world: World) -> None:
    (world.target() / "a.txt").write_text("ours\n")
    commit_all(world.target(), "ours")
    (world.source / "a.txt").write_text("theirs\n")
    commit_all(world.source, "theirs")
    with pytest.raises(GitCommandError, match=r"CONFLICT \(content\).*a\.txt"):
        await merge(world)


@pytest.mark.slow
async def test_merges_into_one_branch_follow_each_other(world: World) -> None:
    """Two at a time would make the second fail because the target moved."""
    run_git(world.source, "branch", "release")
    repositories = []
    for name in ("env_1", "env_2"):
        if name != "env_1":
            await world.provision(name)
        (world.target(name) / name).write_text("x")
        commit_all(world.target(name), name)
        repositories.append(repository_of(world.target(name)))

    async def one(repository: Repository, message: str) -> None:
        async with world.tools.locks.branch(repository.common_dir, "release"):
            facts = await note_merge_facts(world.tools, repository, "release", message)
            await squash_merge(world.tools, repository, facts)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number, repository in enumerate(repositories):
                nursery.start_soon(one, repository, str(number))
    assert git_text(world.source, "rev-list", "--count", "main..release") == "2"


@pytest.mark.slow
async def test_a_target_that_moved_is_not_overwritten(world: World) -> None:
    run_git(world.source, "branch", "release")
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "x")
    repository = repository_of(world.target())
    facts = await note_merge_facts(world.tools, repository, "release", "m")
    moved = commit_all(world.source, "somebody else")
    run_git(world.source, "branch", "-f", "release", moved)
    with pytest.raises(GitCommandError):
        await squash_merge(world.tools, repository, facts)
    assert git_text(world.source, "rev-parse", "release") == moved


@pytest.mark.slow
async def test_a_published_merge_is_recognised_afterwards(world: World) -> None:
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "x")
    repository = repository_of(world.target())
    facts = await note_merge_facts(world.tools, repository, "main", "m")
    assert await find_published_merge(world.tools, repository, facts) is None
    done = await squash_merge(world.tools, repository, facts)
    assert await find_published_merge(world.tools, repository, facts) == done
    commit_all(world.source, "on top")
    assert await find_published_merge(world.tools, repository, facts) == done
    gone = MergeFacts(facts.source_branch, "gone", facts.target_before, "m")
    assert await find_published_merge(world.tools, repository, gone) is None


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worktree_made", "merged", "committed", "before_publish"])
async def test_failing_on_the_way_publishes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "x")
    before = git_text(world.source, "rev-parse", "main")
    monkeypatch.setitem(faults._FAULTS, f"merge.{point}", "raise")
    with pytest.raises(OSError, match="fault"):
        await merge(world)
    assert git_text(world.source, "rev-parse", "main") == before
    assert_no_temporary_worktree(world)


@pytest.mark.slow
async def test_cancelling_publishes_nothing_and_cleans_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.target() / "x").write_text("x")
    commit_all(world.target(), "x")
    before = git_text(world.source, "rev-parse", "main")
    with trio.CancelScope() as scope:
        monkeypatch.setattr(
            "bbhost.workspace.merge.fault_point",
            lambda name: scope.cancel() if name == "merge.merged" else None,
        )
        await merge(world)
    assert scope.cancelled_caught
    assert git_text(world.source, "rev-parse", "main") == before
    assert_no_temporary_worktree(world)


@pytest.mark.slow
async def test_sweeping_finds_what_a_crash_left(world: World, tmp_path: Path) -> None:
    """With and without its files, and after its repository has gone."""
    repository = repository_of(world.target())
    commit = git_text(world.source, "rev-parse", "main")
    place = world.data / "temporary-worktrees"
    for name in ("bbhost-merge-1", "bbhost-merge-2", "bbhost-merge-3"):
        async with temporary_worktree(world.tools, repository, commit):
            pass
        run_git(world.source, "worktree", "add", "-q", "--detach", str(place / name))
        (place / f"{name}.repository").write_text(str(repository.common_dir))
    run_git(
        world.source, "worktree", "lock", "--reason", "initializing", str(place / "bbhost-merge-1")
    )
    (place / "bbhost-merge-2").rename(tmp_path / "gone")
    (place / "bbhost-merge-3.repository").write_text("/nowhere")
    (place / "bbhost-merge-4.repository").write_text("")
    assert await sweep_temporary_worktrees(world.tools) == 4
    assert list(place.iterdir()) == []
    listed = git_text(world.source, "worktree", "list", "--porcelain")
    assert "bbhost-merge-1" not in listed
    assert "bbhost-merge-2" not in listed
    assert await sweep_temporary_worktrees(world.tools) == 0
