"""A repository that arms everything git takes for a command, and every verb of the daemon that runs git.

``test_hardening`` has the reading verbs one key at a time; here the whole daemon makes, reads, changes,
merges, rescues and removes, with all keys and hooks armed at once and again by its own worktrees.
"""

from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.integration.workspace.test_hardening import (
    ATTRIBUTES,
    Canaries,
    arm_hooks,
    armed_keys,
    write_config,
)
from tests.system.daemon.harness import (
    context_of,
    git,
    run_daemon_process,
    succeed,
    unmanaged_context,
    unmanaged_spec,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


async def test_no_verb_of_the_daemon_runs_a_canary(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """Provision, status, diff, commit, merge, branches, files, rescue, destroy, doctor: none of them."""
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    for name in ("x.eq", "y.proc", "z.lfs"):
        (repo / name).write_text("text\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "attributes")
    git(repo, "branch", "other")
    canaries = Canaries(tmp_path / "nest")
    arm_hooks(repo, canaries)
    write_config(repo / ".git" / "config", canaries, armed_keys(canaries))
    server.environments |= {ONE: "ready", "env_two": "ready", "env_own": "ready"}
    ran: list[str] = []

    async def run(command: dict[str, object]) -> None:
        """Whatever it answers, it must answer, and nothing may sing."""
        report = await server.run_command(command)
        ran.append(f"{command['type']}: {'ok' if report['ok'] else report['errorMessage']}")
        assert canaries.sung() == [], ran[-1]

    with trio.fail_after(240):
        async with run_daemon_process(server, data_dir) as daemon:
            for name in (ONE, "env_two"):
                await run(worktree_spec(data_dir, name, repo))
            own = Path(context_of(data_dir, ONE, repo)["workspacePath"])
            about = {"environmentId": ONE, "workspaceContext": context_of(data_dir, ONE, repo)}
            for name in ("new.txt", "x.eq", "y.proc", "z.lfs"):
                (own / name).write_text("changed\n")
            reads = [
                {"type": "workspace.status", **about},
                {"type": "workspace.status", "mergeBaseBranch": "main", **about},
                *(
                    {
                        "type": "workspace.diff",
                        "target": target,
                        "maxDiffBytes": 100_000,
                        "maxFileListBytes": 10_000,
                        **about,
                    }
                    for target in (
                        {"type": "uncommitted"},
                        {"type": "all", "mergeBaseBranch": "main"},
                        {"type": "branch_committed", "mergeBaseBranch": "main"},
                        {"type": "commit", "sha": git(repo, "rev-parse", "HEAD")},
                    )
                ),
                {"type": "host.list_branches", "path": str(own), "limit": 100},
                {"type": "host.list_files", "path": str(own), "limit": 100},
                {"type": "host.read_file", "path": str(own / "x.eq"), "rootPath": str(own), "ref": "HEAD"},
            ]  # fmt: skip
            for command in reads:
                await run(command)
            # A file under a filter that is not run is not committed as what it is not; others are.
            await run({"type": "workspace.commit", "message": "all kinds", **about})
            assert "which is not run here" in ran[-1]
            two = {
                "environmentId": "env_two",
                "workspaceContext": context_of(data_dir, "env_two", repo),
            }
            (Path(context_of(data_dir, "env_two", repo)["workspacePath"]) / "plain.md").write_text(
                "x\n"
            )
            await run({"type": "workspace.commit", "message": "plain", **two})
            assert ran[-1].endswith(": ok"), ran[-1]
            # An agent arms its own worktree on top.
            write_config(repo / ".git" / "config", canaries, armed_keys(canaries))
            for command in reads:
                await run(command)
            await run(
                {
                    "type": "workspace.squash_merge",
                    "targetBranch": "main",
                    "commitMessage": "m",
                    **two,
                }
            )
            await run(
                {
                    "type": "workspace.squash_merge",
                    "targetBranch": "other",
                    "commitMessage": "m",
                    **two,
                }
            )
            await run(unmanaged_spec("env_own", repo))
            for checkout in (
                {"kind": "existing", "name": "other"},
                {"kind": "new", "name": "fresh", "baseBranch": "main"},
            ):
                await run(unmanaged_spec("env_own", repo, checkout=checkout))
            await run(
                {
                    "type": "workspace.status",
                    "environmentId": "env_own",
                    "workspaceContext": unmanaged_context(repo),
                }
            )
            # Dirty and unpushed: both are rescued first.
            (own / "x.eq").write_text("not committed\n")
            for name in (ONE, "env_two"):
                await run(
                    {
                        "type": "environment.destroy",
                        "environmentId": name,
                        "workspaceContext": context_of(data_dir, name, repo),
                    }
                )
                assert ran[-1].endswith(": ok")
            assert len((await daemon.control("GET", "/rescues"))["rescues"]) >= 1
            await daemon.control("GET", f"/rescues/show?name={ONE}")
            await daemon.control("GET", "/doctor")
            await daemon.control("POST", "/gc")
            assert canaries.sung() == []
            await succeed(server, {"type": "host.list_branches", "path": str(repo), "limit": 10})
            assert await daemon.terminate() == 0
    assert canaries.sung() == []
    kinds = {one.partition(":")[0] for one in ran if one.endswith(": ok")}
    assert kinds >= {
        "environment.provision",
        "environment.destroy",
        "workspace.status",
        "workspace.diff",
        "workspace.commit",
        "workspace.squash_merge",
        "host.list_branches",
        "host.list_files",
        "host.read_file",
    }, ran
    print(len(list(armed_keys(canaries))), "keys,", len(ran), "commands:", ran)


async def test_plain_git_would_have_sung(repo: Path, tmp_path: Path) -> None:
    """The same arming, and the git of a person: so the test above can fail."""
    canaries = Canaries(tmp_path / "nest")
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    arm_hooks(repo, canaries)
    write_config(repo / ".git" / "config", canaries, armed_keys(canaries))
    (repo / "d0" / "f0.txt").write_text("changed\n")
    for words in (("status",), ("add", "-A"), ("commit", "-m", "x"), ("worktree", "add", "../w")):
        await trio.run_process(
            ["git", *words], cwd=repo, check=False, capture_stdout=True, capture_stderr=True
        )
    assert len(canaries.sung()) >= 4, canaries.sung()
