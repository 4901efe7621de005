"""Slow and large work of one environment: it delays nobody else, and stays within its bounds."""

import subprocess
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer, run_stock_server
from tests.system.daemon.harness import (
    context_of,
    git,
    resident_kib,
    run_daemon_process,
    succeed,
    unmanaged_context,
    worktree_spec,
)

pytestmark = pytest.mark.slow

RUNNING_LIMIT = 32
GROWTH_KIB = 48 * 1024
"""What a large diff may add to the daemon's memory at its peak; its limits are 2 MiB and 256 KiB."""


def add_slow_setup(repo: Path) -> None:
    script = "echo x >> ../../started; while [ ! -e ../../go ]; do sleep 0.1; done\n"
    (repo / ".bb-env-setup.sh").write_text(script)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")


def commit_files(repo: Path, files: dict[str, str]) -> None:
    """Commit many files to main and the index, without writing each of them twice."""
    lines = ["commit refs/heads/main", "committer dev <dev@example.invalid> 1700000000 +0000"]
    lines += ["data 4", "many", "from refs/heads/main^0"]
    for path, content in files.items():
        lines += [f"M 100644 inline {path}", f"data {len(content)}", content]
    stream = "\n".join(lines).encode() + b"\n"
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repo, input=stream, check=True)
    git(repo, "read-tree", "HEAD")


async def test_one_slow_command_delays_no_other_environment(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """While a set-up script runs, everything about other environments is answered, writes included."""
    add_slow_setup(repo)
    worktrees = data_dir / "worktrees"
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir) as daemon:
            slow = await server.queue(worktree_spec(data_dir, "env_slow", repo))
            await daemon.poll(lambda: (worktrees / "started").exists())
            # Of the same environment: waits its turn, in order.
            about = {
                "environmentId": "env_slow",
                "workspaceContext": context_of(data_dir, "env_slow", repo),
            }
            behind = await server.queue({"type": "workspace.status", **about})
            other = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
            (repo / "new.txt").write_text("x")
            await succeed(server, {"type": "workspace.status", **other})
            await succeed(server, {"type": "workspace.commit", "message": "x", **other})
            (worktrees / "empty").mkdir()
            await succeed(
                server, {"type": "host.list_files", "path": str(worktrees / "empty"), "limit": 10}
            )
            assert not slow.settled.is_set()
            assert not behind.settled.is_set()
            (worktrees / "go").touch()
            assert (await server.wait_result(slow))["ok"]
            assert (await server.wait_result(behind))["ok"]
            order = server.settled_order
            assert order.index(slow.command_id) < order.index(behind.command_id)


async def test_32_run_at_a_time_and_no_result_is_lost(data_dir: Path, repo: Path) -> None:
    """Of 40 long commands 32 run; the rest stay with the server or wait, and all are answered."""
    add_slow_setup(repo)
    worktrees = data_dir / "worktrees"
    async with run_stock_server(heartbeat_interval_ms=1000) as server:
        with trio.fail_after(180):
            async with run_daemon_process(server, data_dir) as daemon:
                rows = [
                    await server.queue(worktree_spec(data_dir, f"env_{n}", repo), hint=False)
                    for n in range(40)
                ]
                await server.hint()

                def started() -> int:
                    path = worktrees / "started"
                    return path.read_text().count("x") if path.exists() else 0

                await daemon.poll(lambda: started() >= RUNNING_LIMIT)
                commands = (await daemon.control("GET", "/status"))["commands"]
                assert commands["running"] == RUNNING_LIMIT
                assert started() == RUNNING_LIMIT
                (worktrees / "go").touch()
                for row in rows:
                    assert (await server.wait_result(row))["ok"]
                assert started() == len(rows)
                assert {row.deliveries for row in rows} == {1}
                listed = git(repo, "worktree", "list").splitlines()
                assert len(listed) == len(rows) + 1


async def test_a_diff_of_ten_thousand_files(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Cut to its limits, and the daemon's memory hardly knows of it."""
    numbers = range(5_000)
    commit_files(repo, {f"many{n % 50}/tracked{n}.txt": f"{n}\n" * 40 for n in numbers})
    for number in numbers:
        directory = repo / f"many{number % 50}"
        directory.mkdir(exist_ok=True)
        (directory / f"tracked{number}.txt").write_text(f"{number} changed\n" * 40)
        (directory / f"new{number}.txt").write_text(f"{number} new\n" * 40)
    server.redelivery_seconds = 60.0
    about = {"environmentId": "env_own", "workspaceContext": unmanaged_context(repo)}
    diff = {
        "type": "workspace.diff",
        **about,
        "target": {"type": "uncommitted"},
        "maxDiffBytes": 2 * 1024 * 1024,
        "maxFileListBytes": 256 * 1024,
    }
    with trio.fail_after(180):
        async with run_daemon_process(server, data_dir) as daemon:
            status = await succeed(server, {"type": "workspace.status", **about})
            files = status["workspaceStatus"]["workingTree"]["files"]
            assert len(files) == 10_000
            before = resident_kib(daemon)
            found = (await succeed(server, diff))["diff"]
            assert len(found["diff"]) == diff["maxDiffBytes"]
            assert len(found["files"]) <= diff["maxFileListBytes"]
            assert found["truncated"] is True
            assert found["shortstat"].split()[0] == "10000"
            grown = resident_kib(daemon, "VmHWM") - before
            assert grown < GROWTH_KIB, f"{grown} KiB"
