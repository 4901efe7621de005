"""Cutting a diff to what a server asked for, counted in the server's units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbhost.workspace.diff_text import CutText

TEXT = st.text("aé😀\n", max_size=12)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(st.lists(TEXT, max_size=6), st.integers(0, 20))
@pytest.mark.slow
def test_the_longest_beginning_that_fits_is_kept(pieces: list[str], limit: int) -> None:
    """In UTF-16 units, however the text comes; no character is cut in half, and a cut is told."""
    cut = CutText(limit)
    for piece in pieces:
        cut.add(piece)
    whole, kept = "".join(pieces), str(cut)
    assert whole.startswith(kept)
    assert units(kept) <= limit
    assert cut.truncated == (kept != whole)
    if cut.truncated:
        assert units(whole[: len(kept) + 1]) > limit
