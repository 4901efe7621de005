"""The wish that the daemon stop."""

import trio
from attrs import define, field


@define(eq=False)
class StopRequest:
    """Set once the daemon is to stop; says why."""

    event: trio.Event = field(factory=trio.Event)
    reason: str = ""

    def set(self, reason: str) -> None:
        """Ask the daemon to stop. The first reason stays."""
        if not self.event.is_set():
            self.reason = reason
            self.event.set()
