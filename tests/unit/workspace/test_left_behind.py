"""Temporary files of a daemon that was killed while it wrote."""

import os
import subprocess
from pathlib import Path

from bbhost.workspace.files.writing import temporary_name, write_file_relative


def test_the_next_write_removes_them(tmp_path: Path) -> None:
    """Only those for the same file, and only where their process is gone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    own = temporary_name("a.txt")
    ours = own.replace(f".{os.getpid()}.", f".{gone.pid}.")
    others = temporary_name("b.txt").replace(f".{os.getpid()}.", f".{gone.pid}.")
    kept = {own, others, f".a.txt.{gone.pid}.notes.tmp", ".a.txt.swp"}
    for name in (ours, *kept):
        (tmp_path / name).write_text("half")
    write_file_relative(str(tmp_path), "a.txt", b"whole", dotfiles=False)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"a.txt"}
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
