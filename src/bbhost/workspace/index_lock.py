"""Waiting for a git of a former daemon to let go of a checkout."""

import trio

from bbhost.toolkit.backoff import backoff_delays
from bbhost.workspace.disk import on_disk
from bbhost.workspace.repository import Repository

WAIT_SECONDS = 10.0
"""A git that is still at work after that is not waited for; a lock left by a killed one would stay for ever."""


async def wait_index_unlocked(repository: Repository) -> bool:
    """Wait until no git has the index locked. False: it is locked still after ``WAIT_SECONDS``.

    There is no event for the end of a process that is not ours, so this looks again and again.
    """
    lock = repository.git_dir / "index.lock"
    with trio.move_on_after(WAIT_SECONDS):
        for delay in backoff_delays(0.01, 0.5):
            if not await on_disk(lock.exists):
                return True
            await trio.sleep(delay)
    return False
