"""What a command is answered with when it cannot be done: codes that several commands have, and rare ones."""

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
    succeed,
    unmanaged_context,
    unmanaged_spec,
    worktree_spec,
    wrapped_git,
)
from tests.system.daemon.threads import Thread, write_config

pytestmark = pytest.mark.slow
OWN = "env_own"


def about(path: Path, environment_id: str = OWN) -> dict[str, Any]:
    """The fields that say which workspace a command is about."""
    return {"environmentId": environment_id, "workspaceContext": unmanaged_context(path)}


def workspace_commands(path: Path, environment_id: str = OWN) -> list[dict[str, Any]]:
    """Every ``workspace.*`` command."""
    own = about(path, environment_id)
    limits = {"maxDiffBytes": 1000, "maxFileListBytes": 1000}
    return [
        {"type": "workspace.status", **own},
        {"type": "workspace.diff", **own, **limits, "target": {"type": "uncommitted"}},
        {"type": "workspace.commit", **own, "message": "x"},
        {"type": "workspace.squash_merge", **own, "targetBranch": "main", "commitMessage": "x"},
    ]


async def test_places_that_are_not_there_or_no_repository(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """Every command that enters an environment says which of the two it is, and makes nothing."""
    gone, plain = tmp_path / "gone", tmp_path / "plain"
    plain.mkdir()
    thread = Thread(server, gone, environment_id="env_gone")
    archive = {
        "workspaceContext": unmanaged_context(gone),
        "providerId": "codex",
        "providerThreadId": "p",
    }
    environ = write_config(tmp_path / "config.toml")
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=environ) as daemon:
            for command in (
                *workspace_commands(gone, "env_gone"),
                thread.start_command("x"),
                thread.submit_command("x", resumeContext=resume_context(thread)),
                thread.command("thread.archive", **archive),
            ):
                assert str(gone) in await refuse(server, command, "path_not_found")
            assert not gone.exists()
            for command in workspace_commands(Path("/no\0path"), "env_gone"):
                await refuse(server, command, "invalid_path")
            for command in workspace_commands(plain):
                await refuse(server, command, "not_git_repo")
            await succeed(server, {"type": "environment.destroy", **about(plain)})
            for command in workspace_commands(plain):
                await refuse(server, command, "environment_destroyed")
            assert plain.is_dir()
            storage = thread.start_command("x", threadStoragePath=str(tmp_path / "elsewhere"))
            await refuse(server, {**storage, **about(tmp_path, "env_tmp")}, "invalid_path")
            assert not (tmp_path / "elsewhere").exists()
            listed = (await daemon.control("GET", "/status"))["environmentList"]
            assert "env_gone" not in [one["id"] for one in listed]


def resume_context(thread: Thread) -> dict[str, Any]:
    """The resume context of a thread that an earlier daemon had."""
    command = thread.submit_command("x")
    return {**command["resumeContext"], "providerThreadId": "thr_1"}


async def test_a_host_without_git(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """Commands that need git say that it is missing; those that do not are served."""
    tools = tmp_path / "tools"
    tools.mkdir()
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ={"PATH": str(tools)}):
            for command in (
                *workspace_commands(repo),
                worktree_spec(data_dir, "env_new", repo),
                {"type": "host.list_branches", "path": str(repo), "limit": 10},
                {
                    "type": "host.read_file",
                    "path": str(repo / "d0" / "f0.txt"),
                    "rootPath": str(repo),
                    "ref": "HEAD",
                },
            ):
                await refuse(server, command, "missing_executable")
            assert not (data_dir / "worktrees" / "env_new").exists()
            files = {"type": "host.list_files", "path": str(repo), "limit": 100}
            assert len((await succeed(server, files))["files"]) == 20


async def test_a_checkout_in_every_state(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """What is told of HEAD and of an operation under way, and what a switch says to it."""
    listed = {"type": "host.list_branches", "limit": 10}
    existing = {"kind": "existing", "name": "other"}

    async def look(path: Path) -> Any:
        return await succeed(server, {**listed, "path": str(path)})

    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            unborn = make_repository(tmp_path / "unborn", {})
            found = await look(unborn)
            assert found["checkout"] == {"kind": "unborn", "branchName": "main"}
            assert (found["branches"], found["defaultBranch"]) == ([], None)

            repo = make_repository(tmp_path / "repo")
            git(repo, "checkout", "-qb", "other")
            (repo / "file.txt").write_text("other\n")
            git(repo, "commit", "-qam", "other")
            git(repo, "checkout", "-q", "main")
            (repo / "file.txt").write_text("main\n")
            git(repo, "commit", "-qam", "main")
            for arguments, kind in (
                (("merge", "other"), "merge"),
                (("cherry-pick", "other"), "cherry-pick"),
                (("revert", "other"), "revert"),
                (("rebase", "other"), "rebase"),
            ):
                git_fails(repo, *arguments)
                found = await look(repo)
                assert found["operation"] == {"kind": kind, "hasConflicts": True}
                assert found["hasUncommittedChanges"] is True
                spec = unmanaged_spec(f"env_{kind}", repo, checkout=existing)
                code = "checkout_detached" if kind == "rebase" else "checkout_conflicts"
                await refuse(server, spec, code)
                git(repo, "add", "-A")
                found = await look(repo)
                assert found["operation"] == {"kind": kind, "hasConflicts": False}
                if kind != "rebase":
                    await refuse(server, spec, "checkout_in_progress_operation")
                git(repo, kind, "--abort")

            # No name and no commit that anybody could read.
            head = repo / ".git" / "HEAD"
            head.write_text(f"{git(repo, 'rev-parse', 'HEAD')} and more\n")
            spec = unmanaged_spec("env_unknown", repo, checkout=existing)
            await refuse(server, spec, "checkout_unknown")
            assert head.read_text().endswith(" and more\n")


async def test_a_worktree_that_somebody_has_locked(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """It is not destroyed, stays as it was, and goes when it is unlocked."""
    server.environments["env_one"] = "ready"
    spec = worktree_spec(data_dir, "env_one", repo)
    context = context_of(data_dir, "env_one", repo)
    named = {"environmentId": "env_one", "workspaceContext": context}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            await succeed(server, spec)
            git(repo, "worktree", "lock", spec["targetPath"])
            told = await refuse(
                server, {"type": "environment.destroy", **named}, "worktree_locked"
            )
            assert "git worktree unlock" in told
            await succeed(server, {"type": "workspace.status", **named})
            git(repo, "worktree", "unlock", spec["targetPath"])
            await succeed(server, {"type": "environment.destroy", **named})
            assert not Path(spec["targetPath"]).exists()


async def test_a_checkout_that_is_in_use(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Whoever waits too long for another operation on it is told so; the other is not harmed."""
    go = data_dir.parent / "go"
    begun = data_dir.parent / "begun"
    waits = (
        f'for a in "$@"; do [ "$a" = add ] && touch {begun} && '
        f"while [ ! -e {go} ]; do sleep 0.1; done; done"
    )
    environ = wrapped_git(data_dir.parent / "bin", waits)
    (repo / "new.txt").write_text("x")
    first = workspace_commands(repo, "env_first")[2]
    second = workspace_commands(repo, "env_second")[2]
    server.redelivery_seconds = 60.0
    server.environments |= dict.fromkeys(("env_first", "env_second", "env_third"), "ready")
    git(repo, "branch", "other")
    switch = unmanaged_spec("env_third", repo, checkout={"kind": "existing", "name": "other"})
    with trio.fail_after(60):
        async with run_daemon_process(
            server, data_dir, "--lock-seconds", "0.5", environ=environ
        ) as daemon:
            row = await server.queue(first)
            await daemon.poll(begun.exists)
            for command in (second, switch):
                told = await refuse(server, command, "workspace_busy")
                assert "try again" in told
            assert not row.settled.is_set()
            go.touch()
            assert (await server.wait_result(row))["ok"]
            # It was refused for that once only.
            await refuse(server, second, "git_command_failed")  # nothing is left to commit


async def test_a_temporary_worktree_that_stays(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """A merge that was published and could not be cleaned up says so; the next start cleans up."""
    server.environments["env_one"] = "ready"
    spec = worktree_spec(data_dir, "env_one", repo)
    merge = {
        "type": "workspace.squash_merge",
        "environmentId": "env_one",
        "workspaceContext": context_of(data_dir, "env_one", repo),
        "targetBranch": "main",
        "commitMessage": "squashed",
    }
    fault = {"BBHOST_FAULT": "raise:merge.before_cleanup"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=fault) as daemon:
            path = Path((await succeed(server, spec))["path"])
            # What failed first is what is told.
            assert "Nothing to merge" in await refuse(server, merge, "git_command_failed")
            (path / "new.txt").write_text("x")
            git(path, "add", "-A")
            git(path, "commit", "-qm", "new")
            await refuse(server, merge, "worktree_cleanup_failed")
            assert git(repo, "log", "-1", "--format=%s", "main") == "squashed"
            assert len(git(repo, "worktree", "list").splitlines()) == 4
            await daemon.terminate()
        async with run_daemon_process(server, data_dir):
            assert len(git(repo, "worktree", "list").splitlines()) == 2
