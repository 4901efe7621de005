"""Input on its way to a shell, bounded."""

from collections import deque

from attrs import define, field

from bbhost.toolkit.tick import Tick

MAX_BYTES = 1024 * 1024
"""Input that waits for a shell that does not read. What comes beyond is dropped, message by message:
the task that reads from the server must not wait for a shell."""


@define(eq=False)
class InputQueue:
    """Bytes from the server, in order."""

    max_bytes: int = MAX_BYTES
    dropped_bytes: int = field(default=0, init=False)
    """Bytes that did not fit."""
    _waiting: deque[bytes] = field(factory=deque, init=False)
    _size: int = field(default=0, init=False)
    _ready: Tick = field(factory=Tick, init=False)

    def put(self, data: bytes) -> bool:
        """Add input; False where it did not fit and was dropped. Never blocks."""
        if self._size + len(data) > self.max_bytes:
            self.dropped_bytes += len(data)
            return False
        self._waiting.append(data)
        self._size += len(data)
        self._ready.set()
        return True

    async def get(self) -> bytes:
        """Wait for input and take the oldest. Cancellation: safe; nothing is lost."""
        while not self._waiting:
            await self._ready.wait()
        data = self._waiting.popleft()
        self._size -= len(data)
        return data
