"""What the same would cost otherwise, on the same files and in the same run.

Plain git, git with its untracked cache, one file watcher per workspace, and the loop that a naive
daemon would run: git for every question.
"""

import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import trio

from bench import meters
from bench.fixtures import git, make_repository, make_untracked
from bench.report import Report

SAMPLES = 15
WORKTREES = 20
WATCHERS_LIMIT = 1000
_STATUS = ("--no-optional-locks", "status", "--porcelain=v2", "--branch", "-z", "-unormal")


def measure_yardsticks(root: Path, report: Report) -> None:
    """All but the watchers. Blocking."""
    repo = make_repository(root / "yardsticks" / "demo")
    worktrees = _worktrees(root, repo, report)
    _status(worktrees[0], report)
    _naive_poll(worktrees, report)
    _diff(worktrees[1], report)
    _removal(repo, worktrees[2:], report)
    shutil.rmtree(root / "yardsticks")


def _worktrees(root: Path, repo: Path, report: Report) -> list[Path]:
    paths = [root / "yardsticks" / f"w{number}" for number in range(WORKTREES)]
    before, started = _children_cpu(), time.perf_counter()
    for path in paths:
        git(repo, "worktree", "add", "-q", "-b", f"bb/{path.name}", str(path))
    seconds = (time.perf_counter() - started) / WORKTREES
    cpu = (_children_cpu() - before) / WORKTREES
    report.add("yard.worktree_add", seconds * 1000, "ms", note="git worktree add, nothing else")
    report.add("yard.worktree_add_cpu", cpu * 1000, "ms")
    return paths


def _status(path: Path, report: Report) -> None:
    plain, plain_cpu = _timed(path, *_STATUS)
    report.add("yard.git_status", plain * 1000, "ms", note="plain git status, median")
    report.add("yard.git_status_cpu", plain_cpu * 1000, "ms")
    git(path, "config", "core.untrackedCache", "true")
    git(path, "update-index", "--untracked-cache")
    git(path, "status")  # writes the cache, which needs the lock
    cached, cached_cpu = _timed(path, *_STATUS)
    report.add("yard.git_status_untracked_cache", cached * 1000, "ms")
    report.add("yard.git_status_untracked_cache_cpu", cached_cpu * 1000, "ms")
    git(path, "config", "--unset", "core.untrackedCache")
    git(path, "update-index", "--no-untracked-cache")


def _naive_poll(paths: list[Path], report: Report) -> None:
    """The loop of a daemon that remembers nothing: one git status per environment and poll."""

    async def poll() -> None:
        async with trio.open_nursery() as nursery:
            slots = trio.CapacityLimiter(4)

            async def one(path: Path) -> None:
                async with slots:
                    await trio.run_process(
                        ["git", *_STATUS], cwd=path, capture_stdout=True, capture_stderr=True
                    )

            for path in paths:
                nursery.start_soon(one, path)

    before, started = _children_cpu() + _own_cpu(), time.perf_counter()
    trio.run(poll)
    seconds = (time.perf_counter() - started) / len(paths)
    cpu = (_children_cpu() + _own_cpu() - before) / len(paths)
    report.add("yard.naive_poll_each", seconds * 1000, "ms", note="a loop that runs git per poll")
    report.add("yard.naive_poll_cpu_each", cpu * 1000, "ms")


def _diff(path: Path, report: Report) -> None:
    make_untracked(path, 200)
    git(path, "add", "-AN")
    seconds, cpu = _timed(path, "diff", "HEAD")
    report.add(
        "yard.git_diff", seconds * 1000, "ms", note="git diff of 200 files made known first"
    )
    report.add("yard.git_diff_cpu", cpu * 1000, "ms")


def _removal(repo: Path, paths: list[Path], report: Report) -> None:
    started = time.perf_counter()
    for path in paths:
        git(repo, "worktree", "remove", str(path))
    seconds = (time.perf_counter() - started) / len(paths)
    report.add("yard.worktree_remove", seconds * 1000, "ms", note="git worktree remove")


def measure_watchers(root: Path, report: Report) -> None:
    """One watchfiles watcher per worktree, until the kernel has no more. Blocking, own process."""
    source = root / "watchers"
    paths = []
    for number in range(_instances_limit() + 5):
        path = source / f"w{number}"
        for directory in range(50):
            (path / f"d{directory}").mkdir(parents=True)
        paths.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", _WATCHERS, *paths], capture_output=True, text=True, check=True
    )
    reached, threads, memory, cpu, why = done.stdout.strip().split(" ", 4)
    watchers = int(reached)
    report.add("yard.watchers", watchers, "watchers", note=f"then: {why}")
    report.add("yard.watcher_threads", int(threads), "threads")
    report.add("yard.watcher_memory_each", float(memory) / max(1, watchers), "KiB")
    report.add("yard.watcher_idle_cpu", float(cpu), "%", note="of a core, all of them, idle")
    shutil.rmtree(source)


_WATCHERS = """
import os, sys, time, threading
from watchfiles import watch
def resident():
    return int([l for l in open("/proc/self/status") if l.startswith("VmRSS")][0].split()[1])
stop = threading.Event()
started = []
failed = []
def follow(path):
    try:
        for _ in watch(path, stop_event=stop, rust_timeout=500, yield_on_timeout=True):
            if path not in started:
                started.append(path)
    except Exception as error:
        failed.append(str(error).splitlines()[0][:60])
before = resident()
for path in sys.argv[1:]:
    count = len(started)
    threading.Thread(target=follow, args=(path,), daemon=True).start()
    while len(started) == count and not failed:
        time.sleep(0.005)
    if failed:
        break
cpu = time.process_time()
time.sleep(3)
cpu = (time.process_time() - cpu) / 3 * 100
threads = len(os.listdir("/proc/self/task"))
print(len(started), threads, resident() - before, cpu, failed[0] if failed else "no limit met")
sys.stdout.flush()
os._exit(0)
"""


def _instances_limit() -> int:
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    except OSError:
        limit = WATCHERS_LIMIT
    return min(limit, WATCHERS_LIMIT)


def _timed(path: Path, *args: str) -> tuple[float, float]:
    """Median seconds and mean CPU of a git command."""
    git(path, *args)
    seconds, before = [], _children_cpu()
    for _ in range(SAMPLES):
        started = time.perf_counter()
        git(path, *args)
        seconds.append(time.perf_counter() - started)
    return meters.median(seconds), (_children_cpu() - before) / SAMPLES


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_cpu() -> float:
    return time.process_time()
