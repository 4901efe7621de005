"""Starting a daemon that has environments to restore."""

import os
import time
from pathlib import Path

import trio

from bench.meters import cpu_seconds, inotify
from bench.rig import Rig

WATCHING_SECONDS = 300.0


async def measure_start(rig: Rig, count: int) -> None:
    """Stop in good order, start again: until connected, and until everything is watched."""
    await rig.fill(count)
    await rig.settle()
    # Not what was watched before: that may include where threads keep their data.
    watches = sum(_directories(rig.path(one)) for one in rig.ids)
    report = rig.report
    report.add("start.stop", await rig.stop_daemon(), "s", limit=5, note="SIGTERM to exit")
    started = time.perf_counter()
    await rig.start_daemon()
    report.add("start.connected", time.perf_counter() - started, "s", limit=2)
    report.add("start.connected_cpu", cpu_seconds(rig.pid), "s", note="of the daemon")
    with trio.fail_after(WATCHING_SECONDS):
        while inotify(rig.pid)[1] < watches:
            await trio.sleep(0.05)
    report.add("start.watching", time.perf_counter() - started, "s", note="every watch is set")
    await rig.settle()
    report.add("start.settled_cpu", cpu_seconds(rig.pid), "s", note="first statuses are known")
    report.add("start.git", await rig.git_processes(), "processes", note="in all")


def _directories(workspace: Path) -> int:
    """How many directories of a workspace are to be watched; all, as nothing here is ignored."""
    return sum(1 for _ in os.walk(workspace))
