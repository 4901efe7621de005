"""Tells the server what changed in environments. Nothing here is ever repeated.

Changes of one kind in one environment within 150 ms are one post. There is one task for all of them
and no timer per environment; a change that cannot be posted because no session is open waits, and
is still one.
"""

from collections.abc import Callable
from logging import getLogger

import trio

from bbhost.contract.session import EnvironmentChange, EnvironmentChangePost
from bbhost.domain.ids import EnvironmentId, SessionId
from bbhost.session.client import ServerClient
from bbhost.session.current import CurrentSession
from bbhost.session.errors import (
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
)
from bbhost.toolkit.tick import Tick

log = getLogger(__name__)

COALESCE_SECONDS = 0.15
"""From the first change of a kind in an environment to its post."""
WAITING_LIMIT = 10_000
"""Environments and kinds that wait for their post. At the bound further ones are dropped with a
log line; the server's users see them at their next look."""
POSTS_AT_A_TIME = 4
"""Concurrent posts: a commit may change the refs of hundreds of environments."""

_GONE = frozenset({404, 410})

Key = tuple[EnvironmentId, EnvironmentChange]


class ChangeReporter:
    """Posts environment changes, coalesced."""

    def __init__(
        self,
        client: ServerClient,
        current: CurrentSession,
        forgotten: Callable[[EnvironmentId], None],
    ) -> None:
        self._client = client
        self._current = current
        self._forgotten = forgotten
        # In the order in which they are due, because every delay is the same.
        self._due: dict[Key, float] = {}
        self._tick = Tick()
        self._posts = trio.CapacityLimiter(POSTS_AT_A_TIME)

    def changed(self, environment_id: EnvironmentId, change: EnvironmentChange) -> None:
        """Something changed; it will be posted once, soon."""
        key = (environment_id, change)
        if key in self._due:
            return
        if len(self._due) >= WAITING_LIMIT:
            log.warning("too many changes wait: %s of %s is dropped", change, environment_id)
            return
        self._due[key] = trio.current_time() + COALESCE_SECONDS
        self._tick.set()

    def forget(self, environment_id: EnvironmentId) -> None:
        """Post nothing more of what has changed in this environment so far."""
        for change in EnvironmentChange:
            self._due.pop((environment_id, change), None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Post for ever. Cancellation: what waits is dropped."""
        async with trio.open_nursery() as posts:
            task_status.started()
            while True:
                while not self._due:
                    await self._tick.wait()
                key, due = next(iter(self._due.items()))
                await trio.sleep_until(due)
                session = await self._current.wait_open()
                if self._due.pop(key, None) is None:
                    continue  # forgotten meanwhile
                # Taken here, so that at most POSTS_AT_A_TIME tasks exist.
                place = object()
                await self._posts.acquire_on_behalf_of(place)
                posts.start_soon(self._post, key, session.session_id, place)

    async def _post(self, key: Key, session_id: SessionId, place: object) -> None:
        environment_id, change = key
        post = EnvironmentChangePost(session_id, environment_id, change)
        try:
            await self._current.request(
                lambda _session: self._client.post_environment_change(post)
            )
        except ServerRefusedError as error:
            if error.status in _GONE:
                log.info("the server has forgotten %s: %s", environment_id, error)
                self.forget(environment_id)
                self._forgotten(environment_id)
            else:
                log.info("%s of %s was not taken: %s", change, environment_id, error)
        except (NoSessionError, ServerUnreachableError, ServerAnswerError) as error:
            log.info("%s of %s was not taken: %s", change, environment_id, error)
        finally:
            self._posts.release_on_behalf_of(place)
