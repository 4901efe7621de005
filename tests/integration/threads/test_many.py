"""Many threads at once, each with a process of its own."""

import os
import time
from pathlib import Path

import pytest
import trio

from bbhost.contract import events as e
from bbhost.domain.ids import EnvironmentId, ThreadId
from tests.integration.threads.rig import Rig

THREADS = 50


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.slow
async def test_fifty_threads_in_fifty_environments(rig: Rig, capsys) -> None:
    """All are active together; the events of each come complete and in order; nothing is left."""
    environments = [EnvironmentId(f"env_{n}") for n in range(THREADS)]
    for one in environments:
        await rig.provision(one)
    memory, cpu = resident_kib(), time.process_time()

    async def run(one: EnvironmentId) -> None:
        await rig.start("codex", "wait", environment_id=one, thread_id=ThreadId(f"thr_{one}"))

    async with trio.open_nursery() as nursery:
        for one in environments:
            nursery.start_soon(run, one)
    await rig.server.wait(lambda s: len(s.of(e.ItemCompleted)) == THREADS)
    assert len(rig.service.active_threads()) == THREADS
    assert len(rig.processes()) == THREADS
    grown = resident_kib() - memory
    spent = time.process_time() - cpu
    await rig.service.stop_all()
    expected = [
        "thread/started",
        "thread/identity",
        "turn/started",
        "turn/input/accepted",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "thread/tokenUsage/updated",
        "thread/contextWindowUsage/updated",
        "turn/completed",
    ]
    for one in environments:
        told = [x.TYPE for x in rig.server.events if x.thread_id == f"thr_{one}"]
        assert told == expected
    await rig.wait_no_processes()
    assert rig.service.threads() == ()
    with capsys.disabled():
        if os.environ.get("BBHOST_MEASURE"):
            print(
                f"\n{grown / THREADS:.0f} KiB and {spent / THREADS * 1000:.1f} ms CPU per thread"
            )
