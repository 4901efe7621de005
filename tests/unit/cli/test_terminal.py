"""The keys that leave a terminal, and the modes that are put back."""

import pytest

from bbhost.cli.terminal.keys import KeyScanner
from bbhost.cli.terminal.modes import ModeTracker


@pytest.mark.parametrize(
    ("typed", "forwarded", "leaves"),
    [
        ([b"ls\n"], b"ls\n", False),
        ([b"a\x1cb"], b"a", True),
        ([b"\x10\x11"], b"", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x11"], b"\x11", False),
    ],
)
def test_only_the_keys_leave(typed: list[bytes], forwarded: bytes, leaves: bool) -> None:
    """Everything else reaches the shell, a held ctrl-p too once another key follows."""
    scanner, got, left = KeyScanner(), b"", False
    for part in typed:
        passed, left = scanner.feed(part)
        got += passed
    assert (got, left) == (forwarded, leaves)


def test_modes_are_put_back() -> None:
    """What a program left on is switched off, what it hid is shown, and nothing else is sent."""
    tracker = ModeTracker()
    tracker.follow(b"\x1b[?1049h\x1b[?25l text \x1b[?2004h\x1b[?20")
    tracker.follow(b"04l\x1b[?1000;1006h")
    assert tracker.reset() == b"\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?1049l"


def test_a_quiet_program_leaves_nothing_to_put_back() -> None:
    """Switching the other screen off where it is not on would move the cursor."""
    tracker = ModeTracker()
    tracker.follow(b"\x1b[?1049h...\x1b[?1049l")
    assert tracker.reset() == b"\x1b[0m"
