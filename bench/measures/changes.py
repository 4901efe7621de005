"""Changes: how soon the server hears of them, and what they cost the environments beside them."""

import time

import trio

from bench.fixtures import git
from bench.meters import cpu_seconds, median, percentile
from bench.rig import Rig

SAMPLES = 20
COMMITS = 5


async def measure_notification(rig: Rig, count: int) -> None:
    """From the end of a write to the arrival of the post."""
    del count
    await rig.fill(1)
    server, report = rig.server, rig.report
    seconds = []
    await rig.settle()
    git_before, cpu_before = await rig.git_processes(), cpu_seconds(rig.pid)
    for number in range(SAMPLES):
        environment_id = rig.ids[number % len(rig.ids)]
        told = len(server.told_at)
        (rig.path(environment_id) / "d2" / "f2.txt").write_text(f"notify {number}\n")
        written = trio.current_time()
        with trio.fail_after(30):
            await server.wait(
                lambda told=told, wanted=environment_id: any(
                    one == wanted for _, one, _ in server.told_at[told:]
                )
            )
        seconds.append(server.told_at[-1][0] - written)
    await rig.settle()
    used = await rig.git_processes() - git_before
    report.add("notify.median", median(seconds) * 1000, "ms", limit=120, note="75 ms are quiet")
    report.add("notify.p95", percentile(seconds, 95) * 1000, "ms")
    report.add("notify.git_each", used / SAMPLES, "processes", limit=3)
    cpu = (cpu_seconds(rig.pid) - cpu_before) / SAMPLES * 1000
    report.add("notify.cpu_each", cpu, "ms", note="of the daemon, with this program's questions")
    report.series["notification ms"] = [one * 1000 for one in seconds]


async def measure_commit(rig: Rig, count: int) -> None:
    """One commit in one worktree, with all others watching the same refs."""
    await rig.fill(count)
    server, report = rig.server, rig.report
    seconds, processes, posts = [], [], []
    for number in range(COMMITS):
        environment_id = rig.ids[0]
        path = rig.path(environment_id)
        (path / "d3" / "f3.txt").write_text(f"commit {number}\n")
        await rig.settle()
        git_before, told = await rig.git_processes(), len(server.told_at)
        started = time.perf_counter()
        await trio.to_thread.run_sync(git, path, "commit", "-qam", f"number {number}")
        with trio.fail_after(60):
            await server.wait(
                lambda told=told, wanted=environment_id: any(
                    one == (wanted, "git-refs-changed")
                    for one in (row[1:] for row in server.told_at[told:])
                )
            )
        seconds.append(time.perf_counter() - started)
        await rig.settle()
        processes.append(await rig.git_processes() - git_before)
        posts.append(len(server.told_at) - told)
    report.add("commit.git", median(processes), "processes", limit=5, note=f"{count} siblings")
    report.add("commit.git_most", max(processes), "processes", note=f"of {COMMITS} commits")
    report.add("commit.told", median(seconds), "s", note="git commit to git-refs-changed")
    report.add("commit.posts", median(posts), "", note="posts to the server, of all siblings")
