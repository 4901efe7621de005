"""How late the event loop is: the one thing that everything else in the daemon waits for."""

from collections import deque

import trio
from attrs import define, field

INTERVAL_SECONDS = 3.0
"""One wake-up of one task in this time is all that it costs."""
WINDOW = 20
"""Measurements remembered: one minute."""


@define(eq=False)
class LoopLag:
    """Measures by sleeping, and seeing how late it wakes up. One per daemon."""

    last_seconds: float = 0.0
    """As of the last wake-up."""
    _recent: deque[float] = field(factory=lambda: deque(maxlen=WINDOW), init=False)
    _due: float | None = field(default=None, init=False)

    @property
    def worst_seconds(self) -> float:
        """The worst of the last minute."""
        return max(self._recent, default=0.0)

    def overdue_seconds(self, now: float) -> float:
        """How long the next wake-up is overdue at ``now`` (``trio.current_time()``)."""
        return 0.0 if self._due is None else max(0.0, now - self._due)

    def observe(self, seconds: float) -> None:
        """Take one measurement."""
        self.last_seconds = seconds
        self._recent.append(seconds)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure until cancelled."""
        task_status.started()
        while True:
            due = self._due = trio.current_time() + INTERVAL_SECONDS
            await trio.sleep_until(due)
            self.observe(trio.current_time() - due)
