"""A machine that has come to its end gives its memory back, and still says where it is."""

import gc

import pytest

from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.terminal import TerminalMachine


def test_it_keeps_its_state_and_takes_no_event() -> None:
    machine = TerminalMachine()
    machine.accept("opened")
    machine.release()
    assert machine.state_name == "open"
    with pytest.raises(IllegalEventError, match="ended is not allowed in open"):
        machine.accept("ended")
    machine.release()
    assert machine.state_name == "open"
    assert repr(machine) == "TerminalMachine('open')"


@pytest.mark.slow
def test_it_is_released_in_its_final_state() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            machine = TerminalMachine()
            machine.accept("opened")
            machine.accept("ended")
        assert gc.collect() < 20 * 25
    finally:
        gc.enable()
