"""A diff that has two hundred untracked files in it."""

import time

from bench.fixtures import make_untracked
from bench.meters import median
from bench.rig import Rig

UNTRACKED = 200
SAMPLES = 5


async def measure_diff(rig: Rig, count: int) -> None:
    """Ask five times; nothing of it is remembered."""
    del count
    environment_id = rig.new_id()
    await rig.provision(environment_id)
    make_untracked(rig.path(environment_id), UNTRACKED)
    limits = {"maxDiffBytes": 10**7, "maxFileListBytes": 10**6}
    command = rig.command(
        "workspace.diff", environment_id, target={"type": "uncommitted"}, **limits
    )
    result = await rig.run(command)
    if result["diff"]["diff"].count("diff --git") != UNTRACKED:
        raise RuntimeError("the diff does not hold every untracked file")
    await rig.settle()
    gauge = await rig.gauge()
    seconds = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        await rig.run(command)
        seconds.append(time.perf_counter() - started)
    used = await gauge.read()
    report = rig.report
    report.add("diff.git", used.git / SAMPLES, "processes", limit=3, note="200 untracked files")
    report.add("diff.round_trip", median(seconds) * 1000, "ms", limit=100)
    cpu = (used.cpu + used.children_cpu) / SAMPLES * 1000
    report.add("diff.cpu_with_git", cpu, "ms")
    await rig.destroy(environment_id)
