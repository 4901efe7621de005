"""Terminals: how fast output flows, how soon an echo comes in between, what a deaf server costs."""

import time

import trio

from bench import meters
from bench.rig import Rig
from bench.terminal import BenchTerminal, open_terminal

MEGABYTES = 60
ECHOES = 60
DEAF_SECONDS = 5.0


async def measure_terminal(rig: Rig, count: int) -> None:
    """One terminal floods, another one echoes; then the server stops reading."""
    del count
    await rig.fill(1)
    flood = await open_terminal(rig, rig.ids[0])
    echo = await open_terminal(rig, rig.ids[0])
    await _throughput(rig, flood)
    await _echo_under_flood(rig, flood, echo)
    await _deaf_server(rig, flood)
    await flood.close()
    await echo.close()


async def _throughput(rig: Rig, flood: BenchTerminal) -> None:
    size = MEGABYTES * 1_000_000
    before, cpu = flood.received, meters.cpu_seconds(rig.pid)
    started = time.perf_counter()
    await flood.type(
        f"yes 0123456789012345678901234567890123456789012345678901 | head -c {size}\n"
    )
    await flood.wait_bytes(before + size)
    seconds = time.perf_counter() - started
    cpu = meters.cpu_seconds(rig.pid) - cpu
    report = rig.report
    report.add("terminal.throughput", MEGABYTES / seconds, "MB/s", limit=20, at_least=True)
    report.add("terminal.cpu_rate", MEGABYTES / cpu, "MB per CPU s", note="of the daemon")


async def _echo_under_flood(rig: Rig, flood: BenchTerminal, echo: BenchTerminal) -> None:
    await echo.type("stty -icanon; cat\n")
    await trio.sleep(1.0)
    calm = await _echoes(echo)
    await flood.type("yes 0123456789012345678901234567890123456789\n")
    await flood.wait_bytes(flood.received + 1_000_000)
    busy = await _echoes(echo)
    await flood.type("\x03")
    await trio.sleep(0.5)
    report = rig.report
    report.add("terminal.echo", meters.median(calm) * 1000, "ms", note="nothing else happens")
    p95 = meters.percentile(busy, 95) * 1000
    report.add("terminal.echo_under_flood", p95, "ms", limit=5, note="p95")
    report.series["echo under flood ms"] = [one * 1000 for one in busy]


async def _echoes(echo: BenchTerminal) -> list[float]:
    seconds = []
    for number in range(ECHOES):
        mark = f"<{number:03}>"
        started = time.perf_counter()
        await echo.type(mark)
        await echo.wait_for(mark.encode())
        seconds.append(time.perf_counter() - started)
        await trio.sleep(0.01)
    return seconds


async def _deaf_server(rig: Rig, flood: BenchTerminal) -> None:
    session = rig.server.session
    assert session is not None
    assert session.socket is not None
    before = meters.resident_mib(rig.pid)
    session.socket.reading = trio.Event()
    await flood.type("yes 0123456789012345678901234567890123456789\n")
    await trio.sleep(DEAF_SECONDS)
    grown = meters.resident_mib(rig.pid) - before
    session.socket.reading.set()
    await flood.type("\x03")
    await trio.sleep(1.0)
    rig.report.add(
        "terminal.deaf_server",
        max(0.0, grown),
        "MiB",
        limit=8,
        note="growth in 5 s of not reading",
    )
