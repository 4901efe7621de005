"""Output becomes the lines a person would see."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbhost.workspace.output_lines import MAX_PENDING_CHARS, OutputLines


def lines_of(*pieces: bytes) -> list[str]:
    output = OutputLines()
    return [line for piece in pieces for line in output.feed(piece)] + output.finish()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"10%\r50%\r\n", ["50%"]),
        (b"10%\r", ["10%"]),
        (b"a\n\n  \n\r\nb", ["a", "b"]),
        (b"  indented\n", ["  indented"]),
        (b"\r\r\nx", ["x"]),
        (b"caf\xc3\xa9 \xff\n", ["café \N{REPLACEMENT CHARACTER}"]),
        (b"", []),
    ],
)
def test_lines(text: bytes, lines: list[str]) -> None:
    """Carriage returns overwrite, blank lines go, the last line needs no newline."""
    assert lines_of(text) == lines


@pytest.mark.slow
@given(st.binary(), st.lists(st.integers(0, 100)))
def test_pieces_do_not_matter(text: bytes, cuts: list[int]) -> None:
    """However the output is cut into pieces, the lines are the same."""
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert lines_of(*pieces) == lines_of(text)


def test_a_line_without_end_is_bounded() -> None:
    """Memory does not grow with a program that never prints a newline."""
    output = OutputLines()
    for _ in range(10):
        output.feed(b"x" * MAX_PENDING_CHARS)
    assert output.finish() == ["x" * MAX_PENDING_CHARS]
