"""The session as the daemon uses it: one object, run for the daemon's whole life.

What lives as long as the daemon (commands that run, results and events that wait) is started here
once and outlives every single session; ``connection`` opens those one after another.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from logging import getLogger

import trio
from attrs import frozen

from bbhost.contract.messages import DaemonMessage
from bbhost.domain.ids import EnvironmentId
from bbhost.journal.journal import Journal
from bbhost.session.changes import ChangeReporter
from bbhost.session.client import ServerClient, open_client
from bbhost.session.connection import (
    Connection,
    ConnectionEvents,
    SessionSettings,
    SessionStatus,
)
from bbhost.session.current import CurrentSession
from bbhost.session.dispatch import Dispatcher, DispatchStatistics, Handler
from bbhost.session.errors import EventsNotDeliveredError, SessionStartError
from bbhost.session.events import EventReporter
from bbhost.session.fetch import POLL_SECONDS, CommandFetcher
from bbhost.session.hooks import SessionHooks
from bbhost.session.link import LinkEnd
from bbhost.session.reports import ReportSender, ReportStatistics
from bbhost.session.server_calls import ServerCalls
from bbhost.session.tls import client_tls
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)


@frozen
class DrainReport:
    """What was left when draining ended. All of it is in the journal, for the next daemon."""

    commands: int
    """Still running, or waiting for their turn."""
    results_delivered: bool
    events: int
    """Not delivered."""


@asynccontextmanager
async def open_session(
    settings: SessionSettings,
    journal: Journal,
    hooks: SessionHooks,
    handlers: Mapping[str, Handler],
    *,
    while_waiting: Mapping[str, Handler] | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> AsyncIterator["Session"]:
    """Make the session and its connections; nothing happens until it is run.

    Args:
        settings: which server, and as whom.
        journal: where commands, results and events are kept.
        hooks: the daemon.
        handlers: for each type of command, what runs it.
        while_waiting: for a type of command, what runs at once when one has to wait in its lane.
        poll_seconds: commands are fetched at least this often.
    """
    tls = client_tls(settings.url)
    async with open_client(settings.url, tls, settings.identity.host_key) as client:
        dispatched = handlers, while_waiting or {}
        yield Session(settings, journal, hooks, dispatched, client, tls, poll_seconds)


class Session:
    """The link to the server. Made by :func:`open_session`."""

    def __init__(
        self,
        settings: SessionSettings,
        journal: Journal,
        hooks: SessionHooks,
        dispatched: tuple[Mapping[str, Handler], Mapping[str, Handler]],
        client: ServerClient,
        tls: ssl.SSLContext | None,
        poll_seconds: float,
    ) -> None:
        self._hooks = hooks
        self._current = CurrentSession()
        self._reports = ReportSender(journal, self._current, client.report_result)
        self.events = EventReporter(journal, self._current, client.post_events)
        """Takes the events of threads."""
        handlers, while_waiting = dispatched
        self._dispatcher = Dispatcher(
            handlers, journal, self._reports, self.events.flush, while_waiting=while_waiting
        )
        self._fetcher = CommandFetcher(
            client, self._current, journal, self._dispatcher, poll_seconds=poll_seconds
        )
        self.changes = ChangeReporter(client, self._current, self._forgotten)
        """Takes changes of environments."""
        self.calls = ServerCalls(client, self._current, self.events)
        """Tools, questions to people, attachments, app data."""
        self._connection = Connection(
            settings,
            client,
            tls,
            self._current,
            hooks,
            ConnectionEvents(
                flush_events=self.events.flush,
                ready=self._wake,
                commands_available=self._fetcher.hint,
            ),
        )
        self._closed = trio.Event()
        self._services: trio.Nursery | None = None

    @property
    def status(self) -> AsyncValue[SessionStatus]:
        """How the link stands; can be waited on."""
        return self._connection.status

    def statistics(self) -> tuple[DispatchStatistics, ReportStatistics]:
        """Counts of commands and of reports."""
        return self._dispatcher.statistics(), self._reports.statistics()

    async def send(self, message: DaemonMessage | str) -> bool:
        """Send a terminal message (encoded already, or not); waits while the socket is congested.

        Returns:
            False where no session is open; the message is dropped.
        """
        return await self._current.send(message)

    async def wait_new_session(self) -> None:
        """Wait until a session is ready that is not ready now."""
        await self._current.wait_new()

    async def wait_dismissed(self) -> LinkEnd:
        """Wait until the server wants this daemon to stop: it was replaced, or told to go."""
        end = await self._connection.dismissal.wait_value(lambda end: end is not None)
        assert end is not None
        return end

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until :meth:`close`; started when the first session is ready.

        Commands that an earlier daemon left are run at once, connected or not.

        Cancellation: the socket is closed within a few seconds; running commands are cancelled and
        run again in the next daemon.

        Raises:
            SessionStartError: the first session could not be opened; the daemon cannot start.
            ExceptionGroup: a JournalError (the journal cannot be read), or a defect.
        """
        failure: SessionStartError | None = None

        def first_ready() -> None:
            task_status.started()

        async with trio.open_nursery() as services:
            self._services = services
            await services.start(self._dispatcher.run)
            await services.start(self.events.run)
            services.start_soon(self._reports.run)
            services.start_soon(self._fetcher.run)
            services.start_soon(self.changes.run)
            services.start_soon(self.calls.run)
            await self._fetcher.resume()
            try:
                await self._connection.run(first_ready)
                await self._closed.wait()
            except SessionStartError as error:
                failure = error
            self._services = None
            services.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def drain(self, seconds: float) -> DrainReport:
        """Begin nothing new; finish what runs and deliver what there is to deliver.

        The socket stays open, so that terminals can say goodbye; :meth:`close` ends it.

        Args:
            seconds: at most this long.
        """
        self._connection.drain()
        self._fetcher.stop()
        delivered = False
        with trio.move_on_after(seconds):
            await self._dispatcher.wait_idle()
            delivered = await self._deliver()
        return DrainReport(self._dispatcher.statistics().admitted, delivered, self.events.waiting)

    async def flush(self, seconds: float) -> bool:
        """Deliver the events and results there are; False where it was not done in time."""
        with trio.move_on_after(seconds):
            return await self._deliver()
        return False

    def close(self) -> None:
        """End the open session in good order and let :meth:`run` return."""
        self._connection.close()
        self._closed.set()

    # --- between the parts --------------------------------------------------------------------

    async def _deliver(self) -> bool:
        if not self._current.is_ready:
            return False
        try:
            await self.events.flush()
        except EventsNotDeliveredError as error:
            log.info("events are left for the next daemon: %s", error.message)
        await self._reports.wait_delivered()
        return True

    def _wake(self) -> None:
        self.events.wake()
        self._reports.wake()
        self._fetcher.hint()

    def _forgotten(self, environment_id: EnvironmentId) -> None:
        if self._services is not None:
            self._services.start_soon(self._tell_forgotten, environment_id)

    async def _tell_forgotten(self, environment_id: EnvironmentId) -> None:
        try:
            await self._hooks.server_forgot(environment_id)
        except Exception:
            # The environment stays; the next session says again that it is not wanted.
            log.exception("%s could not be released", environment_id)
