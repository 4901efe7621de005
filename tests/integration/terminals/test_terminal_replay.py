"""Attaching: what is shown again, and what does not come back as input."""

from collections.abc import Callable

import trio

from bbhost.contract.messages import TerminalReplay
from bbhost.terminals.directory import TerminalDirectory
from bbhost.terminals.registry import TerminalPlace, open_terminals
from tests.integration.terminals.conftest import (
    RecordingSink,
    attach_message,
    input_message,
    open_message,
)

Programs = Callable[..., TerminalPlace]
ANSWER = b"\x1b[12;34R"
ECHO = "stty raw -echo; printf '%b' '{start}'; exec cat -v"


def shown(replay: TerminalReplay) -> bytes:
    return b"".join(chunk.data for chunk in replay.chunks)


async def attach(directory: TerminalDirectory, sink: RecordingSink, request_id: str) -> bytes:
    await directory.attach(attach_message(request_id))
    return shown(await sink.wait_replay(request_id))


async def test_a_replay_has_the_text_and_no_queries(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """Live output is untouched; the replay lacks the query and nothing else."""
    start = r"\033[31mred\033[6n\033]52;c;?\007\033[0mplain"
    async with open_terminals(directory, program(ECHO.format(start=start))) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"plain")
        assert b"\x1b[6n" in sink.output()
        directory.input_nowait(input_message("typed"))
        await sink.wait_output(b"typed")
        assert await attach(directory, sink, "one") == b"\x1b[31mred\x1b[0mplaintyped"


async def test_answers_to_a_replay_do_not_reach_the_shell(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """Whatever the emulator answers to; what a user types goes through."""
    async with open_terminals(directory, program(ECHO.format(start="ready"))) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"ready")
        directory.input_nowait(input_message("one"))
        await sink.wait_output(b"one")
        await attach(directory, sink, "first")
        for answer in (ANSWER, b"\x1b[?1;2c", b"\x1b[I", b"\x1b]11;rgb:0/0/0\x07"):
            directory.input_nowait(input_message(answer))
        directory.input_nowait(input_message("\x1b[Atwo"))
        await sink.wait_output(b"two")
        assert sink.output() == b"readyone^[[Atwo"


async def test_answers_are_welcome_once_the_terminal_asks_again(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    script = r"stty raw -echo; printf ready; head -c 1; printf '\033[6n'; exec cat -v"
    async with open_terminals(directory, program(script)) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"ready")
        await attach(directory, sink, "unfiltered first look")
        await attach(directory, sink, "second")
        directory.input_nowait(input_message("a"))
        await sink.wait_output(b"\x1b[6n")
        directory.input_nowait(input_message(ANSWER))
        await sink.wait_output(b"^[[12;34R")


async def test_a_shell_that_asks_at_its_start_gets_its_answer(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    """It asked before anybody looked: the first look shows the question, further ones do not."""
    async with open_terminals(directory, program(ECHO.format(start=r"\033[c"))) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"\x1b[c")
        assert await attach(directory, sink, "first") == b"\x1b[c"
        directory.input_nowait(input_message(b"\x1b[?62c"))
        await sink.wait_output(b"^[[?62c")
        assert await attach(directory, sink, "second") == b"^[[?62c"


async def test_a_replay_begins_where_it_is_asked_to(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    async with open_terminals(directory, program(ECHO.format(start="start"))) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"start")
        scrollback = directory.terminals["term_1"].scrollback
        for letter in "abc":
            directory.input_nowait(input_message(letter))
            await sink.wait_output(letter.encode())
        since = scrollback.next_seq - 1
        await directory.attach(attach_message("tail", since))
        replay = await sink.wait_replay("tail")
        assert [(chunk.seq, chunk.data) for chunk in replay.chunks] == [(since, b"c")]
        assert replay.next_seq == since + 1
        await directory.attach(attach_message("beyond", since + 100))
        assert (await sink.wait_replay("beyond")).chunks == ()


async def test_many_attach_at_once(
    directory: TerminalDirectory, program: Programs, sink: RecordingSink
) -> None:
    async with open_terminals(directory, program(ECHO.format(start="start"))) as terminals:
        terminals.open_nowait(open_message())
        await sink.wait_output(b"start")
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(directory.attach, attach_message(f"req_{number}"))
        replays = sink.of(TerminalReplay)
        assert {replay.request_id for replay in replays} == {f"req_{n}" for n in range(20)}
        assert {shown(replay) for replay in replays} == {b"start"}
