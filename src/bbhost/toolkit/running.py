"""A service that runs while a block does.

Unlike in a plain nursery, the block may still use the service while it cleans up: the service is
cancelled only after the block has been left.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def running(service: Callable[..., Awaitable[Any]], *args: object) -> AsyncIterator[Any]:
    """Start ``service`` with ``nursery.start``, give what it reports, cancel it after the block.

    Raises:
        ExceptionGroup: of the service, where it fails; the block is cancelled then.
    """
    async with trio.open_nursery() as nursery:
        started = await nursery.start(service, *args)
        try:
            yield started
        finally:
            nursery.cancel_scope.cancel(reason="no longer needed")
