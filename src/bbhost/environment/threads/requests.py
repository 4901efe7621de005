"""Requests of users that have been carried out: a command that is delivered twice acts once."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from attrs import define, field

from bbhost.domain.ids import ThreadId

T = TypeVar("T")

REQUESTS_REMEMBERED = 4_096
"""Requests whose outcome is kept. A server delivers again within minutes, not days."""


@define(eq=False)
class _Request:
    done: trio.Event = field(factory=trio.Event)
    outcome: Any = None


class RequestMemory:
    """Outcomes by request. One that failed is forgotten, and may be tried again."""

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[ThreadId, str], _Request] = OrderedDict()

    async def once(
        self, thread_id: ThreadId, request_id: str, run: Callable[[], Awaitable[T]]
    ) -> T:
        """Run, or wait for the run that is under way, or return what it returned.

        Cancellation: of the one that runs, it; those that wait run it anew.
        """
        key = (thread_id, request_id)
        while (known := self._requests.get(key)) is not None:
            await known.done.wait()
            if self._requests.get(key) is known:
                outcome: T = known.outcome
                return outcome
        request = self._requests[key] = _Request()
        try:
            request.outcome = await run()
        except BaseException:
            del self._requests[key]
            raise
        finally:
            request.done.set()
        if len(self._requests) > REQUESTS_REMEMBERED:
            self._forget_oldest()
        return request.outcome  # type: ignore[no-any-return] # set just above

    def _forget_oldest(self) -> None:
        for key, request in self._requests.items():
            if request.done.is_set():
                del self._requests[key]
                return
