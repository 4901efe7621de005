"""What threads need from the rest of the daemon. Interfaces; ``daemon/thread_ports.py`` has them real."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from attrs import frozen

from bbhost.agents.provider import ToolInvocation
from bbhost.contract.events import ThreadEvent
from bbhost.contract.session import InteractiveResponse, PendingInteraction, ToolCallResponse
from bbhost.domain.ids import ThreadId
from bbhost.journal.values import SpooledEvent
from bbhost.processes.spawn import ProcessOpener


class ServerPort(Protocol):
    """The server, whether it can be reached or not."""

    async def publish(self, event: ThreadEvent) -> None:
        """Take an event for delivery; waits while too many wait, and never for the server."""
        ...

    async def flush(self) -> None:
        """Try once to deliver the events so far. A failure is no error: they are kept."""
        ...

    async def call_tool(
        self, thread_id: ThreadId, provider_thread_id: str, invocation: ToolInvocation
    ) -> ToolCallResponse:
        """Call a tool, after the events so far.

        Raises:
            BbhostError: it could not be called.
        """
        ...

    async def ask_person(self, interaction: PendingInteraction) -> InteractiveResponse:
        """Register a question, after the events so far. The answer comes as a command.

        Raises:
            BbhostError: it could not be registered.
        """
        ...

    async def wait_new_session(self) -> None:
        """Wait until the server can be reached in another session than now."""
        ...

    def take_back(self, provider_id: str, thread_id: ThreadId, reason: str) -> None:
        """The questions of a thread need no answer any more. Never blocks; tried until heard."""
        ...

    async def read_attachment(self, thread_id: ThreadId, project_id: str, path: str) -> bytes:
        """Download an upload.

        Raises:
            BbhostError: it cannot be had.
        """
        ...


class StoragePort(Protocol):
    """The storage of threads. Every method may raise BbhostError."""

    @property
    def root(self) -> Path:
        """Absolute path of the directory that holds all of it."""
        ...

    def path_of(self, thread_id: ThreadId) -> Path:
        """Where the storage of a thread is, or would be. Touches nothing."""
        ...

    async def create(self, thread_id: ThreadId, requested: str) -> None:
        """Make the storage of a thread at the path that the server names."""
        ...

    async def store_attachment(
        self, thread_id: ThreadId, request_id: str, index: int, name: str, data: bytes
    ) -> Path:
        """Keep an upload; return where it is."""
        ...

    async def delete_attachments(self, thread_id: ThreadId, request_id: str) -> None:
        """Remove the uploads of a request; nothing where there are none."""
        ...

    async def delete(self, thread_id: ThreadId) -> None:
        """Remove the storage of a thread; nothing where there is none."""
        ...


@frozen
class MaintenancePlace:
    """Where providers are asked what concerns no environment."""

    opener: ProcessOpener
    path: Path


class MaintenancePort(Protocol):
    """Gives a place to ask providers in."""

    def open_place(self) -> AbstractAsyncContextManager[MaintenancePlace]:
        """Leaving the block ends every process that was started there."""
        ...


class TurnJournal(Protocol):
    """The journal. Every method may raise JournalError; changes are durable on return."""

    async def facts(self, prefix: str) -> dict[str, str]:
        """All facts whose key begins with ``prefix``."""
        ...

    async def set_fact(self, key: str, value: str | None) -> None:
        """Store a fact; None forgets it."""
        ...

    async def append_events(self, events: Sequence[SpooledEvent]) -> None:
        """Have events delivered, before any that are published later."""
        ...


@frozen
class ThreadPorts:
    """All of them."""

    server: ServerPort
    storage: StoragePort
    maintenance: MaintenancePort
    journal: TurnJournal
