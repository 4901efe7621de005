"""All services of a hub, put together."""

from attrs import frozen

from bbhost.hub.config import HubConfig
from bbhost.hub.services.attachments import Attachments
from bbhost.hub.services.core import Core
from bbhost.hub.services.environment_outcomes import environment_settlers
from bbhost.hub.services.environments import Environments
from bbhost.hub.services.event_intake import EventIntake
from bbhost.hub.services.hosts import Hosts
from bbhost.hub.services.interactions import Interactions
from bbhost.hub.services.notifications import Broadcaster
from bbhost.hub.services.outbox import Outbox
from bbhost.hub.services.queue import CommandQueue
from bbhost.hub.services.reconciliation import ThreadReconciler
from bbhost.hub.services.session_life import SessionLife
from bbhost.hub.services.sessions import Sessions
from bbhost.hub.services.terminals import Terminals
from bbhost.hub.services.thread_outcomes import thread_settlers
from bbhost.hub.services.threads import Threads
from bbhost.hub.services.waiters import Waiters
from bbhost.hub.storage.database import Database


@frozen(eq=False)
class Services:
    """What routes and the sweeper use."""

    core: Core
    hosts: Hosts
    queue: CommandQueue
    environments: Environments
    terminals: Terminals
    threads: Threads
    events: EventIntake
    interactions: Interactions
    attachments: Attachments
    life: SessionLife
    streams: set[Outbox[str]]
    """Open event streams of threads."""

    def finish_sockets(self, code: int, reason: str) -> None:
        """Close every open WebSocket, because the hub stops."""
        self.life.finish_all(code, reason)
        self.terminals.finish_all(code, reason)
        self.core.broadcaster.finish(code, reason)
        for stream in self.streams:
            stream.finish(code, reason)


def assemble(config: HubConfig, database: Database, server_url: str) -> Services:
    """Make the services of one hub.

    Args:
        server_url: where daemons reach it.
    """
    core = Core(
        config,
        database,
        Sessions(config.timings.lease_timeout_ms / 1000),
        Broadcaster(config.limits.subscriber_backlog),
        Waiters(config.limits.waiting_requests),
    )
    settlers = {**environment_settlers(config.timings), **thread_settlers()}
    queue = CommandQueue(core, settlers)
    interactions = Interactions(core)
    streams: set[Outbox[str]] = set()
    terminals = Terminals(core)
    return Services(
        core=core,
        hosts=Hosts(core, server_url),
        queue=queue,
        environments=Environments(core, queue),
        terminals=terminals,
        threads=Threads(core, queue),
        events=EventIntake(core),
        interactions=interactions,
        attachments=Attachments(core),
        life=SessionLife(core, (terminals,), (ThreadReconciler(interactions),)),
        streams=streams,
    )
