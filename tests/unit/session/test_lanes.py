"""Writes wait for all before them, reads only for writes, lanes not for each other."""

import random

import pytest
import trio

from bbhost.session.lanes import Lanes, Ticket


def ready(*tickets: Ticket) -> list[bool]:
    return [ticket.is_ready for ticket in tickets]


def test_reads_overlap_and_a_write_waits_for_them() -> None:
    lanes = Lanes()
    first, second = lanes.admit("e", write=False), lanes.admit("e", write=False)
    write = lanes.admit("e", write=True)
    later = lanes.admit("e", write=False)
    assert ready(first, second, write, later) == [True, True, False, False]
    second.release()
    assert ready(write, later) == [False, False]
    first.release()
    assert ready(write, later) == [True, False]
    write.release()
    assert ready(later) == [True]
    later.release()
    assert len(lanes) == 0


def test_writes_run_one_after_another_in_order() -> None:
    lanes = Lanes()
    writes = [lanes.admit("e", write=True) for _ in range(3)]
    for number, write in enumerate(writes):
        assert ready(*writes[number:]) == [True] + [False] * (2 - number)
        write.release()


def test_lanes_do_not_wait_for_each_other() -> None:
    lanes = Lanes()
    lanes.admit("slow", write=True)
    assert lanes.admit("other", write=True).is_ready


def test_giving_up_in_the_queue_lets_the_others_pass() -> None:
    lanes = Lanes()
    lanes.admit("e", write=False)
    given_up = lanes.admit("e", write=True)
    behind = lanes.admit("e", write=False)
    assert not behind.is_ready
    given_up.release()
    assert behind.is_ready


@pytest.mark.parametrize("seed", range(20))
async def test_no_schedule_breaks_the_rules(seed: int) -> None:
    rng = random.Random(seed)
    lanes = Lanes()
    running: list[tuple[int, bool]] = []
    finished: list[int] = []

    async def run(number: int, write: bool, ticket: Ticket) -> None:
        try:
            await ticket.wait_ready()
            assert not (write and running), "a write runs alone"
            assert not any(other_write for _, other_write in running)
            if write:
                assert set(finished) >= set(range(number)), "everything before it is done"
            running.append((number, write))
            for _ in range(rng.randint(0, 3)):
                await trio.lowlevel.checkpoint()
            running.remove((number, write))
            finished.append(number)
        finally:
            ticket.release()

    async with trio.open_nursery() as nursery:
        for number in range(12):
            write = rng.random() < 0.4
            nursery.start_soon(run, number, write, lanes.admit("e", write=write))
    assert sorted(finished) == list(range(12))
    assert len(lanes) == 0
