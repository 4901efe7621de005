"""What the daemon costs while nothing happens: memory, CPU, threads, descriptors, watches."""

import trio

from bench import meters
from bench.rig import Rig

IDLE_SECONDS = 15.0


async def measure_memory(rig: Rig, count: int) -> None:
    """Memory with all environments loaded and asked about, and what each further one costs."""
    await rig.settle()
    await rig.ask_all()
    await trio.sleep(1.0)
    report = rig.report
    loaded = meters.resident_mib(rig.pid)
    limit = 60 + max(0, count - 300) * 100 / 1024
    report.add("memory.loaded", loaded, "MiB", limit=limit, note=f"with {count}")
    report.add(
        "memory.private", meters.private_mib(rig.pid), "MiB", note="of that; others share the rest"
    )
    memory = report.series.get("memory MiB", [])
    if len(memory) > 20:
        half = len(memory) // 2
        each = (memory[-1] - memory[half]) / (len(memory) - 1 - half) * 1024
        report.add("memory.each", each, "KiB", limit=100, note="slope of the second half")


async def measure_idle(rig: Rig, count: int) -> None:
    """CPU of the daemon while nobody does anything."""
    del count
    await rig.settle()
    await trio.sleep(2)
    before = meters.read_threads(rig.pid)
    await trio.sleep(IDLE_SECONDS)
    used = meters.used_since(before, meters.read_threads(rig.pid))
    report = rig.report
    percent = used.cpu_seconds / IDLE_SECONDS * 100
    report.add("idle.core", percent, "%", limit=0.1, note="of one core")
    report.add("idle.wakeups", used.sleeps / IDLE_SECONDS, "per s")
    instances, watches = meters.inotify(rig.pid)
    report.add("idle.threads", meters.threads(rig.pid), "", limit=8)
    report.add("idle.inotify_instances", instances, "", limit=1)
    report.add("idle.inotify_watches", watches, "")
    report.add("idle.descriptors", meters.open_files(rig.pid), "")
