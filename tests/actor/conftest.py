"""A supervisor over a world in memory."""

from collections.abc import AsyncIterator

import pytest
import trio

from bbhost.environment.supervisor import Supervisor
from tests.fakes.world import FakeWorld


@pytest.fixture
def world() -> FakeWorld:
    """An empty world."""
    return FakeWorld()


@pytest.fixture
async def supervisor(world: FakeWorld) -> AsyncIterator[Supervisor]:
    """A running supervisor of that world."""
    supervisor = Supervisor(world.services())
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        try:
            yield supervisor
        finally:
            nursery.cancel_scope.cancel()
