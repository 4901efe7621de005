"""One terminal: opening, output, input, size, and the message of its end."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from bbhost.contract.messages import (
    TerminalCloseReason,
    TerminalExited,
    TerminalOpened,
    TerminalOutput,
)
from bbhost.processes.boundary import Boundary
from bbhost.terminals import terminal as terminal_module
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.registry import TerminalPlace, open_terminals
from bbhost.terminals.shell import ShellSettings
from tests.integration.terminals.conftest import (
    RecordingSink,
    attach_message,
    close_message,
    input_message,
    is_alive,
    open_descriptors,
    open_message,
    resize_message,
)

Programs = Callable[..., TerminalPlace]


async def test_a_shell_lives_from_opened_to_exited(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink
) -> None:
    """Opened comes first, output is numbered from 0 without gaps, exited comes once and last."""
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        opened = await sink.wait_opened()
        assert opened == TerminalOpened(
            "req_open", "term_1", "/bin/sh", "sh", place.workspace_path, None, 80, 24
        )
        directory.input_nowait(input_message("pwd; tty; echo $((40+2))-done\n"))
        await sink.wait_output(b"42-done")
        assert place.workspace_path.encode() in sink.output()
        assert b"/dev/" in sink.output()
        directory.input_nowait(input_message("exit 3\n"))
        exited = await sink.wait_exited()
        assert exited == TerminalExited("term_1", 3, TerminalCloseReason.PROCESS_EXIT)
    outputs = sink.of(TerminalOutput)
    assert [message.chunk.seq for message in outputs] == list(range(len(outputs)))
    assert isinstance(sink.messages[0], TerminalOpened)
    assert isinstance(sink.messages[-1], TerminalExited)
    assert len(sink.of(TerminalExited)) == 1
    assert len(directory) == 0


async def test_the_shell_has_the_environment_of_the_contract(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink
) -> None:
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        names = "PATH BB_SERVER_URL BB_HOST_DAEMON_PORT BB_TERMINAL_SESSION_ID TERM COLORTERM"
        names += " DISABLE_AUTO_TITLE BB_THREAD_ID BB_ENVIRONMENT_ID NODE_ENV"
        # The first line of output may stand behind the prompt, so that one is empty.
        script = f"echo; for n in {names}; do eval echo $n=\\$$n.; done\n"
        directory.input_nowait(input_message(script))
        await sink.wait_output(b"NODE_ENV=.")
        directory.input_nowait(input_message("echo mark${PROMPT_EOL_MARK-unset}mark\n"))
        await sink.wait_output(b"markmark")
    lines = sink.output().decode().splitlines()
    for line in (
        "BB_SERVER_URL=http://127.0.0.1:3334.",
        "BB_HOST_DAEMON_PORT=38887.",
        "BB_TERMINAL_SESSION_ID=term_1.",
        "TERM=xterm-256color.",
        "COLORTERM=truecolor.",
        "DISABLE_AUTO_TITLE=true.",
        "BB_THREAD_ID=.",
        "BB_ENVIRONMENT_ID=.",
    ):
        assert line in lines
    assert f"PATH=/opt/bb/bin:{os.environ['PATH']}." in lines


async def test_a_terminal_has_its_size_and_learns_of_a_new_one(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    place = program("trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.05; done")
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"ready")
        assert b"24 80" in sink.output()
        directory.resize(resize_message(132, 43))
        await sink.wait_output(b"43 132")


async def test_a_resize_while_opening_is_not_lost(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    async with open_terminals(directory, program("stty size; sleep 60")) as terminals:
        terminals.open_nowait(open_message())
        directory.resize(resize_message(99, 33))
        await sink.wait_output(b"33 99")


@pytest.mark.slow
async def test_a_large_paste_arrives_whole(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """Much more than the pty takes at once; the program reads it slowly but all of it."""
    paste = os.urandom(400_000).replace(b"\n", b"x")
    script = (
        "import sys, tty, hashlib, os\ntty.setraw(0)\nos.write(1, b'ready')\nn = 0\n"
        "h = hashlib.sha256()\n"
        f"while n < {len(paste)}:\n    b = os.read(0, 65536); n += len(b); h.update(b)\n"
        "print(h.hexdigest())"
    )
    async with open_terminals(directory, program(script, "/usr/bin/env python3")) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"ready")
        for start in range(0, len(paste), 65_536):
            directory.input_nowait(input_message(paste[start : start + 65_536]))
        await sink.wait_output(hashlib.sha256(paste).hexdigest().encode())


async def test_input_beyond_the_bound_is_dropped(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """A program that does not read: the daemon neither waits nor grows."""
    async with open_terminals(directory, program("stty raw; echo ready; sleep 60")) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"ready")
        for _ in range(40):
            directory.input_nowait(input_message(b"x" * 65_536))
        await trio.testing.wait_all_tasks_blocked()
        dropped = directory.terminals["term_1"].dropped_input_bytes
    assert 1024 * 1024 < dropped < 40 * 65_536


# --- output ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", range(5))
async def test_nothing_of_the_last_output_is_lost(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink, attempt: int
) -> None:
    """A program that writes much and exits at once: all of it comes before the exited message."""
    async with open_terminals(directory, program("stty -opost; seq 30000; exit 5")) as terminals:
        terminals.open_nowait(open_message())
        exited = await sink.wait_exited()
    assert exited.exit_code == 5
    assert sink.output() == b"".join(b"%d\n" % number for number in range(1, 30_001))


async def test_a_stream_goes_out_in_large_chunks(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    place = program("stty -opost; head -c 3000000 /dev/zero")
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_exited()
    chunks = [message.chunk for message in sink.of(TerminalOutput)]
    assert sum(len(chunk.data) for chunk in chunks) == 3_000_000
    assert all(1 <= len(chunk.data) <= 65_536 for chunk in chunks)


async def test_without_a_link_output_is_only_remembered(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink, tmp_path: Path
) -> None:
    """It is not sent again later, but a replay has it."""
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"$ ")
        sink.is_up = False
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        directory.input_nowait(input_message(f"echo un''seen; echo x > {fifo}\n"))
        with trio.fail_after(10):
            await trio.to_thread.run_sync(fifo.read_text)
        scrollback = directory.terminals["term_1"].scrollback
        with trio.fail_after(10):
            while b"unseen" not in b"".join(chunk.data for chunk in scrollback.chunks()):
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        sink.is_up = True
        directory.input_nowait(input_message("echo se''en\n"))
        await sink.wait_output(b"seen\r\n")
        assert b"unseen" not in sink.output()
        await directory.attach(attach_message())
        replay = await sink.wait_replay("req_attach")
        assert b"unseen" in b"".join(chunk.data for chunk in replay.chunks)
        assert replay.next_seq == scrollback.next_seq


@pytest.mark.slow
async def test_a_flood_without_a_link_is_bounded(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    place = program("stty -opost; head -c 30000000 /dev/zero; echo finished; sleep 60")
    sink.is_up = False
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        scrollback = directory.terminals["term_1"].scrollback
        with trio.fail_after(60):
            while not scrollback.chunks() or b"finished" not in scrollback.chunks()[-1].data:
                await trio.lowlevel.checkpoint()
        assert scrollback.size <= 4 * 1024 * 1024
        assert len(scrollback) <= 10_000


# --- flow control ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_full_link_stops_the_program(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink, workspace: Path
) -> None:
    """While nothing is taken, nothing is read: the program waits in its own write."""
    place = program("stty -opost; head -c 5000000 /dev/zero; echo done > finished; sleep 60")
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"\0")
        with sink.full():
            await trio.testing.wait_all_tasks_blocked(0.2)
            held = directory.terminals["term_1"].scrollback.next_seq
            await trio.testing.wait_all_tasks_blocked(0.2)
            assert directory.terminals["term_1"].scrollback.next_seq == held
            assert not (workspace / "finished").exists()
        await sink.wait_until(lambda: sink.size() >= 5_000_000)


async def test_a_terminal_behind_a_full_link_can_be_closed(
    directory: TerminalDirectory,
    program: Programs,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last message is lost with the link; its shell ends and nothing waits for ever."""
    monkeypatch.setattr(terminal_module, "EXITED_SECONDS", 0.1)
    monkeypatch.setattr(terminal_module, "DRAIN_SECONDS", 0.1)
    async with open_terminals(directory, program("while :; do echo flood; done")) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"flood")
        with sink.full(), trio.fail_after(5):
            await directory.close_all(TerminalCloseReason.USER)
    assert sink.of(TerminalExited) == []


@pytest.mark.slow
async def test_a_flood_does_not_starve_another_terminal(
    directory: TerminalDirectory, program: Programs, place: TerminalPlace, sink: RecordingSink
) -> None:
    """Fifty round trips in one terminal while another writes all the time."""
    flooding = program("while :; do head -c 1000000 /dev/zero; done")
    async with (
        open_terminals(directory, flooding) as noisy,
        open_terminals(directory, place) as quiet,
    ):
        noisy.open_nowait(open_message("flood"))
        quiet.open_nowait(open_message("quiet"))
        await sink.wait_output(b"\0", "flood")
        await sink.wait_output(b"$ ", "quiet")
        for number in range(50):
            before = len(sink.of(TerminalOutput, "flood"))
            directory.input_nowait(input_message(f"echo n''{number}n\n", "quiet"))
            await sink.wait_output(b"n%dn" % number, "quiet")
        await sink.wait_until(lambda: len(sink.of(TerminalOutput, "flood")) > before)


# --- the end --------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [TerminalCloseReason.USER, TerminalCloseReason.THREAD_ARCHIVED])
async def test_closing_hangs_up_and_tells_the_reason(
    directory: TerminalDirectory,
    place: TerminalPlace,
    sink: RecordingSink,
    reason: TerminalCloseReason,
) -> None:
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"$ ")
        directory.close(close_message(reason))
        directory.close(close_message(TerminalCloseReason.OPEN_TIMEOUT))
        exited = await sink.wait_exited()
        assert exited.close_reason is reason
        assert exited.exit_code in {None, 0}
    assert len(sink.of(TerminalExited)) == 1


@pytest.mark.slow
async def test_what_ignores_the_hangup_is_killed(
    directory: TerminalDirectory,
    program: Programs,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shell and the program in the foreground both ignore it, and are stopped besides."""
    monkeypatch.setattr(terminal_module, "HANGUP_SECONDS", 0.1)
    script = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\npid = os.fork()\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "if pid == 0:\n    os.setpgid(0, 0)\n    os.tcsetpgrp(0, os.getpid())\n"
        "    print('pids', os.getppid(), os.getpid(), 'end', flush=True)\n"
        "signal.pause()"
    )
    async with open_terminals(directory, program(script, "/usr/bin/env python3")) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"end")
        words = sink.output().split()
        pids = [int(word) for word in words[words.index(b"pids") + 1 :][:2]]
        os.kill(pids[1], 19)
        directory.close(close_message())
        assert (await sink.wait_exited()).exit_code is None
    with trio.fail_after(5):
        while any(map(is_alive, pids)):
            await trio.lowlevel.checkpoint()


async def test_what_keeps_the_pty_open_does_not_delay_the_end(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """A process in the background, immune to hang-ups, still has the other side."""
    place = program("(trap '' HUP; setsid sleep 30 & )\necho last words\nexit 4")
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        exited = await sink.wait_exited()
        assert (exited.exit_code, exited.close_reason) == (4, TerminalCloseReason.PROCESS_EXIT)
        assert b"last words" in sink.output()


async def test_a_terminal_closed_while_it_opens_was_never_open(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink, boundary: Boundary
) -> None:
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        directory.close(close_message(TerminalCloseReason.OPEN_TIMEOUT))
        exited = await sink.wait_exited()
        assert exited.close_reason is TerminalCloseReason.OPEN_TIMEOUT
    assert sink.of(TerminalOpened) == []
    assert boundary.processes() == []


# --- errors ---------------------------------------------------------------------------------


async def test_an_id_can_be_open_once(
    directory: TerminalDirectory, place: TerminalPlace, sink: RecordingSink
) -> None:
    """On the whole host, not only in the environment."""
    async with (
        open_terminals(directory, place) as terminals,
        open_terminals(directory, place) as others,
    ):
        terminals.open_nowait(open_message())
        others.open_nowait(open_message(request_id="second"))
        error = await sink.wait_error("second")
        assert error.code == "terminal_exists"
        await sink.wait_opened()
        assert (terminals.open_count, others.open_count) == (1, 0)


@pytest.mark.parametrize("fault", ["no cwd", "no program"])
async def test_a_shell_that_cannot_start_is_an_error(
    directory: TerminalDirectory,
    place: TerminalPlace,
    sink: RecordingSink,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message has the cause; the terminal is forgotten and its pty closed."""
    if fault == "no cwd":
        place = TerminalPlace("/no/such/place", place.boundary, ShellSettings(), place.environ)
    else:
        monkeypatch.setattr("bbhost.terminals.shell.FALLBACK_SHELLS", ())
        place = TerminalPlace(place.workspace_path, place.boundary, environ=dict)
    before = open_descriptors()
    async with open_terminals(directory, place) as terminals:
        terminals.open_nowait(open_message())
        error = await sink.wait_error("req_open")
        assert error.code == "terminal_open_failed"
        assert ("/no/such/place" if fault == "no cwd" else "no shell") in error.message
        assert len(directory) == terminals.open_count == 0
    assert open_descriptors() == before
    assert sink.of(TerminalExited) == []


async def test_messages_about_unknown_terminals_are_ignored(
    directory: TerminalDirectory, sink: RecordingSink
) -> None:
    """Except the one that wants an answer."""
    directory.input_nowait(input_message("x"))
    directory.resize(resize_message(1, 1))
    directory.close(close_message())
    await directory.attach(attach_message())
    error = await sink.wait_error("req_attach")
    assert error.code == "terminal_not_found"
    assert len(sink.messages) == 1
