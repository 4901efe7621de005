"""Making workspaces: completely, or not at all."""

import os
import time
from pathlib import Path

import pytest
import trio

from bbhost.domain.workspace import (
    AttachSpec,
    DiscoveredWorkspace,
    PersonalSpec,
    UnmanagedSpec,
    WorkspaceKind,
)
from bbhost.errors import (
    BbhostError,
    GitCommandError,
    InvalidPathError,
    InvalidPersonalPathError,
    MissingDefaultBranchError,
    NotGitRepoError,
    PathExistsError,
    PathNotFoundError,
    SetupScriptError,
)
from bbhost.toolkit import faults
from bbhost.workspace.provision import provision_workspace
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git
from tests.integration.workspace.world import World


@pytest.fixture
def world(tmp_path: Path, repo: Path) -> World:
    return World(tmp_path / "data", repo)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_worktree_is_made_on_its_branch(world: World) -> None:
    """The result says what the server needs to know, and the files are there."""
    made = await world.provision()
    path = world.target()
    assert made.created
    assert made.discovered == DiscoveredWorkspace(str(path), True, True, "bb/env_1", "main")
    assert (path / "src/b.txt").read_text() == "one\n"
    assert git_text(path, "status", "--porcelain", "--branch") == "## bb/env_1"


async def test_the_transcript_is_the_contracts(world: World) -> None:
    """Keys, order, texts, start times and metadata are as recorded from the original."""
    (world.source / ".bb-env-setup.sh").write_text(
        "echo cwd=$PWD\nprintf '1%%\\r50%%\\rdone\\r\\n\\n'\necho to stderr >&2\nprintf partial\n"
    )
    sha = commit_all(world.source, "setup")
    seen = []
    transcript = Transcript(seen.append)
    await world.provision(transcript=transcript)
    path = world.target()
    assert [(e.type, e.key, e.text) for e in transcript.entries] == [
        ("step", "git-worktree-started", "Creating worktree"),
        ("output", "git-worktree-command", f"git worktree add -B bb/env_1 {path} main"),
        ("output", "git-worktree-output-1", f"HEAD is now at {sha[:7]} setup"),
        ("output", "git-worktree-output-2", "Preparing worktree (new branch 'bb/env_1')"),
        ("step", "git-worktree-completed", "Created worktree"),
        ("step", "workspace-target", f"Using workspace: {path}"),
        ("step", "setup-started", "Running .bb-env-setup.sh"),
        ("output", "setup-command", "env bash .bb-env-setup.sh"),
        ("output", "setup-output-1", f"cwd={path}"),
        ("output", "setup-output-2", "done"),
        ("output", "setup-output-3", "to stderr"),
        ("output", "setup-output-4", "partial"),
        ("step", "setup-completed", ".bb-env-setup.sh finished"),
        ("step", "workspace-branch", f"Using branch: bb/env_1 ({sha[:7]})"),
    ]
    assert seen == list(transcript.entries)
    by_key = {entry.key: entry for entry in transcript.entries}
    for step in ("git-worktree", "setup"):
        ended = by_key[f"{step}-completed"]
        assert ended.started_at == by_key[f"{step}-started"].started_at
        assert ended.metadata is not None
        assert isinstance(ended.metadata["durationMs"], int)
    assert by_key["workspace-branch"].metadata == {"branchName": "bb/env_1", "sha": sha}


@pytest.mark.slow
async def test_costs_two_processes_however_many_siblings(world: World) -> None:
    """One reads the branches and one makes the worktree; siblings add none."""
    for number in range(12):
        await world.provision(f"env_{number}")
    counts = dict(world.tools.git.statistics().processes)
    scans = counts.pop("config")
    assert counts == {"for-each-ref": 12, "worktree": 12}
    assert scans < 12, "the configuration is scanned again only while it is fresh"


async def test_hooks_of_the_repository_do_not_run(world: World) -> None:
    """A post-checkout hook would be somebody else's program."""
    hook = world.source / ".git/hooks/post-checkout"
    hook.write_text("#!/bin/sh\ntouch ../../../hook-ran ran\n")
    hook.chmod(0o755)
    run_git(world.source, "config", "core.hooksPath", str(hook.parent))
    await world.provision()
    assert not (world.target() / "ran").exists()


async def test_an_existing_branch_is_continued_without_a_base(world: World) -> None:
    """The commits of a branch may be nowhere else."""
    run_git(world.source, "checkout", "-q", "-b", "bb/env_1")
    work = commit_all(world.source, "work")
    run_git(world.source, "checkout", "-q", "main")
    await world.provision()
    assert git_text(world.target(), "rev-parse", "HEAD") == work


async def test_an_existing_branch_is_reset_to_a_base_that_was_named(world: World) -> None:
    run_git(world.source, "branch", "bb/env_1", "main")
    newer = commit_all(world.source, "second")
    await world.provision(base_branch="main")
    assert git_text(world.target(), "rev-parse", "HEAD") == newer


async def test_an_existing_worktree_is_reused_without_set_up(world: World) -> None:
    """Work in it stays, the set-up script does not run again, and nothing may roll it back."""
    (world.source / ".bb-env-setup.sh").write_text("echo x >> ran\n")
    commit_all(world.source, "setup")
    await world.provision()
    transcript = Transcript()
    (world.target() / "work").write_text("mine")
    again = await world.provision(transcript=transcript)
    assert not again.created
    assert (world.target() / "ran").read_text() == "x\n"
    assert [entry.key for entry in transcript.entries] == ["workspace-target", "workspace-branch"]


@pytest.mark.parametrize("what", ["file", "directory", "other branch", "other repository", "link"])
async def test_something_else_at_the_target_is_path_exists(
    world: World, tmp_path: Path, what: str
) -> None:
    """It is left exactly as it is."""
    target = world.target()
    target.parent.mkdir(parents=True)
    match what:
        case "file":
            target.write_text("x")
        case "directory":
            target.mkdir()
        case "other branch":
            run_git(world.source, "worktree", "add", "-q", "-b", "other", str(target))
        case "other repository":
            make_repository(target)
            run_git(target, "switch", "-q", "-c", "bb/env_1")
        case "link":
            elsewhere = tmp_path / "elsewhere"
            run_git(world.source, "worktree", "add", "-q", "-b", "bb/env_1", str(elsewhere))
            target.symlink_to(elsewhere)
    before = sorted(target.iterdir()) if target.is_dir() else target.read_text()
    with pytest.raises((PathExistsError, InvalidPathError)) as caught:
        await world.provision()
    assert caught.value.code == ("path_exists" if what != "link" else "invalid_path")
    assert before == (sorted(target.iterdir()) if target.is_dir() else target.read_text())


async def test_a_half_made_worktree_is_not_reused(world: World) -> None:
    """Killed before the files were checked out, it is on the right branch but empty."""
    await world.provision()
    (world.source / ".git/worktrees/repo/locked").write_text("initializing")
    with pytest.raises(PathExistsError):
        await world.provision()


async def test_a_target_outside_of_the_managed_root_is_refused(
    world: World, tmp_path: Path
) -> None:
    """What could not be removed is not made."""
    with pytest.raises(InvalidPathError):
        await world.provision(target_path=str(tmp_path / "elsewhere/repo"))
    (world.data / "worktrees").mkdir(parents=True)
    (world.data / "worktrees/env_1").symlink_to(tmp_path / "trap")
    (tmp_path / "trap").mkdir()
    with pytest.raises(InvalidPathError):
        await world.provision()
    assert not (tmp_path / "elsewhere").exists()
    assert not list((tmp_path / "trap").iterdir())


async def test_missing_sources(world: World, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(NotGitRepoError):
        await world.provision(source_path=str(plain))
    with pytest.raises(PathNotFoundError):
        await world.provision(source_path=str(tmp_path / "nowhere"))
    assert not world.data.exists()


async def test_a_missing_base_branch_leaves_nothing(world: World) -> None:
    transcript = Transcript()
    with pytest.raises(GitCommandError, match=r"(?s)^git worktree add .* failed: .*nowhere"):
        await world.provision(transcript=transcript, base_branch="nowhere")
    assert transcript.entries[-1].key == "git-worktree-failed"
    assert transcript.entries[-1].started_at == transcript.entries[0].started_at
    assert world.leftovers() == []


async def test_an_empty_repository_has_no_default_branch(world: World, tmp_path: Path) -> None:
    """HEAD is unborn there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q", "-b", "main")
    with pytest.raises(MissingDefaultBranchError):
        await world.provision(source_path=str(empty))


async def test_a_bare_repository_can_be_the_source(world: World, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "-q", "--bare", str(world.source), str(bare))
    made = await world.provision(source_path=str(bare))
    assert made.discovered.branch_name == "bb/env_1"
    assert made.discovered.default_branch == "main"
    assert (await world.remove()).removed
    assert git_text(bare, "worktree", "list").count("\n") == 0


async def test_a_detached_source_and_a_worktree_as_source(world: World, tmp_path: Path) -> None:
    run_git(world.source, "checkout", "-q", "--detach")
    await world.provision("env_1")
    made = await world.provision("env_2", source_path=str(world.target("env_1")))
    assert made.discovered.branch_name == "bb/env_2"


async def test_the_default_branch_may_exist_on_the_remote_only(
    world: World, tmp_path: Path
) -> None:
    """A clone whose default branch was never checked out is a source like any other."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", str(world.source), str(clone))
    run_git(clone, "switch", "-q", "-c", "topic")
    run_git(clone, "branch", "-D", "main")
    made = await world.provision(source_path=str(clone))
    assert made.discovered.default_branch == "main"
    assert (world.target() / "a.txt").exists()


async def test_without_any_other_branch_the_new_one_is_the_default(
    world: World, tmp_path: Path
) -> None:
    """It is what a listing would say a moment later."""
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "-q", str(world.source), str(clone))
    run_git(clone, "remote", "set-head", "origin", "--delete")
    run_git(clone, "checkout", "-q", "--detach")
    run_git(clone, "branch", "-D", "main")
    made = await world.provision(source_path=str(clone), base_branch="origin/main")
    assert made.discovered.default_branch == "bb/env_1"


@pytest.mark.parametrize(
    ("script", "branch"),
    [("git switch -q -c other", "other"), ("git checkout -q --detach", None)],
)
async def test_a_set_up_that_leaves_the_branch_is_described(
    world: World, script: str, branch: str | None
) -> None:
    """Without another process: what was read before the worktree was made, and a file."""
    (world.source / ".bb-env-setup.sh").write_text(script + "\n")
    commit_all(world.source, "set-up")
    transcript = Transcript()
    made = await world.provision(transcript=transcript)
    assert made.discovered.branch_name == branch
    assert made.discovered.default_branch == "main"
    assert world.tools.git.statistics().processes["for-each-ref"] == 1
    said = [entry.text for entry in transcript.entries if entry.key == "workspace-branch"]
    head = git_text(world.target(), "rev-parse", "--short=7", "HEAD")
    assert said == ([] if branch is None else [f"Using branch: {branch} ({head})"])


async def test_spaces_and_other_letters_in_paths(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "my répo", {"dir with space/fîle\nname": "x\n"})
    world = World(tmp_path / "dâta dir", source)
    made = await world.provision("env ü", branch_name="bb/ü")
    assert Path(made.discovered.path, "dir with space/fîle\nname").exists()
    await world.remove("env ü")
    assert world.leftovers() == []


async def test_submodules_are_left_alone(world: World, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    run_git(
        world.source,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(other),
        "sub",
    )
    commit_all(world.source, "submodule")
    await world.provision()
    assert list((world.target() / "sub").iterdir()) == []
    await world.remove()
    assert world.leftovers() == []


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$"])
async def test_a_failing_set_up_undoes_everything_but_the_branch(
    world: World, script: str
) -> None:
    (world.source / ".bb-env-setup.sh").write_text(f"echo trying\n{script}\n")
    commit_all(world.source, "setup")
    transcript = Transcript()
    with pytest.raises(SetupScriptError):
        await world.provision(transcript=transcript)
    assert [entry.key for entry in transcript.entries][-2:] == ["setup-output-1", "setup-failed"]
    assert world.leftovers() == []
    assert git_text(world.source, "branch", "--list", "bb/env_1")


@pytest.mark.slow
async def test_a_set_up_that_takes_too_long_is_killed_with_what_it_started(world: World) -> None:
    (world.source / ".bb-env-setup.sh").write_text(
        "trap '' TERM\nsleep 60 & echo pid $!\nwhile :; do sleep 0.1; done\n"
    )
    commit_all(world.source, "setup")
    transcript = Transcript()
    started = time.monotonic()
    with pytest.raises(SetupScriptError, match=r"longer than 0\.4 seconds"):
        await world.provision(transcript=transcript, setup_timeout_ms=400)
    assert time.monotonic() - started < 5
    assert world.leftovers() == []
    (line,) = [e.text for e in transcript.entries if e.key == "setup-output-1"]
    with trio.fail_after(5):
        while alive(int(line.split()[1])):  # noqa: ASYNC110 - not our child, so there is no event
            await trio.sleep(0.01)


async def test_cancelling_leaves_nothing(world: World, tmp_path: Path) -> None:
    """Whatever was being done: the set-up script is only the longest of it."""
    (world.source / ".bb-env-setup.sh").write_text("echo up; sleep 60\n")
    commit_all(world.source, "setup")
    with trio.fail_after(20), trio.CancelScope() as scope:
        await world.provision(
            transcript=Transcript(
                lambda entry: scope.cancel() if entry.key == "setup-output-1" else None
            )
        )
    assert scope.cancelled_caught
    assert world.leftovers() == []


@pytest.mark.parametrize("checkpoints", range(0, 60, 4))
async def test_cancelling_at_any_checkpoint_leaves_nothing(world: World, checkpoints: int) -> None:
    scope = trio.CancelScope()

    class Canceller(trio.abc.Instrument):
        left = checkpoints

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if task is mine:
                self.left -= 1
                if self.left == 0:
                    scope.cancel()

    mine = trio.lowlevel.current_task()
    canceller = Canceller()
    trio.lowlevel.add_instrument(canceller)
    try:
        with scope:
            await world.provision()
    finally:
        trio.lowlevel.remove_instrument(canceller)
    if scope.cancelled_caught:
        assert world.leftovers() == []
    else:
        assert git_text(world.target(), "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "point",
    [
        "provision.before_parent",
        "provision.parent_made",
        "provision.worktree_added",
        "provision.done",
    ],
)
async def test_a_full_disk_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setitem(faults._FAULTS, point, "raise")
    with pytest.raises(OSError, match="fault point"):
        await world.provision()
    assert world.leftovers() == []


async def test_a_target_that_cannot_be_made_is_an_error_of_the_system(world: World) -> None:
    """A file where the directory of the worktrees must be."""
    world.data.mkdir()
    (world.data / "worktrees").write_text("in the way")
    with pytest.raises(OSError) as caught:
        await world.provision()
    assert caught.value.errno
    assert (world.data / "worktrees").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_directory_is_an_error_of_the_system(world: World) -> None:
    root = world.data / "worktrees"
    root.mkdir(parents=True)
    root.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            await world.provision()
    finally:
        root.chmod(0o700)


@pytest.mark.slow
async def test_a_stale_registration_of_ours_is_cleared(world: World) -> None:
    """The files were deleted by hand: git still holds path and branch for the dead worktree."""
    await world.provision()
    run_git(world.source, "worktree", "list")
    trio_path = world.target()
    for path in sorted(trio_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    trio_path.rmdir()
    assert (await world.provision()).created
    await world.provision("env_2")
    (world.target("env_2")).rename(world.data / "gone")
    made = await world.provision("env_3", branch_name="bb/env_2")
    assert made.discovered.branch_name == "bb/env_2"


async def test_the_note_before_creating_precedes_everything(world: World) -> None:
    """What a rollback may remove depends on it, so it is awaited before the first directory."""
    found = []

    async def note() -> None:
        await trio.lowlevel.checkpoint()
        found.append(world.data.exists())

    spec = world.spec()
    await provision_workspace(world.tools, "env_1", spec, Transcript(), None, before_creating=note)
    await provision_workspace(world.tools, "env_1", spec, Transcript(), None, before_creating=note)
    assert found == [False], "and not at all where the workspace is there already"


async def test_unmanaged_directories_and_repositories(world: World, tmp_path: Path) -> None:
    transcript = Transcript()
    made = await provision_workspace(
        world.tools, "env", UnmanagedSpec(str(world.source)), transcript, None
    )
    assert made.discovered == DiscoveredWorkspace(str(world.source), True, False, "main", "main")
    assert [entry.key for entry in transcript.entries] == ["workspace-path", "workspace-branch"]
    assert transcript.entries[0].text == f"Using workspace: {world.source}"
    plain = tmp_path / "plain"
    plain.mkdir()
    made = await provision_workspace(
        world.tools, "env", UnmanagedSpec(str(plain)), Transcript(), None
    )
    assert made.discovered == DiscoveredWorkspace(str(plain), False, False, None, None)
    with pytest.raises(PathNotFoundError):
        await provision_workspace(
            world.tools, "env", UnmanagedSpec(str(tmp_path / "no")), Transcript(), None
        )


async def test_unborn_and_detached_checkouts_are_described(world: World, tmp_path: Path) -> None:
    run_git(world.source, "checkout", "-q", "--detach")
    made = await provision_workspace(
        world.tools, "env", UnmanagedSpec(str(world.source)), Transcript(), None
    )
    assert made.discovered.branch_name is None
    empty = tmp_path / "empty"
    empty.mkdir()
    run_git(empty, "init", "-q", "-b", "trunk")
    made = await provision_workspace(
        world.tools, "env", UnmanagedSpec(str(empty)), Transcript(), None
    )
    assert made.discovered == DiscoveredWorkspace(str(empty), True, False, "trunk", None)


async def test_a_personal_workspace_is_made_once(world: World) -> None:
    path = world.data / "personal-workspaces/env_p"
    spec = PersonalSpec(str(path))
    transcript = Transcript()
    made = await provision_workspace(world.tools, "env_p", spec, transcript, None)
    assert made.created
    assert made.discovered == DiscoveredWorkspace(str(path), False, False, None, None)
    (path / "kept").write_text("x")
    made = await provision_workspace(world.tools, "env_p", spec, transcript, None)
    assert not made.created
    assert (path / "kept").exists()


@pytest.mark.parametrize(
    ("environment_id", "target"),
    [
        ("env", "{data}/personal-workspaces/other"),
        ("env", "{data}/personal-workspaces/env/deeper"),
        ("env", "/somewhere/env"),
        ("..", "{data}"),
        (".", "{data}/personal-workspaces"),
        ("a/b", "{data}/personal-workspaces/a/b"),
        ("", "{data}/personal-workspaces"),
    ],
)
async def test_personal_paths_that_are_refused(
    world: World, environment_id: str, target: str
) -> None:
    spec = PersonalSpec(target.format(data=world.data))
    with pytest.raises(InvalidPersonalPathError):
        await provision_workspace(world.tools, environment_id, spec, Transcript(), None)
    assert not world.data.exists()


async def test_a_personal_path_that_is_a_link_is_refused(world: World, tmp_path: Path) -> None:
    root = world.data / "personal-workspaces"
    root.mkdir(parents=True)
    (root / "env").symlink_to(tmp_path)
    with pytest.raises(InvalidPersonalPathError):
        await provision_workspace(
            world.tools, "env", PersonalSpec(str(root / "env")), Transcript(), None
        )


@pytest.mark.parametrize("kind", WorkspaceKind)
async def test_attaching_makes_nothing(world: World, kind: WorkspaceKind) -> None:
    """A missing directory is a missing directory; what a status asks for is never made."""
    path = world.data / "worktrees/env/repo"
    with pytest.raises(BbhostError) as caught:
        await provision_workspace(
            world.tools, "env", AttachSpec(str(path), kind), Transcript(), None
        )
    assert caught.value.code == "path_not_found"
    assert not world.data.exists()
