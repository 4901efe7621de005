"""A wake-up without data: any number of ``set`` calls before a ``wait`` are one wake-up."""

import trio


class Tick:
    """Coalescing wake-up for one waiting task."""

    def __init__(self) -> None:
        # Capacity 1: a tick that is already pending absorbs the next ones.
        self._send, self._receive = trio.open_memory_channel[None](1)

    def set(self) -> None:
        """Wake the waiter, now or when it next waits. Never blocks."""
        try:
            self._send.send_nowait(None)
        except trio.WouldBlock:
            return

    async def wait(self) -> None:
        """Wait for the next tick and consume it. Cancellation: safe; the tick is kept."""
        await self._receive.receive()
