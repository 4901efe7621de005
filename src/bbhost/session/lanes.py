"""Who waits for whom: the lanes of the wire contract (section 7).

A lane is a key with a queue. A *write* waits for everything admitted to its lane before it, a
*read* only for earlier writes. Admission is synchronous and in the order of the calls, so the order
of delivery decides, not the order in which tasks happen to run.
"""

from collections.abc import Hashable

import trio
from attrs import define, field


@define(eq=False)
class Ticket:
    """A place in a lane. Made by :meth:`Lanes.admit`; must be released in the end."""

    _lanes: "Lanes"
    key: Hashable
    is_write: bool
    _ready: trio.Event = field(factory=trio.Event)
    _left: bool = False

    async def wait_ready(self) -> None:
        """Wait for the turn. Cancellation: the place is kept until it is released."""
        await self._ready.wait()

    @property
    def is_ready(self) -> bool:
        """Whether the turn has come."""
        return self._ready.is_set()

    def release(self) -> None:
        """Leave the lane, whether or not the turn had come. Once is enough, twice does no harm."""
        if not self._left:
            self._left = True
            self._lanes.leave(self)


class Lanes:
    """All lanes. A lane exists while somebody is in it."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, list[Ticket]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def admit(self, key: Hashable, *, write: bool) -> Ticket:
        """Take the next place in the lane of ``key``."""
        ticket = Ticket(self, key, write)
        self._queues.setdefault(key, []).append(ticket)
        self._advance(key)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up a place; who waited for it may go."""
        queue = self._queues[ticket.key]
        queue.remove(ticket)
        if queue:
            self._advance(ticket.key)
        else:
            del self._queues[ticket.key]

    def _advance(self, key: Hashable) -> None:
        """Call everyone whose turn it is: the leading reads, or the leading write."""
        for place, ticket in enumerate(self._queues[key]):
            if ticket.is_write:
                if place == 0:
                    ticket._ready.set()
                return
            ticket._ready.set()
