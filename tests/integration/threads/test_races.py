"""A stop against the end of a turn and against the end of an agent, in each order.

The order is held by the server: while it takes no events, an agent that has spoken waits, and so does its owner's
news of the end of the turn.
"""

import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.contract import events as e
from tests.integration.threads.rig import Rig


def hold(rig: Rig) -> trio.Event:
    """The server takes nothing until the event is set."""
    rig.server.gate = trio.Event()
    return rig.server.gate


async def wait_held(rig: Rig) -> None:
    """Wait until the agent's next event waits for the server."""
    assert rig.server.gate is not None
    while not rig.server.gate.statistics().tasks_waiting:
        await trio.lowlevel.checkpoint()


async def check_over(rig: Rig, status: str) -> None:
    """One end of the turn was told, nothing came after it, nothing runs, and the thread can go on."""
    (completed,) = rig.server.of(e.TurnCompleted)
    assert completed.status == status
    await rig.wait_no_processes()
    assert rig.service.threads() == ()
    assert await rig.submit("codex", "say on") == "new-turn"
    assert (await rig.server.wait_completed(2)).status == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("_attempt", range(5))
async def test_a_stop_while_the_end_of_the_turn_is_told(rig: Rig, _attempt: int) -> None:
    """The turn had completed: that is what is told, once, and the stop succeeds."""
    await rig.start("codex", "wait")
    await rig.server.wait_text("waiting")
    turn = rig.server.of(e.TurnStarted)[0].scope.turn_id
    assert await rig.submit("codex", "go", expected=turn, steer=True) == "steer"
    await rig.server.wait_text("steered: go")
    gate = hold(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.stop)
        if _attempt % 2:
            await wait_held(rig)
        gate.set()
    await check_over(rig, "completed")


async def test_a_stop_before_the_agent_exits(rig: Rig) -> None:
    """The agent dies while it is being stopped: an interruption, and no error is told."""
    await rig.start("codex", "deaf")
    await rig.server.wait_text("not listening")
    (agent,) = rig.processes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.stop)
        while rig.service.threads()[0][1] != "stopping":
            await trio.lowlevel.checkpoint()
        os.kill(agent, signal.SIGKILL)
    assert rig.server.of(e.SystemErrorEvent) == []
    await check_over(rig, "interrupted")


async def test_an_exit_before_the_stop(rig: Rig) -> None:
    """The agent had died when the stop came: the turn failed, the error is told, the stop succeeds."""
    await rig.start("codex", "deaf")
    await rig.server.wait_text("not listening")
    await rig.server.wait(lambda s: s.of(e.ItemCompleted))  # it says nothing more
    (agent,) = rig.processes()
    gate = hold(rig)
    os.kill(agent, signal.SIGKILL)
    await wait_held(rig)  # the end of the turn is on its way
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.stop)
        await wait_all_tasks_blocked(0.01)
        gate.set()
    (fault,) = rig.server.of(e.SystemErrorEvent)
    assert fault.code == "provider_process_exited"
    await check_over(rig, "failed")


@pytest.mark.slow
@pytest.mark.parametrize("_attempt", range(10))
async def test_an_exit_and_a_stop_at_once(rig: Rig, _attempt: int) -> None:
    """Whichever is first, the turn ends once, and nobody waits for ever."""
    await rig.start("codex", "deaf")
    await rig.server.wait_text("not listening")
    (agent,) = rig.processes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.stop)
        for _ in range(_attempt):
            await trio.lowlevel.checkpoint()
        os.kill(agent, signal.SIGKILL)
    (completed,) = rig.server.of(e.TurnCompleted)
    errors = rig.server.of(e.SystemErrorEvent)
    assert (completed.status, len(errors)) in {("interrupted", 0), ("failed", 1)}
    await check_over(rig, completed.status)
