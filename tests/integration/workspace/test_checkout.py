"""Switching the user's own checkout, only where that cannot hurt."""

from pathlib import Path

import pytest
import trio
import trio.testing

from bbhost.domain.workspace import (
    Checkout,
    ExistingBranchCheckout,
    NewBranchCheckout,
    UnmanagedSpec,
)
from bbhost.errors import BbhostError, GitCommandError
from bbhost.workspace.provision import ProvisionedWorkspace, provision_workspace
from bbhost.workspace.repository import discover_repository
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import commit_all, git_text, run_git
from tests.integration.workspace.world import World


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> World:
    run_git(repo, "branch", "topic")
    return World(tmp_path / "data", repo)


async def switch(
    world: World,
    checkout: Checkout,
    transcript: Transcript | None = None,
    path: Path | None = None,
) -> ProvisionedWorkspace:
    spec = UnmanagedSpec(str(path or world.source), checkout)
    return await provision_workspace(world.tools, "env", spec, transcript or Transcript(), None)


@pytest.mark.slow
async def test_switching_to_a_branch(world: World) -> None:
    transcript = Transcript()
    made = await switch(world, ExistingBranchCheckout("topic"), transcript)
    assert made.discovered.branch_name == "topic"
    assert git_text(world.source, "rev-parse", "--abbrev-ref", "HEAD") == "topic"
    assert [(e.key, e.status, e.text) for e in transcript.entries[:4]] == [
        ("git-checkout-waiting", "started", "Waiting to switch to branch topic"),
        ("git-checkout-waiting", "completed", "Ready to switch to branch topic"),
        ("git-checkout-started", "started", "Switching to branch topic"),
        ("git-checkout-completed", "completed", "Switched to branch topic"),
    ]
    assert [e.key for e in transcript.entries[4:]] == ["workspace-path", "workspace-branch"]


@pytest.mark.slow
async def test_making_or_resetting_a_branch(world: World) -> None:
    newer = commit_all(world.source, "second")
    await switch(world, NewBranchCheckout("fresh", "main"))
    assert git_text(world.source, "rev-parse", "fresh") == newer
    await switch(world, NewBranchCheckout("topic", "main"))
    assert git_text(world.source, "rev-parse", "topic") == newer


async def test_already_there_is_a_success_whatever_else(world: World, tmp_path: Path) -> None:
    """Dirty or unborn: nothing is to be done, so nothing can be lost."""
    (world.source / "dirty").write_text("x")
    transcript = Transcript()
    await switch(world, NewBranchCheckout("main", "topic"), transcript)
    assert "Already on branch main" in [entry.text for entry in transcript.entries]
    empty = tmp_path / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q", "-b", "trunk")
    made = await switch(world, ExistingBranchCheckout("trunk"), path=empty)
    assert made.discovered.branch_name == "trunk"


@pytest.mark.parametrize(
    "code",
    [
        "path_not_found",
        "not_git_repo",
        "checkout_detached",
        "checkout_unborn",
        "checkout_missing_branch",
        "checkout_conflicts",
        "checkout_in_progress_operation",
        "checkout_dirty",
    ],
)
@pytest.mark.slow
async def test_refusals(world: World, tmp_path: Path, code: str) -> None:
    """Each by its code, with the checkout as it was and a failed transcript."""
    path = world.source
    name = "topic"
    match code:
        case "path_not_found":
            path = tmp_path / "nowhere"
        case "not_git_repo":
            path = tmp_path / "plain"
            path.mkdir()
        case "checkout_detached":
            run_git(path, "checkout", "-q", "--detach")
        case "checkout_unborn":
            run_git(path, "switch", "-q", "--orphan", "fresh")
        case "checkout_missing_branch":
            name = "nowhere"
        case "checkout_conflicts" | "checkout_in_progress_operation":
            run_git(path, "switch", "-q", "topic")
            (path / "a.txt").write_text("topic\n")
            commit_all(path, "topic")
            run_git(path, "switch", "-q", "main")
            if code == "checkout_conflicts":
                (path / "a.txt").write_text("main\n")
                commit_all(path, "main")
            run_git(path, "merge", "--no-ff", "--no-commit", "topic", check=False)
        case "checkout_dirty":
            (path / "untracked").write_text("x")
    transcript = Transcript()
    with pytest.raises(BbhostError) as caught:
        await switch(world, ExistingBranchCheckout(name), transcript, path)
    assert caught.value.code == code
    assert transcript.entries[-1].key == "git-checkout-failed"
    assert transcript.entries[-1].status == "failed"


@pytest.mark.slow
async def test_a_missing_base_is_gits_own_error(world: World) -> None:
    transcript = Transcript()
    with pytest.raises(GitCommandError):
        await switch(world, NewBranchCheckout("fresh", "nowhere"), transcript)
    assert transcript.entries[-1].text == "Failed to create branch fresh"


@pytest.mark.slow
async def test_switches_of_one_checkout_wait_for_each_other(world: World) -> None:
    repository = discover_repository(world.source)
    assert repository is not None
    waiting = trio.Event()
    transcript = Transcript(lambda entry: waiting.set())
    with trio.fail_after(20):
        async with (
            trio.open_nursery() as nursery,
            world.tools.locks.checkout(repository.git_dir),
        ):
            nursery.start_soon(switch, world, ExistingBranchCheckout("topic"), transcript)
            await waiting.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert [entry.status for entry in transcript.entries] == ["started"]
            assert git_text(world.source, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git_text(world.source, "rev-parse", "--abbrev-ref", "HEAD") == "topic"
