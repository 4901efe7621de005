"""Events of one agent in one order, whoever makes them."""

from collections.abc import Callable, Iterable

import trio

from bbhost.agents.provider import AgentHost
from bbhost.contract.events import ThreadEvent


class Emitter:
    """Hands events to a host; what is made together stays together."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        # The reading task and the tasks that serve requests both emit; first come, first served.
        self._order = trio.Lock()

    async def emit(self, make: Callable[[], Iterable[ThreadEvent]]) -> None:
        """Make events when it is our turn, and emit them all.

        Cancellation: some of them may have been emitted.
        """
        async with self._order:
            for event in make():
                await self._host.emit(event)
