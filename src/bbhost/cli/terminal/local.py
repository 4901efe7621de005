"""The user's side: standard input and output, raw while attached, restored whatever happens."""

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator

import trio

READ_BYTES = 4_096
MAX_COLUMNS, MAX_ROWS = 500, 200
"""Of the contract."""
FALLBACK_SIZE = os.terminal_size((80, 24))
"""Where neither input nor output is a terminal."""


@contextlib.contextmanager
def raw_mode() -> Iterator[None]:
    """Pass every key on, Ctrl-C too, while the block runs. Nothing where input is no terminal."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        # What was typed ahead belongs to the shell that is left, not to the one that comes back.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


async def read_input() -> bytes:
    """Return what was typed; empty at the end of input.

    Cancellation: nothing is lost from a terminal; of a file or pipe one read may be.
    """
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        await trio.lowlevel.wait_readable(descriptor)
        return os.read(descriptor, READ_BYTES)
    # A file cannot be waited for; the abandoned thread ends with the process.
    return await trio.to_thread.run_sync(os.read, descriptor, READ_BYTES, abandon_on_cancel=True)


async def write_output(data: bytes) -> None:
    """Write all of it, in a thread: a terminal that is held (ctrl-s) must not stop the rest."""
    await trio.to_thread.run_sync(_write_all, data, abandon_on_cancel=True)


def window_size() -> tuple[int, int]:
    """Return columns and rows of the user's terminal, within what the contract allows."""
    # Not shutil's: it believes COLUMNS and LINES, which do not follow when the window is resized.
    size = FALLBACK_SIZE
    for stream in (sys.stdout, sys.stdin):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(stream.fileno())
            break
    return min(max(size.columns, 1), MAX_COLUMNS), min(max(size.lines, 1), MAX_ROWS)


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
