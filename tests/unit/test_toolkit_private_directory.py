"""Directories that are their user's alone, those above them included."""

import os
import stat
from pathlib import Path

import pytest

from bbhost.toolkit.private_directory import make_private_directory


def test_all_that_is_missing_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        there = tmp_path / "there"
        there.mkdir(mode=0o755)
        make_private_directory(there / "a" / "b" / "c")
        make_private_directory(there / "a" / "b")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((there / one).stat().st_mode) for one in (".", "a", "a/b", "a/b/c")]
    assert [oct(mode) for mode in modes] == ["0o755", "0o700", "0o700", "0o700"]


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError):
        make_private_directory(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_private_directory(tmp_path / "file" / "below")
