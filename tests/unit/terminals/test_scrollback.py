"""What is remembered of a terminal's output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbhost.contract.messages import TerminalChunk
from bbhost.terminals.scrollback import MAX_BYTES, MAX_CHUNKS, Scrollback


def test_numbers_count_up_from_zero() -> None:
    scrollback = Scrollback()
    assert scrollback.append(b"a") == [TerminalChunk(0, b"a")]
    assert scrollback.append(b"") == []
    assert scrollback.append(b"b") == [TerminalChunk(1, b"b")]
    assert scrollback.next_seq == 2


def test_long_output_is_cut_into_chunks() -> None:
    scrollback = Scrollback()
    chunks = scrollback.append(b"x" * 131_073)
    assert [len(chunk.data) for chunk in chunks] == [65_536, 65_536, 1]
    assert [chunk.seq for chunk in chunks] == [0, 1, 2]


def test_the_oldest_is_forgotten_at_either_bound() -> None:
    scrollback = Scrollback()
    for _ in range(100):
        scrollback.append(b"x" * 65_536)
    assert scrollback.size == MAX_BYTES
    assert scrollback.chunks()[0].seq == 100 - 64
    for _ in range(MAX_CHUNKS + 5):
        scrollback.append(b"y")
    assert len(scrollback) == scrollback.size == MAX_CHUNKS
    assert scrollback.next_seq == 100 + MAX_CHUNKS + 5


@given(st.lists(st.binary(max_size=30)), st.integers(1, 50), st.integers(1, 5))
@pytest.mark.slow
def test_the_bounds_hold_and_the_end_is_kept(
    outputs: list[bytes], max_bytes: int, max_chunks: int
) -> None:
    scrollback = Scrollback(max_bytes, max_chunks)
    for output in outputs:
        scrollback.append(output)
    chunks = scrollback.chunks()
    kept = b"".join(chunk.data for chunk in chunks)
    assert len(kept) == scrollback.size <= max_bytes
    assert len(chunks) <= max_chunks
    assert b"".join(outputs).endswith(kept)
    assert [chunk.seq for chunk in chunks] == list(
        range(scrollback.next_seq - len(chunks), scrollback.next_seq)
    )


def test_a_restored_one_goes_on() -> None:
    scrollback = Scrollback.restored([TerminalChunk(4, b"ab"), TerminalChunk(5, b"c")], 6)
    assert scrollback.append(b"d") == [TerminalChunk(6, b"d")]
    assert scrollback.size == 4
