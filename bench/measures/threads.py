"""Threads: what each costs while all are active, and what an agent that says far too much does."""

import time
from collections.abc import Awaitable, Callable, Sequence

import trio

from bench import meters
from bench.agents import BenchThread
from bench.rig import Rig

THREADS = 50
"""At most; each is a process of its own."""
TURNS = 10
"""Of each thread, one after the other, all threads at once."""
QUIET_SECONDS = 5.0
FLOOD_MEGABYTES = 200
DAEMON_MIB = 80
"""What a flood may add to the daemon's memory at its peak."""


async def measure_threads(rig: Rig, count: int) -> None:
    """Every environment has an agent at work at the same time; then all have short turns together."""
    number = min(count, THREADS)
    await rig.fill(number)
    first = BenchThread(rig, rig.ids[0], "first")
    threads = [BenchThread(rig, one) for one in rig.ids[:number]]
    # What is loaded with the first agent is not any further thread's.
    await first.start("say once")
    await first.wait("turn/completed", 1)
    report, memory, cpu = rig.report, meters.resident_mib(rig.pid), meters.cpu_seconds(rig.pid)
    await _together(threads, lambda one: one.start("wait"))
    await _together(threads, lambda one: one.wait("item/completed", 1))
    grown = (meters.resident_mib(rig.pid) - memory) * 1024 / number
    spent = (meters.cpu_seconds(rig.pid) - cpu) * 1000 / number
    report.add("threads.memory_each", grown, "KiB", note=f"of the daemon, {number} active")
    report.add("threads.start_cpu_each", spent, "ms", note="agent started, first events told")
    before = meters.read_threads(rig.pid)
    await trio.sleep(QUIET_SECONDS)
    used = meters.used_since(before, meters.read_threads(rig.pid))
    core = used.cpu_seconds / QUIET_SECONDS * 100
    report.add("threads.waiting_core", core, "%", note=f"of one core, {number} turns under way")
    await _together(threads, lambda one: one.steer("go on"))
    await _together(threads, lambda one: one.wait("turn/completed", 1))
    started, cpu = time.perf_counter(), meters.cpu_seconds(rig.pid)
    await _together(threads, _talk)
    turns = number * TURNS
    spent = (meters.cpu_seconds(rig.pid) - cpu) * 1000 / turns
    report.add("threads.turn_cpu", spent, "ms", note="of the daemon, per turn of 9 events")
    report.add("threads.turns", turns / (time.perf_counter() - started), "per s")
    await _together([first, *threads], lambda one: one.stop())


async def measure_flood(rig: Rig, count: int) -> None:
    """One agent says 200 MB in a turn while another environment is asked again and again."""
    del count
    await rig.fill(2)
    thread = BenchThread(rig, rig.ids[0])
    ended = thread.count("turn/completed") + 1
    await thread.start("say once")
    await thread.wait("turn/completed", ended)
    session = rig.server.session
    memory = peak = meters.resident_mib(rig.pid)
    started, cpu = time.perf_counter(), meters.cpu_seconds(rig.pid)
    answers: list[float] = []
    await thread.submit(f"flood {FLOOD_MEGABYTES}")
    while thread.count("turn/completed") == ended:
        asked = time.perf_counter()
        await rig.run(rig.command("workspace.status", rig.ids[1]))
        answers.append(time.perf_counter() - asked)
        peak = max(peak, meters.resident_mib(rig.pid))
    seconds, cpu = time.perf_counter() - started, meters.cpu_seconds(rig.pid) - cpu
    report, note = rig.report, f"{FLOOD_MEGABYTES} MB in one turn"
    report.add("flood.memory", peak - memory, "MiB", limit=DAEMON_MIB, note=f"growth, {note}")
    report.add("flood.cpu", cpu, "s", note="of the daemon")
    report.add("flood.throughput", FLOOD_MEGABYTES / seconds, "MB/s")
    p95 = meters.percentile(answers, 95) * 1000
    report.add("flood.answers", p95, "ms", note=f"p95 of {len(answers)} status answers meanwhile")
    held = rig.server.session is session
    report.add("flood.sessions_lost", 0 if held else 1, "", limit=0)
    report.series["status under flood ms"] = [one * 1000 for one in answers]
    await thread.stop()


async def _talk(thread: BenchThread) -> None:
    for number in range(TURNS):
        await thread.submit("say something")
        await thread.wait("turn/completed", 2 + number)


async def _together(
    threads: Sequence[BenchThread], deed: Callable[[BenchThread], Awaitable[None]]
) -> None:
    async with trio.open_nursery() as nursery:
        for one in threads:
            nursery.start_soon(deed, one)
