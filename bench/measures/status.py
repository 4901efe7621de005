"""Answers to ``workspace.status``: remembered, for all at once, and after a change."""

import time

import trio

from bbhost.environment.status_cache import MAX_AGE_SECONDS
from bench.meters import median
from bench.rig import Rig

SAMPLES = 100
CHANGES = 12


async def measure_cached(rig: Rig, count: int) -> None:
    """One environment, nothing changed, asked one hundred times, one after another."""
    del count
    await rig.fill(1)
    command = rig.command("workspace.status", rig.ids[0])
    await rig.run(command)
    gauge = await rig.gauge()
    seconds = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        await rig.run(command)
        seconds.append(time.perf_counter() - started)
    used = await gauge.read()
    report = rig.report
    report.add("cached.git", used.git, "processes", limit=0)
    note = "hint, fetch, journal, answer, journal, report"
    report.add("cached.cpu", used.cpu / SAMPLES * 1000, "ms", note=note)
    report.add("cached.round_trip", median(seconds) * 1000, "ms", note="median, server's part too")


async def measure_poll(rig: Rig, count: int) -> None:
    """A server that asks for every environment at once, twice.

    An answer that was computed a minute ago is computed again whatever the watch says. Where that minute ended
    for some meanwhile, all are let grow that old, and computed anew at one time, before it is measured again.
    """
    await rig.fill(count)
    for old_seconds in (0.0, MAX_AGE_SECONDS + 1):
        await trio.sleep(old_seconds)
        await rig.ask_all()
        gauge = await rig.gauge()
        await rig.ask_all()
        await rig.ask_all()
        used = await gauge.read()
        if not used.git:
            break
    report = rig.report
    report.add("poll.round", used.seconds / 2, "s", limit=0.5 * count / 300)
    report.add("poll.cpu", used.cpu / 2, "s", note="of the daemon")
    report.add("poll.cpu_each", used.cpu / 2 / count * 1000, "ms")
    report.add("poll.git", used.git, "processes", limit=0)


async def measure_after_change(rig: Rig, count: int) -> None:
    """A status asked for at once after an edit, without and with a merge base."""
    del count
    await rig.fill(1)
    for name, limit, more in (
        ("change.status", 3, {}),
        ("change.status_with_base", 5, {"mergeBaseBranch": "main"}),
    ):
        environment_id = rig.ids[0]
        command = rig.command("workspace.status", environment_id, **more)
        file = rig.path(environment_id) / "d1" / "f1.txt"
        await rig.run(command)
        seconds, processes = [], []
        for number in range(CHANGES):
            await rig.settle()
            before = await rig.git_processes()
            file.write_text(f"{name} {number}\n")
            started = time.perf_counter()
            await rig.run(command)
            seconds.append(time.perf_counter() - started)
            processes.append(await rig.git_processes() - before)
        rig.report.add(f"{name}_git", max(processes), "processes", limit=limit, note="at most")
        rig.report.add(f"{name}_round_trip", median(seconds) * 1000, "ms")
