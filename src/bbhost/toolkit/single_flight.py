"""One computation for all who ask while it runs."""

import copy
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class _Flight:
    done: trio.Event = field(factory=trio.Event)
    result: Any = None
    error: Exception | None = None
    landed: bool = False
    """It has a result or an error; else it was cancelled."""


class SingleFlight(Generic[T]):
    """Shares the result of a computation between the tasks that ask for the same key.

    The first to ask computes, in its own task. If that fails, those who waited fail alike: a git that
    hangs costs them all one deadline, and not each its own after the others'. If it is cancelled, one
    of those who waited computes anew: nobody receives another's cancellation.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``compute``, run once for all concurrent callers of ``key``.

        Raises:
            Exception: what ``compute`` raised; who waited gets a copy, with a traceback of its own.
        """
        while True:
            flight = self._flights.get(key)
            if flight is None:
                break
            await flight.done.wait()
            if flight.error is not None:
                raise copy.copy(flight.error) from flight.error
            if flight.landed:
                result: T = flight.result
                return result
        flight = self._flights[key] = _Flight()
        try:
            flight.result = await compute()
            flight.landed = True
            return flight.result  # type: ignore[no-any-return]
        except Exception as error:
            flight.error, flight.landed = error, True
            raise
        finally:
            del self._flights[key]
            flight.done.set()
