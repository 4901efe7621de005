"""Which control sequences make an emulator answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbhost.contract.messages import TerminalChunk
from bbhost.terminals import replay
from bbhost.terminals.queries import find_queries, has_query, is_answer
from bbhost.terminals.replay import replay_chunks, replay_steps

QUERIES = {
    "ENQ": b"\x05",
    "DSR status": b"\x1b[5n",
    "DSR cursor": b"\x1b[6n",
    "DSR extended cursor": b"\x1b[?6n",
    "DSR colour scheme": b"\x1b[?996n",
    "DA1": b"\x1b[c",
    "DA1 with parameter": b"\x1b[0c",
    "DA2": b"\x1b[>c",
    "DA3": b"\x1b[=0c",
    "DECID": b"\x1bZ",
    "DECID as C1": b"\xc2\x9a",
    "DSR as C1": b"\xc2\x9b6n",
    "text area size": b"\x1b[18t",
    "window state": b"\x1b[11t",
    "window position": b"\x1b[13;2t",
    "cell size": b"\x1b[16t",
    "icon title": b"\x1b[20t",
    "title": b"\x1b[21t",
    "title with zeros": b"\x1b[021t",
    "DECRQM": b"\x1b[?2026$p",
    "DECRQM ANSI": b"\x1b[4$p",
    "DECREQTPARM": b"\x1b[1x",
    "XTVERSION": b"\x1b[>q",
    "XTVERSION with parameter": b"\x1b[>0q",
    "kitty keyboard": b"\x1b[?u",
    "DECRQUPSS": b"\x1b[&u",
    "DECRQTSR": b"\x1b[1$u",
    "DECRQPSR": b"\x1b[1$w",
    "DECRQDE": b'\x1b["v',
    "DECRQCRA": b"\x1b[1;1;1;1;1;1*y",
    "DECRQLP": b"\x1b['|",
    "XTREPORTSGR": b"\x1b[1;1;2;2#|",
    "XTREPORTCOLORS": b"\x1b[#R",
    "XTQMODKEYS": b"\x1b[?4m",
    "XTQFMTKEYS": b"\x1b[?1g",
    "XTSMGRAPHICS": b"\x1b[?1;1;0S",
    "DECRQSS": b"\x1bP$qm\x1b\\",
    "DECRQSS as C1": b"\xc2\x90$q q\xc2\x9c",
    "XTGETTCAP": b"\x1bP+q544e\x1b\\",
    "XTGETXRES": b"\x1bP+Q6162\x1b\\",
    "clipboard read": b"\x1b]52;c;?\x07",
    "clipboard write": b"\x1b]52;c;aGk=\x1b\\",
    "clipboard with zeros": b"\x1b]052;;?\x07",
    "kitty clipboard": b"\x1b]5522;type=read\x07",
    "palette": b"\x1b]4;1;?;2;?\x07",
    "foreground": b"\x1b]10;?\x07",
    "background": b"\x1b]11;?\x1b\\",
    "cursor colour as C1": b"\xc2\x9d12;?\xc2\x9c",
    "kitty colour": b"\x1b]21;foreground=?\x07",
    "font": b"\x1b]50;?\x07",
    "iTerm cell size": b"\x1b]1337;ReportCellSize\x07",
    "iTerm upload": b"\x1b]1337;RequestUpload=format=tgz\x07",
    "kitty graphics": b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
    "control character inside": b"\x1b[\n6n",
    "control characters everywhere": b"\x1b\x00[\x016\x7fn",
    "control character in a string": b"\x1b]5\x002;c;?\x07",
    "long string": b"\x1b]52;c;" + b"QUJD" * 50_000 + b"\x07",
}

OTHERS = {
    "colour": b"\x1b[31m",
    "many colours": b"\x1b[0;1;38;5;3;48:2::1:2:3m",
    "restore cursor": b"\x1b[u",
    "kitty keyboard push": b"\x1b[>1u",
    "kitty keyboard pop": b"\x1b[<u",
    "kitty keyboard set": b"\x1b[=1;1u",
    "cursor shape": b"\x1b[2 q",
    "protection": b'\x1b[1"q',
    "soft reset": b"\x1b[!p",
    "push title": b"\x1b[22;0t",
    "resize": b"\x1b[8;24;80t",
    "modes": b"\x1b[?1049;2004h\x1b[?25l",
    "erase and move": b"\x1b[2J\x1b[H\x1b[12;40H\x1b[K",
    "scroll": b"\x1b[3S\x1b[2;5r",
    "copy rectangle": b"\x1b[1;1;2;2;1;1;1;1$v",
    "fill rectangle": b"\x1b[32;1;1;2;2$x",
    "modify keys": b"\x1b[>4;2m\x1b[>4n",
    "title with question mark": b"\x1b]0;what?;?\x07",
    "link": b"\x1b]8;;http://example.invalid/?a=?\x1b\\text\x1b]8;;\x1b\\",
    "set colour": b"\x1b]11;#102030\x07",
    "prompt mark": b"\x1b]133;A\x07",
    "iTerm image": b"\x1b]1337;File=inline=1:AAAA\x07",
    "answer to DECRQSS": b"\x1bP1$r0m\x1b\\",
    "sixel": b"\x1bPq#0;2;0;0;0#0~~\x1b\\",
    "silent kitty graphics": b"\x1b_Gi=1,q=2,a=T;AAAA\x1b\\",
    "letters of other scripts": "âÂ ü✛ 日本語".encode(),
    "bare byte that is no C1 control": "✛".encode() + b"6n",
    "cancelled": b"\x1b]52;c;?\x18\x1b[6\x18n",
    "not begun": b"[6n ]52;c;?",
    "NEL": b"\xc2\x85",
}


def spans(text: bytes) -> list[tuple[int, int]]:
    return list(find_queries(text, 0, len(text)))


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_is_found_and_nothing_around_it(query: bytes) -> None:
    assert spans(b"ab" + query + b"cd") == [(2, 2 + len(query))]


@pytest.mark.slow
@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_everything_else_stays(text: bytes) -> None:
    assert spans(b"ab" + text + b"cd") == []


@pytest.mark.parametrize("query", [q for q in QUERIES.values() if 1 < len(q) < 100])
def test_a_query_that_is_not_complete_stays(query: bytes) -> None:
    """What follows live completes it, and is live then."""
    for length in range(1, len(query)):
        prefix = query[:length]
        if prefix.endswith((b"\x1b", b"\xc2")):
            continue  # the beginning of a terminator ends some strings already
        assert not has_query(b"ab" + prefix)


def test_a_string_cut_off_by_another_sequence_counts() -> None:
    """An emulator acts on it; and on the sequence that cut it off, which stays."""
    assert spans(b"\x1b]52;c;?\x1b[31m") == [(0, 8)]
    assert spans(b"\x1b]0;title\x1b[6n") == [(9, 13)]


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b[12;34R",
        b"\x1b[?12;34R",
        b"\x1b[0n",
        b"\x1b[?62;4c",
        b"\x1b[>0;276;0c",
        b"\x1b[8;24;80t",
        b"\x1b[?2026;2$y",
        b"\x1b[?1u",
        b"\x1b[I",
        b"\x1b]11;rgb:0000/0000/0000\x1b\\",
        b"\x1b]52;c;aGk=\x07",
        b"\x1bP>|xterm(388)\x1b\\",
        b"\x1bP1+r544e=787465726d\x1b\\",
        b"\x1b_Gi=31;OK\x1b\\",
        b"\x1b[1;1R\x1b[?1;2c",
    ],
)
def test_answers_are_recognised(answer: bytes) -> None:
    assert is_answer(answer)


@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b"a",
        b"\x1b",
        b"\x1b[A",
        b"\x1b[1;5D",
        b"\x1bOP",
        b"\x1b[Z",
        b"\x1b[3~",
        b"\x03",
        b"\x1b[200~pasted\x1b[201~",
        b"\x1b[1;1Rls\r",
        b"\x1b[<0;10;10M",
        b"\x1b[97;5u",
    ],
)
def test_what_a_user_types_is_no_answer(typed: bytes) -> None:
    assert not is_answer(typed)


# --- replay ---------------------------------------------------------------------------------

BITS = [
    b"plain ",
    b"\r\n",
    "°".encode(),
    b"\x1b",
    b"\xc2",
    b"\xc2\x9d52;c;\xc2\xb0",
    b"\x9c",
    b"\\",
]
PIECES = st.sampled_from([*list(QUERIES.values())[:-1], *OTHERS.values(), *BITS])


def chunked(text: bytes, size: int) -> list[TerminalChunk]:
    return [
        TerminalChunk(7 + number, text[start : start + size])
        for number, start in enumerate(range(0, len(text), size))
    ]


def shown(chunks: list[TerminalChunk]) -> bytes:
    return b"".join(chunk.data for chunk in replay_chunks(chunks))


@pytest.mark.slow
@given(st.lists(PIECES), st.integers(1, 40), st.integers(1, 200))
@settings(deadline=None)
def test_where_chunks_and_steps_end_makes_no_difference(
    pieces: list[bytes], size: int, step: int
) -> None:
    text = b"".join(pieces)
    position, kept = 0, b""
    for start, end in spans(text):
        kept += text[position:start]
        position = end
    kept += text[position:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "STEP_BYTES", step)
        assert shown(chunked(text, size)) == kept


@given(st.binary(), st.integers(1, 20))
@pytest.mark.slow
def test_any_bytes_can_be_shown(text: bytes, size: int) -> None:
    once = shown(chunked(text, size))
    assert len(once) <= len(text)


def test_numbers_stay_and_empty_chunks_are_left_out() -> None:
    chunks = [TerminalChunk(3, b"a\x1b"), TerminalChunk(4, b"[6"), TerminalChunk(5, b"nb")]
    assert replay_chunks(chunks) == [TerminalChunk(3, b"a"), TerminalChunk(5, b"b")]
    assert replay_chunks([]) == []


def test_untouched_chunks_are_not_copied() -> None:
    chunks = chunked(b"\x1b[31mred\x1b[0m" * 100, 50)
    assert all(new is old for new, old in zip(replay_chunks(chunks), chunks, strict=True))


def test_a_long_scrollback_is_shown_in_steps() -> None:
    chunks = chunked(b"line of text\r\n" * 20_000, 4096)
    steps = list(replay_steps(chunks))
    assert len(steps) == -(-20_000 * 14 // replay.STEP_BYTES)
    assert [chunk for step in steps for chunk in step] == chunks
