"""One computation for all who ask while it runs."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class _Flight:
    done: trio.Event = field(factory=trio.Event)
    result: Any = None
    landed: bool = False


class SingleFlight(Generic[T]):
    """Shares the result of a computation between the tasks that ask for the same key.

    The first to ask computes, in its own task. If it is cancelled or fails, its error is its own and
    one of those who waited computes anew: nobody receives another's cancellation.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``compute``, run once for all concurrent callers of ``key``."""
        while True:
            flight = self._flights.get(key)
            if flight is None:
                break
            await flight.done.wait()
            if flight.landed:
                result: T = flight.result
                return result
        flight = self._flights[key] = _Flight()
        try:
            flight.result = await compute()
            flight.landed = True
            return flight.result  # type: ignore[no-any-return]
        finally:
            del self._flights[key]
            flight.done.set()
