"""What threads need of the rest of the daemon: the session, the storage of threads, a place to ask in."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from logging import getLogger
from pathlib import Path

import trio

from bbhost.agents.provider import ToolInvocation
from bbhost.contract.events import ThreadEvent
from bbhost.contract.session import InteractiveResponse, PendingInteraction, ToolCallResponse
from bbhost.domain.ids import EnvironmentId, Incarnation, ThreadId
from bbhost.environment.threads.ports import MaintenancePlace, ThreadPorts
from bbhost.errors import BbhostError
from bbhost.journal.journal import Journal
from bbhost.processes.keeper import ProcessKeeper
from bbhost.session.errors import EventsNotDeliveredError
from bbhost.session.runner import Session
from bbhost.session.server_calls import Interrupt, ToolCall
from bbhost.toolkit.private_directory import make_private_directory
from bbhost.workspace.files.storage import ThreadStorage

log = getLogger(__name__)

FLUSH_SECONDS = 5.0
"""For one attempt to deliver the events of a thread that was stopped."""
STORAGE_THREADS = 2
"""Operations on the storage of threads that run at a time."""
MAINTENANCE_ENVIRONMENT = EnvironmentId("provider-maintenance")
"""Marks the processes that are asked what concerns no environment."""
MAINTENANCE_DIRECTORY = "provider-maintenance-workspace"


def make_thread_ports(
    session: Callable[[], Session | None],
    storage: ThreadStorage,
    keeper: ProcessKeeper,
    data_dir: Path,
    journal: Journal,
) -> ThreadPorts:
    """Bind the ports of threads to this daemon.

    Args:
        session: gives the session once there is one.
    """
    return ThreadPorts(
        SessionPort(session), StorageOnDisk(storage), Maintenance(keeper, data_dir), journal
    )


class SessionPort:
    """The server, through the session. ``environment.threads.ports.ServerPort``."""

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session

    def _require(self) -> Session:
        session = self._session()
        if session is None:
            raise BbhostError("There is no session yet", code="no_session")
        return session

    async def publish(self, event: ThreadEvent) -> None:
        """See ``ServerPort.publish``."""
        session = self._session()
        if session is None:
            await trio.lowlevel.checkpoint()
            return
        await session.events.publish(event)

    async def flush(self) -> None:
        """See ``ServerPort.flush``."""
        session = self._session()
        if session is None:
            return
        with trio.move_on_after(FLUSH_SECONDS):
            try:
                await session.events.flush()
            except EventsNotDeliveredError as error:
                log.info("events of a thread are delivered later: %s", error.message)

    async def call_tool(
        self, thread_id: ThreadId, provider_thread_id: str, invocation: ToolInvocation
    ) -> ToolCallResponse:
        """See ``ServerPort.call_tool``; the session delivers the events first."""
        return await self._require().calls.call_tool(
            ToolCall(
                thread_id,
                provider_thread_id,
                invocation.turn_id,
                invocation.call_id,
                invocation.tool,
                invocation.arguments,
            )
        )

    async def ask_person(self, interaction: PendingInteraction) -> InteractiveResponse:
        """See ``ServerPort.ask_person``; the session delivers the events first."""
        return await self._require().calls.ask_person(interaction)

    async def wait_new_session(self) -> None:
        """See ``ServerPort.wait_new_session``."""
        await self._require().wait_new_session()

    def take_back(self, provider_id: str, thread_id: ThreadId, reason: str) -> None:
        """See ``ServerPort.take_back``."""
        session = self._session()
        if session is not None:
            session.calls.interrupt(Interrupt(provider_id, (thread_id,), reason))

    async def read_attachment(self, thread_id: ThreadId, project_id: str, path: str) -> bytes:
        """See ``ServerPort.read_attachment``."""
        found = await self._require().calls.read_attachment(thread_id, project_id, path)
        return found.content


class StorageOnDisk:
    """The storage of threads. ``environment.threads.ports.StoragePort``."""

    def __init__(self, storage: ThreadStorage) -> None:
        self._storage = storage
        self._limiter = trio.CapacityLimiter(STORAGE_THREADS)

    @property
    def root(self) -> Path:
        """See ``StoragePort.root``."""
        return self._storage.root

    def path_of(self, thread_id: ThreadId) -> Path:
        """See ``StoragePort.path_of``."""
        return self._storage.path_of(thread_id)

    async def create(self, thread_id: ThreadId, requested: str) -> None:
        """See ``StoragePort.create``."""
        await trio.to_thread.run_sync(
            self._storage.create, thread_id, requested, limiter=self._limiter
        )

    async def store_attachment(
        self, thread_id: ThreadId, request_id: str, index: int, name: str, data: bytes
    ) -> Path:
        """See ``StoragePort.store_attachment``."""
        return await trio.to_thread.run_sync(
            self._storage.store_attachment,
            thread_id,
            request_id,
            index,
            name,
            data,
            limiter=self._limiter,
        )

    async def delete_attachments(self, thread_id: ThreadId, request_id: str) -> None:
        """See ``StoragePort.delete_attachments``."""
        await trio.to_thread.run_sync(
            self._storage.delete_attachments, thread_id, request_id, limiter=self._limiter
        )

    async def delete(self, thread_id: ThreadId) -> None:
        """See ``StoragePort.delete``."""
        await trio.to_thread.run_sync(self._storage.delete, thread_id, limiter=self._limiter)


class Maintenance:
    """Places without an environment. ``environment.threads.ports.MaintenancePort``."""

    def __init__(self, keeper: ProcessKeeper, data_dir: Path) -> None:
        self._keeper = keeper
        self._path = data_dir / MAINTENANCE_DIRECTORY
        self._numbers = count(1)

    @asynccontextmanager
    async def open_place(self) -> AsyncIterator[MaintenancePlace]:
        """See ``MaintenancePort.open_place``."""
        make_private_directory(self._path)
        boundary = self._keeper.open_boundary(
            MAINTENANCE_ENVIRONMENT, Incarnation(next(self._numbers))
        )
        try:
            yield MaintenancePlace(boundary, self._path)
        finally:
            # Shield budget: what the end of a boundary takes at most.
            with trio.move_on_after(2.0, shield=True):
                await boundary.end(0.5)
