"""What all services share: the database, who is connected, who listens, who waits.

A transaction collects what is to be told in an :class:`Aftermath`, which is told once it is
committed: nobody hears of what a roll-back undid, and nobody reads a state older than the news.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from attrs import Factory, define, frozen

from bbhost.contract.messages import CommandsAvailable, ServerMessage
from bbhost.hub.api.notifications import Notification
from bbhost.hub.config import HubConfig
from bbhost.hub.services.notifications import Broadcaster
from bbhost.hub.services.outbox import Outbox
from bbhost.hub.services.sessions import Session, Sessions
from bbhost.hub.services.waiters import Waiters
from bbhost.hub.storage.commands import Outcome
from bbhost.hub.storage.database import Database

T = TypeVar("T")
DaemonOutbox = Outbox[ServerMessage]
DaemonSession = Session[DaemonOutbox]


@define
class Aftermath:
    """What follows from a transaction once it is committed."""

    notifications: list[Notification] = Factory(list)
    hinted_hosts: set[str] = Factory(set)
    """Hosts for which commands are waiting."""
    outcomes: list[tuple[str, Outcome]] = Factory(list)
    """Commands settled, by id."""
    appended_threads: set[str] = Factory(set)
    """Threads with new events."""

    def tell(self, notification: Notification) -> None:
        """Publish ``notification`` after the commit."""
        self.notifications.append(notification)


Step = Callable[[sqlite3.Connection, Aftermath], T]


@frozen(eq=False)
class Core:
    """The shared pieces of one running hub."""

    config: HubConfig
    database: Database
    sessions: Sessions[DaemonOutbox]
    broadcaster: Broadcaster
    waiters: Waiters

    async def transact(self, step: Step[T], *, durable: bool = False) -> T:
        """Run ``step`` as one transaction, then tell what it left to be told.

        Cancellation: takes effect before the transaction begins; once begun, it is told as well.
        """
        after = Aftermath()

        def work(db: sqlite3.Connection) -> T:
            return step(db, after)

        result = await self.database.run(work, durable=durable)
        self._conclude(after)
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a transaction that changes nothing."""
        return await self.database.run(work)

    def _conclude(self, after: Aftermath) -> None:
        for command_id, outcome in after.outcomes:
            self.waiters.answer(command_id, outcome)
        for host_id in after.hinted_hosts:
            self.waiters.note_commands(host_id)
            self._hint(host_id)
        for thread_id in after.appended_threads:
            self.waiters.note_events(thread_id)
        for notification in after.notifications:
            self.broadcaster.publish(notification)

    def _hint(self, host_id: str) -> None:
        session = self.sessions.of_host(host_id)
        if session is not None and session.socket is not None:
            session.socket.put(CommandsAvailable())
