"""Tells the server what changed in environments. Nothing here is ever repeated.

Of one kind of change in one environment at most one post leaves in 150 ms: the first at once, for it has been
debounced already, and what follows as one. There is one task for all of them and no timer per environment;
a change that cannot be posted because no session is open waits, and is still one.
"""

import heapq
from collections.abc import Callable
from logging import getLogger

import trio

from bbhost.contract.session import EnvironmentChange, EnvironmentChangePost
from bbhost.domain.ids import EnvironmentId
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
"""Between two posts of one kind of change in one environment."""
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
        self._due: dict[Key, float] = {}
        self._order: list[tuple[float, Key]] = []
        """Heap of what is in ``_due``, and of what was forgotten since."""
        self._posted: dict[Key, float] = {}
        """When the posts of the last ``COALESCE_SECONDS`` left, oldest first."""
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
        now = trio.current_time()
        due = max(now, self._posted.get(key, -COALESCE_SECONDS) + COALESCE_SECONDS)
        self._due[key] = due
        heapq.heappush(self._order, (due, key))
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
                while not self._order:
                    await self._tick.wait()
                due, key = self._order[0]
                if self._due.get(key) != due:
                    heapq.heappop(self._order)  # forgotten meanwhile
                elif due > trio.current_time():
                    with trio.move_on_at(due):
                        await self._tick.wait()
                else:
                    await self._current.wait_open()
                    # Taken here, so that at most POSTS_AT_A_TIME tasks exist.
                    place = object()
                    await self._posts.acquire_on_behalf_of(place)
                    if self._due.pop(key, None) is None:
                        self._posts.release_on_behalf_of(place)
                        continue
                    self._note_posted(key)
                    posts.start_soon(self._post, key, place)

    def _note_posted(self, key: Key) -> None:
        now = trio.current_time()
        self._posted.pop(key, None)
        self._posted[key] = now
        while now - self._posted[oldest := next(iter(self._posted))] > COALESCE_SECONDS:
            del self._posted[oldest]

    async def _post(self, key: Key, place: object) -> None:
        environment_id, change = key
        try:
            # In the session that is open now: it may have been replaced while this waited for a place.
            await self._current.request(
                lambda session_id: self._client.post_environment_change(
                    EnvironmentChangePost(session_id, environment_id, change)
                )
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
