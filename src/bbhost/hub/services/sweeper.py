"""What has to be looked at now and then: leases, unanswered commands, failed destroys."""

import logging

import trio

from bbhost.errors import BbhostError
from bbhost.hub.services.assembly import Services

logger = logging.getLogger(__name__)


async def run_sweeper(services: Services) -> None:
    """Sweep for ever. A sweep that fails is logged, and the next one tries again."""
    while True:
        await trio.sleep(services.core.config.timings.sweep_seconds)
        try:
            await sweep(services)
        except (BbhostError, OSError) as error:
            logger.warning("a sweep failed and is tried again: %s", error)


async def sweep(services: Services) -> None:
    """Do everything that is due, once."""
    await services.life.sweep()
    services.terminals.sweep()
    await services.queue.sweep()
    await services.environments.sweep()
