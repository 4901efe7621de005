"""``bbhost term`` in a real pty: raw mode, size, leaving, coming back, the shell's end."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attrs import define

from tests.system.cli.conftest import CommandLine

pytestmark = pytest.mark.slow
ECHO_SECONDS = 60.0
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the pty the controlling terminal of its session, as a shell in a window has it."""


@define(eq=False)
class Screen:
    """The user's side of a pty."""

    process: subprocess.Popen[bytes]
    descriptor: int
    seen: bytes = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.descriptor, keys)

    def wait(self, wanted: bytes) -> bytes:
        """Read until something is shown; return what was shown up to then, and forget it."""
        deadline = time.monotonic() + ECHO_SECONDS
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            ready = select.select([self.descriptor], [], [], max(left, 0))[0]
            assert ready, f"{wanted!r} was not shown: {self.seen!r}"
            try:
                self.seen += os.read(self.descriptor, 65_536)
            except OSError:
                pytest.fail(f"ended before {wanted!r}: {self.seen!r}")
        shown, _, self.seen = self.seen.partition(wanted)
        return shown + wanted

    def is_raw(self) -> bool:
        """Whether keys are passed on as they are."""
        return not termios.tcgetattr(self.descriptor)[3] & termios.ICANON

    def finish(self) -> int:
        """Wait for the command's end; return its exit code."""
        return self.process.wait(ECHO_SECONDS)


@contextmanager
def screen(cli: CommandLine, *arguments: str) -> Iterator[Screen]:
    """Run a command in a pty of 100 columns and 30 rows."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "bbhost", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cli.environ,
        cwd=cli.place,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        os.close(ours)
        process.wait(ECHO_SECONDS)


def test_open_leave_come_back_and_end(up: CommandLine) -> None:
    """A terminal keeps running while nobody looks, and shows what it has printed to who comes back."""
    up.json("env", "create", str(up.repository), "--name", "term")
    with screen(up, "term", "open", "term") as first:
        first.type(b"stty size; echo re''ady\n")
        assert b"30 100" in first.wait(b"ready")
        assert first.is_raw()
        # Resized: the shell sees the new size.
        fcntl.ioctl(first.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 90, 0, 0))
        first.type(b"until [ \"$(stty size)\" = '20 90' ]; do :; done; echo re''sized\n")
        first.wait(b"resized")
        first.type(b"printf '\\033[?1049h\\033[?25l'; echo mo''des\n")
        first.wait(b"modes")
        first.type(b"\x10\x11")
        left = first.wait(b"comes back]")
        assert b"\x1b[?25h\x1b[?1049l" in left
        assert not first.is_raw()
        assert first.finish() == 0
    found = re.search(rb"attach (term_\w+)", left)
    assert found
    terminal = found[1].decode()
    shown = {one["id"]: one for one in up.json("term", "ls", "term")["terminals"]}
    assert shown[terminal]["state"] == "open"
    with screen(up, "term", "attach", terminal) as second:
        second.wait(b"modes")
        second.type(b"exit 3\n")
        second.wait(b"exit code 3]")
        assert second.finish() == 1
    up.json("env", "destroy", "term")


def test_an_unknown_terminal_is_refused(up: CommandLine) -> None:
    """It is said before the terminal is touched."""
    with screen(up, "term", "attach", "term_none") as one:
        one.wait(b"bbhost: ")
        assert one.finish() in {3, 4}
