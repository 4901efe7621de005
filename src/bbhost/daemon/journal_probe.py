"""Whether the journal takes writes, asked so that a disk that hangs keeps nobody."""

import trio
from attrs import define

from bbhost.errors import JournalError
from bbhost.journal.journal import Journal
from bbhost.session.clock import wall_clock_ms

FACT = "health.written_at"
PATIENCE_SECONDS = 2.0
"""A write that takes longer counts as one that does not happen."""


@define(eq=False)
class JournalProbe:
    """Writes one small fact when asked. One per daemon; needs its ``run``."""

    _journal: Journal
    _nursery: trio.Nursery | None = None
    _under_way: trio.Event | None = None
    _trouble: str = ""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Host the writes until cancelled. A write that hangs is waited for, as the journal does."""
        async with trio.open_nursery() as writes:
            self._nursery = writes
            task_status.started()
            await trio.sleep_forever()

    async def trouble(self) -> str:
        """Return why the journal cannot be written; empty when it can. Takes at most the patience."""
        if self._nursery is None:
            await trio.lowlevel.checkpoint()
            return "the daemon is starting or stopping"
        if self._under_way is None:
            self._under_way = trio.Event()
            self._nursery.start_soon(self._write, self._under_way)
        with trio.move_on_after(PATIENCE_SECONDS):
            await self._under_way.wait()
            return self._trouble
        return f"a write has been waiting for more than {PATIENCE_SECONDS:g} s"

    async def _write(self, done: trio.Event) -> None:
        try:
            await self._journal.set_fact(FACT, str(wall_clock_ms()))
            self._trouble = ""
        except JournalError as error:
            self._trouble = error.message
        finally:
            self._under_way = None
            done.set()
