"""``workspace.*`` against the daemon process: results, error codes and limits, with real git."""

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
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


class Workspace:
    """A provisioned worktree and the commands about it."""

    def __init__(self, server: StockServer, data_dir: Path, repo: Path) -> None:
        self.server, self.repo = server, repo
        self.context = context_of(data_dir, ONE, repo)
        self.path = Path(self.context["workspacePath"])
        server.environments[ONE] = "ready"

    def command(self, kind: str, **more: Any) -> dict[str, Any]:
        about = {"environmentId": ONE, "workspaceContext": self.context}
        return {"type": f"workspace.{kind}", **about, **more}

    async def status(self, **more: Any) -> Any:
        return (await succeed(self.server, self.command("status", **more)))["workspaceStatus"]

    async def diff(self, target: dict[str, str], diff: int = 10**6, files: int = 10**6) -> Any:
        limits = {"maxDiffBytes": diff, "maxFileListBytes": files}
        command = self.command("diff", target=target, **limits)
        return (await succeed(self.server, command))["diff"]

    def commit_file(self, name: str, content: str) -> str:
        (self.path / name).write_text(content)
        git(self.path, "add", "-A")
        git(self.path, "commit", "-qm", f"{name}")
        return git(self.path, "rev-parse", "HEAD")


async def test_status(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Every state and field of the status, the merge base, and the codes."""
    work = Workspace(server, data_dir, repo)
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            clean = await work.status()
            assert clean == {
                "workingTree": {
                    "hasUncommittedChanges": False,
                    "state": "clean",
                    "insertions": 0,
                    "deletions": 0,
                    "files": [],
                },
                "branch": {"currentBranch": f"bb/{ONE}", "defaultBranch": "main"},
                "mergeBase": None,
            }
            (work.path / "nëw file.txt").write_text("x\n")
            assert (await work.status())["workingTree"]["state"] == "untracked"
            (work.path / "d0" / "f0.txt").write_text("a\nb\n")
            git(work.path, "mv", "d0/f4.txt", "moved.txt")
            git(work.path, "rm", "-q", "d0/f8.txt")
            tree = (await work.status())["workingTree"]
            assert (tree["state"], tree["hasUncommittedChanges"]) == ("dirty_uncommitted", True)
            assert {file["path"]: file["status"] for file in tree["files"]} == {
                "d0/f0.txt": "M",
                "moved.txt": "R",
                "d0/f8.txt": "D",
                "nëw file.txt": "??",
            }
            assert (tree["insertions"], tree["deletions"]) == (2, 2)
            sha = work.commit_file("done.txt", "done\n")
            tree = (await work.status(mergeBaseBranch="main"))["workingTree"]
            assert tree["state"] == "committed_unmerged"
            (work.path / "d0" / "f0.txt").write_text("again\n")
            status = await work.status(mergeBaseBranch="main")
            assert status["workingTree"]["state"] == "dirty_and_committed_unmerged"
            base = status["mergeBase"]
            assert base["baseRef"] == git(repo, "rev-parse", "main")
            assert (base["aheadCount"], base["behindCount"]) == (1, 0)
            assert base["commits"][0]["sha"] == sha
            assert base["commits"][0]["authoredAt"] % 1000 == 0
            # Without a merge base asked for, unmerged commits are not known.
            assert (await work.status())["workingTree"]["state"] == "dirty_uncommitted"
            bad = work.command("status", mergeBaseBranch="nowhere")
            await refuse(server, bad, "git_command_failed")
            bad = work.command("status", mergeBaseBranch="--all")
            await refuse(server, bad, "invalid_command")
            await _contexts(server, data_dir)


async def _contexts(server: StockServer, data_dir: Path) -> None:
    """An id never seen is attached where its directory is, and refused where it is not."""
    plain = data_dir.parent / "plain"
    plain.mkdir()
    status = {"type": "workspace.status", "environmentId": "env_x"}
    gone = unmanaged_context(plain / "gone")
    await refuse(server, {**status, "workspaceContext": gone}, "path_not_found")
    managed = {**gone, "workspaceProvisionType": "managed-worktree"}
    await refuse(server, {**status, "workspaceContext": managed}, "path_not_found")
    assert not (plain / "gone").exists()
    there = {**status, "workspaceContext": unmanaged_context(plain)}
    await refuse(server, there, "not_git_repo")
    unborn = make_repository(data_dir.parent / "unborn", {})
    (unborn / "first.txt").write_text("x")
    command = {**status, "environmentId": "env_y", "workspaceContext": unmanaged_context(unborn)}
    found = (await succeed(server, command))["workspaceStatus"]
    assert found["workingTree"]["state"] == "untracked"
    assert found["branch"]["currentBranch"] == "main"


async def test_diff(server: StockServer, data_dir: Path, repo: Path) -> None:
    """All four targets, untracked files, limits in characters, and the codes."""
    work = Workspace(server, data_dir, repo)
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            empty = await work.diff({"type": "uncommitted"})
            assert empty == {
                "diff": "",
                "truncated": False,
                "shortstat": "",
                "files": "",
                "mergeBaseRef": None,
            }
            base = git(repo, "rev-parse", "main")
            sha = work.commit_file("done.txt", "done\n")
            (work.path / "d0" / "f0.txt").write_text("changed\n")
            (work.path / "new ü.txt").write_text("üüü\n")
            found = await work.diff({"type": "uncommitted"})
            assert "+changed" in found["diff"]
            assert "+üüü" in found["diff"]
            assert "done" not in found["diff"]
            shortstat = " 2 files changed, 2 insertions(+), 1 deletion(-)"
            assert found["shortstat"].strip() == shortstat.strip()
            assert 'A\t"new \\303\\274.txt"' in found["files"]
            assert found["mergeBaseRef"] is None
            everything = await work.diff({"type": "all", "mergeBaseBranch": "main"})
            assert "+done" in everything["diff"]
            assert "+üüü" in everything["diff"]
            assert everything["mergeBaseRef"] == base
            branch = await work.diff({"type": "branch_committed", "mergeBaseBranch": "main"})
            assert "+done" in branch["diff"]
            assert "changed" not in branch["diff"]
            assert branch["mergeBaseRef"] == base
            one = await work.diff({"type": "commit", "sha": sha[:10]})
            assert "+done" in one["diff"]
            assert one["files"].strip() == "A\tdone.txt"
            cut = await work.diff({"type": "uncommitted"}, 10, 5)
            assert (len(cut["diff"]), len(cut["files"]), cut["truncated"]) == (10, 5, True)
            assert cut["diff"] == found["diff"][:10]

            gone = {"type": "commit", "sha": "0" * 40}
            limits = {"maxDiffBytes": 100, "maxFileListBytes": 100}
            await refuse(server, work.command("diff", target=gone, **limits), "git_command_failed")
            for target in (
                {"type": "commit", "sha": "--output=x"},
                {"type": "other"},
            ):
                bad = work.command("diff", target=target, **limits)
                await refuse(server, bad, "invalid_command")
            option = {"type": "all", "mergeBaseBranch": "--all"}
            bad = work.command("diff", target=option, **limits)
            assert "usage" not in await refuse(server, bad, "git_command_failed")
            # No common history: empty, not a failure.
            git(work.repo, "checkout", "-q", "--orphan", "island")
            git(work.repo, "commit", "-qm", "island")
            island = await work.diff({"type": "branch_committed", "mergeBaseBranch": "island"})
            assert (island["diff"], island["mergeBaseRef"]) == ("", None)


async def test_commit(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Everything, hooks skipped; nothing to commit is a failure."""
    work = Workspace(server, data_dir, repo)
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            for name in ("pre-commit", "commit-msg", "post-commit"):
                hook = repo / ".git" / "hooks" / name
                hook.write_text(f"#!/bin/sh\ntouch {data_dir}/hook-ran\nexit 1\n")
                hook.chmod(0o755)
            await refuse(server, work.command("commit", message="none"), "git_command_failed")
            (work.path / "d0" / "f0.txt").write_text("changed\n")
            (work.path / "new.txt").write_text("new\n")
            (work.path / "d1" / "f1.txt").unlink()
            message = "subject – ü\n\nbody\n"
            made = await succeed(server, work.command("commit", message=message))
            assert made["commitSha"] == git(work.path, "rev-parse", "HEAD")
            assert made["commitSubject"] == "subject – ü"
            assert git(work.path, "status", "--porcelain") == ""
            assert not (data_dir / "hook-ran").exists()
            await refuse(server, work.command("commit", message=""), "invalid_command")
            (work.path / "more.txt").write_text("x")
            (repo / ".git" / "worktrees" / repo.name / "index.lock").touch()
            await refuse(server, work.command("commit", message="locked"), "git_command_failed")


async def test_squash_merge(server: StockServer, data_dir: Path, repo: Path) -> None:
    """One commit on a local branch, checked out or not; every refusal has its code and no trace."""
    work = Workspace(server, data_dir, repo)

    def merge(target: str = "main") -> dict[str, Any]:
        return work.command("squash_merge", targetBranch=target, commitMessage="squashed")

    with trio.fail_after(120):
        async with run_daemon_process(server, data_dir):
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await refuse(server, merge(), "git_command_failed")  # nothing to merge
            git(repo, "branch", "elsewhere")
            work.commit_file("a.txt", "a\n")
            work.commit_file("b.txt", "b\n")
            # Not checked out anywhere: the branch moves by itself.
            done = await succeed(server, merge("elsewhere"))
            assert done["merged"] is True
            assert done["commitSubject"] == "squashed"
            assert git(repo, "rev-parse", "elsewhere") == done["commitSha"]
            assert git(repo, "rev-list", "--count", "main..elsewhere") == "1"
            # Checked out and dirty, then clean.
            (repo / "d0" / "f0.txt").write_text("mine\n")
            await refuse(server, merge(), "dirty_target_branch")
            assert (repo / "d0" / "f0.txt").read_text() == "mine\n"
            git(repo, "checkout", "-q", "--", ".")
            (work.path / "unsaved.txt").write_text("not part of it")
            done = await succeed(server, merge())
            assert git(repo, "rev-parse", "main") == done["commitSha"]
            assert (repo / "a.txt").read_text() == "a\n"
            assert not (repo / "unsaved.txt").exists()
            (work.path / "unsaved.txt").unlink()
            await _merge_refusals(server, work, merge())
            # No temporary worktree is left, on disk or in git's books.
            assert len(git(repo, "worktree", "list").splitlines()) == 2


async def _merge_refusals(server: StockServer, work: Workspace, merge: dict[str, Any]) -> None:
    repo = work.repo
    await refuse(server, {**merge, "targetBranch": "nowhere"}, "branch_not_found")
    git(repo, "update-ref", "refs/remotes/origin/far", "main")
    await refuse(server, {**merge, "targetBranch": "far"}, "non_local_target_branch")
    await refuse(server, {**merge, "targetBranch": "origin/far"}, "non_local_target_branch")
    (repo / "a.txt").write_text("theirs\n")
    git(repo, "commit", "-qam", "theirs")
    work.commit_file("a.txt", "ours\n")
    before = git(repo, "rev-parse", "main")
    await refuse(server, merge, "git_command_failed")  # a conflict
    assert git(repo, "rev-parse", "main") == before
    git(work.path, "checkout", "-q", "--detach")
    await refuse(server, merge, "detached_head")
    git_fails(work.path, "merge", "main")
