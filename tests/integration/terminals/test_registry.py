"""The terminals of an environment end with its ready state, however that is left."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from bbhost.contract.messages import TerminalChunk, TerminalCloseReason, TerminalExited
from bbhost.domain.ids import TerminalId
from bbhost.processes import proc
from bbhost.processes.boundary import Boundary
from bbhost.terminals import terminal as terminal_module
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.pty import PtyMaster
from bbhost.terminals.registry import TerminalPlace, open_terminals
from bbhost.terminals.scrollback import Scrollback
from bbhost.terminals.shell_process import AdoptedShell
from bbhost.terminals.terminal import LiveShell, Terminal
from tests.integration.terminals.conftest import (
    RecordingSink,
    attach_message,
    close_message,
    input_message,
    is_alive,
    open_descriptors,
    open_message,
)

Programs = Callable[..., TerminalPlace]


async def test_leaving_closes_all_with_the_reason(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink, boundary: Boundary
) -> None:
    counts: list[int] = []
    before = open_descriptors()
    async with open_terminals(
        directory, place, lambda: counts.append(terminals.open_count)
    ) as terminals:
        for name in ("a", "b"):
            terminals.open_nowait(open_message(name))
            await sink.wait_output(b"$ ", name)
        terminals.leave_reason = TerminalCloseReason.ENVIRONMENT_DESTROYED
    for name in ("a", "b"):
        [exited] = sink.of(TerminalExited, name)
        assert exited.close_reason is TerminalCloseReason.ENVIRONMENT_DESTROYED
    assert counts == [1, 2, 1, 0]
    assert len(directory) == 0
    assert boundary.processes() == []
    assert open_descriptors() == before


@pytest.mark.parametrize("attempt", range(10))
async def test_cancelling_the_state_still_says_goodbye(
    directory: TerminalDirectory,
    place: TerminalPlace,
    sink: RecordingSink,
    boundary: Boundary,
    attempt: int,
) -> None:
    """At whatever moment it is cancelled: a terminal that was opened is said to have exited, once."""

    async def ready(cancel_scope: trio.CancelScope) -> None:
        with cancel_scope:
            async with open_terminals(directory, place) as terminals:
                terminals.open_nowait(open_message())
                await trio.sleep_forever()

    scope = trio.CancelScope()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ready, scope)
            for _ in range(attempt):
                await trio.lowlevel.checkpoint()
            if attempt == 9:
                await sink.wait_output(b"$ ")
            scope.cancel()
    assert len(sink.of(TerminalExited)) == len(sink.messages[:1])
    assert len(directory) == 0
    assert boundary.processes() == []


async def test_a_failing_state_closes_its_terminals(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink
) -> None:
    with pytest.RaisesGroup(KeyError):
        async with open_terminals(directory, place) as terminals:
            terminals.open_nowait(open_message())
            await sink.wait_opened()
            raise KeyError("defect")
    [exited] = sink.of(TerminalExited)
    assert exited.close_reason is TerminalCloseReason.DAEMON_DISCONNECT


async def test_after_closing_all_none_is_opened(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink
) -> None:
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message("a"))
        await sink.wait_opened("a")
        with trio.fail_after(10):
            await terminals.close_all(TerminalCloseReason.ENVIRONMENT_DESTROYED)
        assert terminals.open_count == 0
        terminals.open_nowait(open_message("b", "late"))
        assert (await sink.wait_error("late")).code == "terminal_open_failed"


@pytest.mark.slow
async def test_a_shell_that_cannot_be_killed_is_given_up(
    directory: TerminalDirectory,
    place: TerminalPlace,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one in an uninterruptible sleep: signals do nothing, and the end comes all the same."""
    monkeypatch.setattr(terminal_module, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(terminal_module, "EXITED_SECONDS", 0.2)
    monkeypatch.setattr("bbhost.processes.spawn.Child.signal_group", lambda *_: None)

    async def never(_child: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("bbhost.processes.spawn.Child.wait", never)
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"$ ")
        directory.close(close_message())
        exited = await sink.wait_exited()
        assert (exited.exit_code, exited.close_reason) == (None, TerminalCloseReason.USER)


async def test_a_shell_of_an_earlier_daemon_is_taken_over(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink, workspace: Path
) -> None:
    """Its output goes on from the number it had, what it wrote before is still shown."""
    master, slave = os.openpty()
    shell = subprocess.Popen(
        ["/bin/sh"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    stat = proc.read_stat(shell.pid)
    assert stat is not None
    scrollback = Scrollback.restored([TerminalChunk(6, b"before ")], 7)
    try:
        async with open_terminals(directory, place) as terminals:
            terminal = Terminal(TerminalId("term_1"), sink, 80, 24, scrollback)
            adopted = AdoptedShell(stat.identity, proc.read_stat)
            terminals.adopt_nowait(terminal, LiveShell(adopted, PtyMaster(master)))
            directory.input_nowait(input_message("echo li''ve\n"))
            await sink.wait_output(b"live")
            await directory.attach(attach_message())
            replay = await sink.wait_replay("req_attach")
            assert (replay.chunks[0].seq, replay.chunks[0].data) == (6, b"before ")
            assert replay.chunks[1].seq == 7
            assert terminals.open_count == 1
            directory.close(close_message())
            exited = await sink.wait_exited()
            assert (exited.exit_code, exited.close_reason) == (None, TerminalCloseReason.USER)
            assert not is_alive(shell.pid)
    finally:
        shell.kill()
        shell.wait()


async def test_a_defect_in_the_link_leaves_no_shell(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink, boundary: Boundary
) -> None:
    def fail(message: object) -> None:
        raise ZeroDivisionError

    sink.on_message = fail
    with trio.fail_after(10), pytest.raises(BaseExceptionGroup):
        async with open_terminals(directory, place) as terminals:
            terminals.open_nowait(open_message())
            await trio.sleep_forever()
    assert boundary.processes() == []
    assert len(directory) == 0
