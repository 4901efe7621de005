"""Where the daemon's processor time goes: by package, in a round of statuses and for notifications.

A daemon of its own, because being looked at costs something.
"""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bench.rig import Rig

ROUNDS = 5
CHANGES = 40
SHOWN = 14
"""Packages that are named; the others are one row."""
_SAMPLING = Path(__file__).parents[1] / "sampling"


async def measure_profile(rig: Rig, count: int) -> None:
    """Rounds of cached statuses, then changes that are told; shares of the samples."""
    samples = rig.root / "samples.json"
    await rig.stop_daemon()
    await rig.start_daemon({"PYTHONPATH": str(_SAMPLING), "BENCH_SAMPLES": str(samples)})
    await rig.fill(count)
    await rig.ask_all()
    async with _profiled(rig, samples, "status round"):
        for _ in range(ROUNDS):
            await rig.ask_all()
    await rig.settle()
    async with _profiled(rig, samples, "notification"):
        for number in range(CHANGES):
            await _change(rig, number)
    await rig.stop_daemon()
    await rig.start_daemon()


async def _change(rig: Rig, number: int) -> None:
    environment_id = rig.ids[number % len(rig.ids)]
    told = len(rig.server.told_at)
    (rig.path(environment_id) / "d4" / "f4.txt").write_text(f"profile {number}\n")
    with trio.fail_after(30):
        await rig.server.wait(
            lambda: any(one == environment_id for _, one, _ in rig.server.told_at[told:])
        )


@asynccontextmanager
async def _profiled(rig: Rig, samples: Path, name: str) -> AsyncIterator[None]:
    os.kill(rig.pid, signal.SIGUSR2)
    yield
    os.kill(rig.pid, signal.SIGUSR2)
    with trio.fail_after(30):
        while not samples.exists():
            await trio.sleep(0.02)
    counts: dict[str, int] = json.loads(samples.read_text())
    samples.unlink()
    total = max(1, sum(counts.values()))
    shares = sorted(counts.items(), key=lambda item: -item[1])
    rest = sum(count for _, count in shares[SHOWN:])
    for package, count in [*shares[:SHOWN], ("everything else", rest)]:
        rig.report.add(f"{name}: {package}", count / total * 100, "%")
    rig.report.add(f"{name}: samples", total, "of 2 ms")
