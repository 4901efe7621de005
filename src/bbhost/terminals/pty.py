"""A pseudo-terminal: the daemon's side of it, and making one."""

import fcntl
import math
import os
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import trio

_READ_BYTES = 16_384  # a pty hands out at most a few KiB at a time

LINGER_SECONDS = 0.002
"""How long a slice waits for more when output streams, so that it need not go out in crumbs."""


class PtyMaster:
    """The daemon's side: what the shell writes is read here, what is written here it reads.

    One task may read and one may write at a time.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``, the master side of a pseudo-terminal."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._unread = bytearray()
        self._ended = False

    @property
    def descriptor(self) -> int:
        """The file descriptor; -1 when closed."""
        return self._descriptor

    async def read_slice(self, limit: int, stream_until: float = -math.inf) -> bytes:
        """Read what is there, at least one byte and at most ``limit``; ``b""`` at the end.

        Args:
            stream_until: where the first bytes come before that time, wait ``LINGER_SECONDS`` more
                for ``limit`` to be reached.

        At most ``limit`` bytes are read between two checkpoints, so a flood delays nobody.
        Cancellation: safe; nothing that was read is lost.
        """
        await self._fill(limit)
        if trio.current_time() < stream_until and not self._ended:
            with trio.move_on_after(LINGER_SECONDS):
                while len(self._unread) < limit and not self._ended:
                    await self._fill(limit)
        data = bytes(self._unread[:limit])
        del self._unread[:limit]
        return data

    def take_unread(self) -> bytes:
        """Give out what was read from the system and by no caller yet."""
        data = bytes(self._unread)
        self._unread.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Write all of ``data``; waits while the shell does not read. At the end it goes nowhere.

        Cancellation: part of it may have been written.
        """
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(self._descriptor)
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                continue
            except OSError:
                return  # EIO: nobody has the other side open any more

    def resize(self, cols: int, rows: int) -> None:
        """Tell the programs in the terminal its size."""
        set_size(self._descriptor, cols, rows)

    def foreground_group(self) -> int | None:
        """Id of the process group that has the terminal now, None where there is none."""
        try:
            group = os.tcgetpgrp(self._descriptor)
        except OSError:
            return None
        return group if group > 0 else None

    def close(self) -> None:
        """Close it: the kernel hangs up on whatever still uses the other side. Idempotent."""
        if self._descriptor >= 0:
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    async def _fill(self, limit: int) -> None:
        """Wait for output unless the limit is reached already, and take in what is there."""
        if len(self._unread) >= limit or self._ended:
            await trio.lowlevel.checkpoint()
            return
        await trio.lowlevel.wait_readable(self._descriptor)
        while len(self._unread) < limit:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""  # EIO: nobody has the other side open any more
            if not data:
                self._ended = True
                return
            self._unread += data


@contextmanager
def open_pty(cols: int, rows: int) -> Iterator[tuple[PtyMaster, int]]:
    """Make a pseudo-terminal; yields its master side and the descriptor of the other.

    The other side is closed on the way out: it is for the child. The master is closed only where the
    body raised; else it belongs to the caller.

    Raises:
        OSError: the system has none left.
    """
    master, slave = os.openpty()
    pty = PtyMaster(master)
    try:
        set_size(slave, cols, rows)
        yield pty, slave
    except BaseException:
        pty.close()
        raise
    finally:
        os.close(slave)


def set_size(descriptor: int, cols: int, rows: int) -> None:
    """Set the size of a pseudo-terminal, in characters."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
