"""Destroying: how soon it is acknowledged, and what is left of what was started there."""

import time
from pathlib import Path

import trio

from bench.meters import inotify, median, percentile
from bench.rig import Rig
from bench.terminal import open_terminal

SAMPLES = 10
GONE_SECONDS = 10.0

_BACKGROUND = (
    "sleep 7011 & nohup sleep 7012 >/dev/null 2>&1 & setsid sleep 7013 >/dev/null 2>&1 &"
    " (setsid sh -c 'sleep 7014 & exec sleep 7015' >/dev/null 2>&1 &) ; echo star''ted\n"
)
_STARTED = 5


async def measure_destroy(rig: Rig, count: int) -> None:
    """Idle environments of 500 files, one after another, with the others living on."""
    await rig.fill(max(count, SAMPLES))
    await rig.settle()
    gauge = await rig.gauge()
    seconds = [await rig.destroy(environment_id) for environment_id in rig.ids[-SAMPLES:]]
    used = await gauge.read()
    report = rig.report
    report.add("destroy.acknowledged", median(seconds) * 1000, "ms", limit=50, note="median")
    report.add("destroy.p90", percentile(seconds, 90) * 1000, "ms")
    report.add("destroy.git_each", used.git / SAMPLES, "processes")
    report.add("destroy.cpu_each", used.cpu / SAMPLES * 1000, "ms", note="of the daemon")


async def measure_destroy_all(rig: Rig, count: int) -> None:
    """Every environment that there is, one after another: does the last one cost what the first did?"""
    await rig.fill(count)
    gauge = await rig.gauge()
    seconds = [await rig.destroy(environment_id) for environment_id in list(rig.ids)]
    used = await gauge.read()
    tenth = max(1, len(seconds) // 10)
    growth = median(seconds[-tenth:]) / median(seconds[:tenth])
    report = rig.report
    report.add("destroy_all.all", used.seconds, "s", note=f"{len(seconds)} one after another")
    report.add("destroy_all.growth", growth, "x", limit=2, note="last tenth over first tenth")
    report.add("destroy_all.git_each", used.git / len(seconds), "processes")
    report.add("destroy_all.cpu_each", used.cpu / len(seconds) * 1000, "ms", note="of the daemon")
    report.add("destroy_all.inotify_watches", inotify(rig.pid)[1], "", limit=0)
    report.series["destroy seconds"] = seconds


async def measure_leftovers(rig: Rig, count: int) -> None:
    """Five background processes of four kinds, started in a terminal; none may live on."""
    del count
    environment_id = rig.new_id()
    await rig.provision(environment_id)
    terminal = await open_terminal(rig, environment_id)
    await terminal.type(_BACKGROUND)
    await terminal.wait_for(b"started")
    running: set[int] = set()
    with trio.fail_after(10):
        while len(running) < _STARTED:
            running |= _sleepers(rig.path(environment_id))
            await trio.sleep(0.05)
    started = time.perf_counter()
    await rig.destroy(environment_id)
    with trio.move_on_after(GONE_SECONDS):
        while any(Path(f"/proc/{pid}").exists() for pid in running):
            await trio.sleep(0.02)
    alive = sum(Path(f"/proc/{pid}").exists() for pid in running)
    report = rig.report
    report.add("leftovers.alive", alive, "processes", limit=0, note=f"of {len(running)}")
    report.add("leftovers.gone", time.perf_counter() - started, "s", note="destroy to last end")


def _sleepers(workspace: Path) -> set[int]:
    """Processes named sleep that run in ``workspace``."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "comm").read_text() == "sleep\n" and (
                entry / "cwd"
            ).readlink() == workspace:
                found.add(int(entry.name))
        except OSError:
            continue
    return found
