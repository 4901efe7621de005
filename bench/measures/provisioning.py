"""Making environments one after another: does the last one cost what the first did?"""

from bench.meters import median, resident_mib
from bench.rig import Rig


async def measure_provisioning(rig: Rig, count: int) -> None:
    """Provision ``count`` environments and look at the growth of time and memory."""
    report = rig.report
    if rig.ids:
        raise RuntimeError("provisioning is measured on an empty daemon")
    report.add("memory.start", resident_mib(rig.pid), "MiB", note="connected, nothing loaded")
    # The first one also pays for what is asked of git once.
    await rig.provision(rig.new_id())
    await rig.settle()
    gauge = await rig.gauge()
    seconds: list[float] = []
    memory: list[float] = []
    for _ in range(count - 1):
        seconds.append(await rig.provision(rig.new_id()))
        memory.append(resident_mib(rig.pid))
    await rig.settle()
    used = await gauge.read()
    count -= 1
    tenth = max(1, count // 10)
    report.series["provision seconds"] = seconds
    report.series["memory MiB"] = memory
    report.add(
        "provision.all",
        used.seconds,
        "s",
        limit=30.0 * (count + 1) / 300,
        note="one after another",
    )
    report.add("provision.git_each", used.git / count, "processes", limit=4)
    growth = median(seconds[-tenth:]) / median(seconds[:tenth])
    report.add("provision.growth", growth, "x", limit=2, note="last tenth over first tenth")
    report.add("provision.cpu_each", used.cpu / count * 1000, "ms", note="of the daemon")
    with_git = (used.cpu + used.children_cpu) / count * 1000
    report.add(
        "provision.cpu_each_with_git", with_git, "ms", note="checkout of 500 files included"
    )
