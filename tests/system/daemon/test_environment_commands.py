"""``environment.provision`` and ``environment.destroy`` against the daemon process: results and codes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    context_of,
    git,
    git_fails,
    make_repository,
    refuse,
    run_daemon_process,
    running_commands,
    succeed,
    unmanaged_context,
    unmanaged_spec,
    worktree_spec,
)

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "data" / "wire_examples.jsonl"


def keys_of(result: dict[str, Any]) -> list[str]:
    return [entry["key"] for entry in result["transcript"]]


def add_setup_script(repo: Path, text: str) -> None:
    (repo / ".bb-env-setup.sh").write_text(text)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")


async def test_managed_worktrees(server: StockServer, data_dir: Path, repo: Path) -> None:
    """A worktree is made with its transcript, joined, reused, refused, rolled back."""
    with trio.fail_after(120):
        async with run_daemon_process(server, data_dir):
            await _made_and_reused(server, data_dir, repo)
            await _refused(server, data_dir, repo)
            await _set_up(server, data_dir, repo)


async def _made_and_reused(server: StockServer, data_dir: Path, repo: Path) -> None:
    server.environments["env_a"] = "ready"
    made = await succeed(server, worktree_spec(data_dir, "env_a", repo))
    path = Path(context_of(data_dir, "env_a", repo)["workspacePath"])
    assert {name: made[name] for name in made if name != "transcript"} == {
        "path": str(path),
        "isGitRepo": True,
        "isWorktree": True,
        "branchName": "bb/env_a",
        "defaultBranch": "main",
    }
    keys = keys_of(made)
    assert keys[:2] == ["git-worktree-started", "git-worktree-command"]
    assert [key for key in keys if "output" not in key][2:] == [
        "git-worktree-completed",
        "workspace-target",
        "workspace-branch",
    ]
    assert made["transcript"][-1]["metadata"]["branchName"] == "bb/env_a"
    started = made["transcript"][0]
    completed = next(one for one in made["transcript"] if one["key"] == "git-worktree-completed")
    assert started["status"] == "started"
    assert completed["startedAt"] == started["startedAt"]
    assert completed["metadata"]["durationMs"] >= 0

    # Loaded: its properties, an empty transcript, and nothing is made.
    again = await succeed(server, worktree_spec(data_dir, "env_a", repo))
    assert again == {**made, "transcript": []}
    # Another id on the same path and branch reuses it as it is, without any set-up.
    (path / "mine.txt").write_text("kept")
    target = {"targetPath": str(path), "branchName": "bb/env_a"}
    reused = await succeed(server, worktree_spec(data_dir, "env_b", repo, **target))
    assert reused["branchName"] == "bb/env_a"
    assert "setup-started" not in keys_of(reused)
    assert (path / "mine.txt").read_text() == "kept"
    # On another branch it is somebody else's.
    await refuse(
        server, worktree_spec(data_dir, "env_c", repo, targetPath=str(path)), "path_exists"
    )
    # An existing branch is reset to the base.
    git(repo, "branch", "bb/env_d", "main")
    git(repo, "commit", "-q", "--allow-empty", "-m", "second")
    made = await succeed(server, worktree_spec(data_dir, "env_d", repo, baseBranch="main"))
    assert git(Path(made["path"]), "rev-parse", "HEAD") == git(repo, "rev-parse", "main")


async def _refused(server: StockServer, data_dir: Path, repo: Path) -> None:
    plain = data_dir.parent / "plain"
    plain.mkdir()
    empty = make_repository(data_dir.parent / "empty", {})
    spec = worktree_spec(data_dir, "env_e", repo)
    target = Path(spec["targetPath"])
    await refuse(server, {**spec, "sourcePath": str(plain)}, "not_git_repo")
    await refuse(server, {**spec, "sourcePath": str(plain / "gone")}, "path_not_found")
    await refuse(server, {**spec, "sourcePath": str(empty)}, "missing_default_branch")
    message = await refuse(server, {**spec, "baseBranch": "nowhere"}, "git_command_failed")
    assert message.startswith("git worktree add")
    assert "nowhere" in message
    for branch in ("-x", "a..b", "HEAD", "a b", ""):
        await refuse(server, {**spec, "branchName": branch}, "invalid_command")
    assert not target.parent.exists()  # rolled back, the parent included
    target.mkdir(parents=True)
    (target / "user.txt").write_text("kept")
    await refuse(server, spec, "path_exists")
    assert (target / "user.txt").read_text() == "kept"
    # A failed provisioning is no obstacle for the next one.
    (target / "user.txt").unlink()
    target.rmdir()
    await succeed(server, spec)


async def _set_up(server: StockServer, data_dir: Path, repo: Path) -> None:
    add_setup_script(
        repo, "printf 'a\\rb\\n\\nlast'; echo $BB_X >&2; test ! -t 0; cat; pwd > cwd\n"
    )
    made = await succeed(server, worktree_spec(data_dir, "env_s", repo))
    entries = {entry["key"]: entry for entry in made["transcript"]}
    assert entries["setup-command"]["text"] == "env bash .bb-env-setup.sh"
    assert [entry["text"] for key, entry in entries.items() if key.startswith("setup-output")] == [
        "b",
        "last",
    ]
    assert entries["setup-completed"]["status"] == "completed"
    assert (Path(made["path"]) / "cwd").read_text().strip() == made["path"]

    add_setup_script(repo, "touch made; exit 3\n")
    spec = worktree_spec(data_dir, "env_t", repo)
    await refuse(server, spec, "setup_script_failed")
    add_setup_script(repo, "(trap '' HUP TERM; sleep 301) & sleep 301\n")
    await refuse(server, {**spec, "setupTimeoutMs": 300}, "setup_script_failed")
    assert not Path(spec["targetPath"]).parent.exists()
    assert "env_t" not in git(repo, "worktree", "list")
    assert "bb/env_t" in git(repo, "branch", "--list", "bb/env_t")  # the branch stays
    assert b"sleep\x00301\x00" not in running_commands()


def outline(transcript: list[dict[str, Any]], *places: str) -> list[tuple[Any, ...]]:
    """What people see of a transcript, without what differs from one to the next."""

    def told(text: str) -> str:
        for number, place in enumerate(places):
            text = text.replace(place, f"<{number}>")
        return re.sub(r"\b[0-9a-f]{7}\b", "<sha>", text)

    return [
        (one["type"], one["key"], told(one["text"]), one.get("status"), sorted(one))
        for one in transcript
    ]


async def test_a_transcript_is_the_recorded_one(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Key by key and text by text what the original daemon wrote for the same set-up script."""
    with EXAMPLES.open() as lines:
        kind = ["result", "environment.provision", "ok"]
        recorded = next(
            one["example"] for line in lines if (one := json.loads(line))["kind"] == kind
        )
    result = recorded["result"]
    wanted = outline(result["transcript"], result["path"], result["branchName"])
    add_setup_script(
        repo, "echo setup cwd=$PWD; printf 'progress 1\\rprogress 2\\n'; echo to stderr >&2\n"
    )
    git(repo, "commit", "-q", "--amend", "-m", "initial")
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            made = await succeed(server, worktree_spec(data_dir, "env_one", repo))
            assert outline(made["transcript"], made["path"], made["branchName"]) == wanted
            steps = {one["key"]: one for one in made["transcript"]}
            for begun, ended in (
                ("git-worktree-started", "git-worktree-completed"),
                ("setup-started", "setup-completed"),
            ):
                assert steps[ended]["startedAt"] == steps[begun]["startedAt"]
            head = git(Path(made["path"]), "rev-parse", "HEAD")
            branch = {"branchName": "bb/env_one", "sha": head}
            assert steps["workspace-branch"]["metadata"] == branch


async def test_transcripts_of_failures(server: StockServer, data_dir: Path, repo: Path) -> None:
    """The step that failed is told last, with the time at which it began."""
    add_setup_script(repo, "echo trying; exit 3\n")
    git(repo, "checkout", "-q", "--detach")
    server.threads["thr_1"] = "env_one"
    initiator = {"threadId": "thr_1", "provisioningId": "prov_1"}
    checkout = {"kind": "existing", "name": "main"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            for spec, begun, failed in (
                (
                    worktree_spec(data_dir, "env_one", repo, baseBranch="nowhere"),
                    "git-worktree-started",
                    "git-worktree-failed",
                ),
                (
                    worktree_spec(data_dir, "env_two", repo, baseBranch="main"),
                    "setup-started",
                    "setup-failed",
                ),
                (
                    unmanaged_spec("env_three", repo, checkout=checkout),
                    "git-checkout-waiting",
                    "git-checkout-failed",
                ),
            ):
                server.events.clear()
                assert not (await server.run_command({**spec, "initiator": initiator}))["ok"]
                entries = [one["event"]["entries"][0] for one in server.events]
                first = next(one for one in entries if one["key"] == begun)
                assert (entries[-1]["key"], entries[-1]["status"]) == (failed, "failed")
                assert entries[-1]["startedAt"] == first["startedAt"]
                assert entries[-1]["metadata"]["durationMs"] >= 0


async def test_initiated_provisioning_streams_its_transcript(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """With an initiator each entry is an event, all of them stored before the result, also on failure."""
    server.threads["thr_1"] = "env_i"
    initiator = {"threadId": "thr_1", "provisioningId": "prov_1"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            for environment_id, more in (("env_i", {}), ("env_j", {"baseBranch": "nowhere"})):
                server.events.clear()
                spec = worktree_spec(data_dir, environment_id, repo, initiator=initiator, **more)
                report = await server.run_command(spec)
                assert report["ok"] is not bool(more)
                events = [envelope["event"] for envelope in server.events]
                assert {event["type"] for event in events} == {"system/thread-provisioning"}
                assert {event["status"] for event in events} == {"active"}
                assert {event["environmentId"] for event in events} == {environment_id}
                streamed = [entry for event in events for entry in event["entries"]]
                assert len(streamed) == len(events)
                if report["ok"]:
                    assert streamed == report["result"]["transcript"]
                else:
                    assert streamed[-1]["key"] == "git-worktree-failed"


async def test_personal_workspaces(server: StockServer, data_dir: Path) -> None:
    """Only the directory named after the environment; deleted whole by destroy."""
    root = data_dir / "personal-workspaces"
    base = {
        "type": "environment.provision",
        "initiator": None,
        "workspaceProvisionType": "personal",
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            spec = {**base, "environmentId": "env_p", "targetPath": str(root / "env_p")}
            made = await succeed(server, spec)
            assert made["isGitRepo"] is made["isWorktree"] is False
            assert made["branchName"] is made["defaultBranch"] is None
            for environment_id, target in (
                ("env_q", str(root / "env_p")),
                ("env_q", str(root / "env_q" / "below")),
                ("env_q", "/tmp"),
                ("..", str(root / "..")),
                ("a/b", str(root / "a/b")),
            ):
                bad = {**base, "environmentId": environment_id, "targetPath": target}
                await refuse(server, bad, "invalid_personal_workspace_path")
            (root / "env_p" / "deep" / "er").mkdir(parents=True)
            (root / "env_p" / "deep" / "er" / "file").write_text("x")
            context = {"workspacePath": str(root / "env_p"), "workspaceProvisionType": "personal"}
            status = {"type": "workspace.status", "environmentId": "env_p"}
            await refuse(server, {**status, "workspaceContext": context}, "not_git_repo")
            destroy = {"type": "environment.destroy", "environmentId": "env_p"}
            assert await succeed(server, {**destroy, "workspaceContext": context}) == {}
            assert not (root / "env_p").exists()


async def test_unmanaged_checkouts(server: StockServer, data_dir: Path, tmp_path: Path) -> None:
    """The branch is switched only where nothing can be lost; every refusal has its code."""
    repo = make_repository(tmp_path / "own")
    git(repo, "branch", "other")
    plain = tmp_path / "plain"
    plain.mkdir()
    existing = {"kind": "existing", "name": "other"}
    server.environments["env_u"] = "ready"
    with trio.fail_after(120):
        async with run_daemon_process(server, data_dir):
            made = await succeed(server, unmanaged_spec("env_u", repo))
            assert (made["isWorktree"], made["branchName"]) == (False, "main")
            assert keys_of(made) == ["workspace-path", "workspace-branch"]
            again = await succeed(server, unmanaged_spec("env_u", repo, checkout=existing))
            assert (again["branchName"], again["transcript"]) == ("other", [])
            await server.wait(
                lambda: (
                    {("env_u", "work-status-changed"), ("env_u", "git-refs-changed")}
                    <= set(server.changes)
                )
            )
            new = {"kind": "new", "name": "fresh", "baseBranch": "main"}
            switched = await succeed(server, unmanaged_spec("env_v", repo, checkout=new))
            assert switched["branchName"] == "fresh"
            assert keys_of(switched)[:4] == [
                "git-checkout-waiting",
                "git-checkout-waiting",
                "git-checkout-started",
                "git-checkout-completed",
            ]
            await refuse(server, unmanaged_spec("env_u", plain), "command_failed")
            gone = unmanaged_spec("env_w", plain / "gone")
            await refuse(server, gone, "path_not_found")
            spec = unmanaged_spec("env_w", plain, checkout=existing)
            await refuse(server, spec, "not_git_repo")
            await _checkout_refusals(server, tmp_path)
            # Destroying never touches the user's own files.
            destroy = {"type": "environment.destroy", "environmentId": "env_u"}
            await succeed(server, {**destroy, "workspaceContext": unmanaged_context(repo)})
            assert (repo / "file.txt").read_text() == "one\n"


async def _checkout_refusals(server: StockServer, tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        repo = make_repository(tmp_path / name)
        git(repo, "checkout", "-qb", "other")
        (repo / "file.txt").write_text("other\n")
        git(repo, "commit", "-qam", "other")
        git(repo, "checkout", "-q", "main")
        (repo / "file.txt").write_text("main\n")
        git(repo, "commit", "-qam", "main")
        return repo

    async def refused(repo: Path, code: str, name: str = "other") -> None:
        head = (repo / ".git" / "HEAD").read_text()
        checkout = {"kind": "existing", "name": name}
        await refuse(server, unmanaged_spec(f"env_{code}", repo, checkout=checkout), code)
        assert (repo / ".git" / "HEAD").read_text() == head

    repo = fresh("dirty")
    await refused(repo, "checkout_missing_branch", "nowhere")
    (repo / "new.txt").write_text("new")
    await refused(repo, "checkout_dirty")
    (repo / "new.txt").unlink()
    git(repo, "checkout", "-q", "--detach")
    await refused(repo, "checkout_detached")
    await refused(make_repository(tmp_path / "unborn", {}), "checkout_unborn")
    unborn = unmanaged_spec("env_same", tmp_path / "unborn")
    made = await succeed(server, {**unborn, "checkout": {"kind": "existing", "name": "main"}})
    # Where there is no branch yet there is no default branch either: null, not an empty name.
    assert (made["branchName"], made["defaultBranch"]) == ("main", None)
    detached = await succeed(server, unmanaged_spec("env_detached", repo))
    assert (detached["branchName"], detached["defaultBranch"]) == (None, "main")
    assert keys_of(detached) == ["workspace-path"]
    repo = fresh("merging")
    git_fails(repo, "merge", "other")
    await refused(repo, "checkout_conflicts")
    (repo / "file.txt").write_text("both\n")
    git(repo, "add", "-A")
    await refused(repo, "checkout_in_progress_operation")


async def test_destroy(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Gone with its parent, the branch kept; again, missing and unknown are successes."""
    context = context_of(data_dir, "env_one", repo)
    path = Path(context["workspacePath"])
    destroy = {
        "type": "environment.destroy",
        "environmentId": "env_one",
        "workspaceContext": context,
    }
    status = {**destroy, "type": "workspace.status"}
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            # Never seen and nothing on disk.
            unknown = {
                **destroy,
                "environmentId": "env_never",
                "workspaceContext": context_of(data_dir, "env_never", repo),
            }
            assert await succeed(server, unknown) == {}
            await succeed(server, worktree_spec(data_dir, "env_one", repo))
            (path / "dirty.txt").write_text("x")
            assert await succeed(server, destroy) == {}
            assert not path.parent.exists()
            assert "env_one" not in git(repo, "worktree", "list")
            assert git(repo, "branch", "--list", "bb/env_one")
            assert await succeed(server, destroy) == {}
            await refuse(server, status, "environment_destroyed")
            # Provisioned again: a new life under the same id.
            await succeed(server, worktree_spec(data_dir, "env_one", repo))
            assert (await succeed(server, status))["workspaceStatus"]["workingTree"]["state"]
            # Its files vanish by other hands: still a success, and the parent goes too.
            git(repo, "worktree", "remove", "--force", str(path))
            assert await succeed(server, destroy) == {}
            assert not path.parent.exists()
            # A managed worktree of an earlier daemon without any record here is removed as well.
            other = context_of(data_dir, "env_two", repo)
            Path(other["workspacePath"]).parent.mkdir(parents=True)
            git(repo, "worktree", "add", "-qb", "bb/env_two", other["workspacePath"])
            await succeed(
                server, {**destroy, "environmentId": "env_two", "workspaceContext": other}
            )
            assert not Path(other["workspacePath"]).parent.exists()
            assert "env_two" not in git(repo, "worktree", "list")
