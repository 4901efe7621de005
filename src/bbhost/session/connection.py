"""One session after another: asked for, opened, lived in, lost, and opened again.

Everything that waits for a session watches :class:`CurrentSession`; this module is the one that
changes it, and the one that drives the session machine.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from logging import getLogger
from pathlib import Path
from urllib.parse import quote

import trio
from attrs import frozen

from bbhost.contract.messages import CommandsAvailable, ServerMessage, SessionClose
from bbhost.contract.session import (
    ActiveThread,
    LoadedEnvironment,
    OpenTerminal,
    SessionOpenRequest,
    SessionOpenResponse,
)
from bbhost.contract.version import PROTOCOL_VERSION
from bbhost.domain.ids import SessionId
from bbhost.lifecycle.session import (
    START_UP_SECONDS,
    EndCause,
    Next,
    SessionCore,
    SessionEvent,
    SessionState,
    after_end,
    after_failure,
)
from bbhost.session.client import ServerClient
from bbhost.session.clock import wall_clock_ms
from bbhost.session.current import CurrentSession, OpenSession
from bbhost.session.errors import (
    EventsNotDeliveredError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
    SessionStartError,
)
from bbhost.session.hooks import SessionHooks
from bbhost.session.identity import HostIdentity
from bbhost.session.link import Link, LinkEnd, LinkOptions, use_link
from bbhost.session.server_url import ServerUrl
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.value import AsyncValue

log = getLogger(__name__)

RECONNECT_FIRST_SECONDS, RECONNECT_LONGEST_SECONDS = 1.0, 30.0
STEADY_SECONDS = 10.0
"""A session that lasted this long was a good one: the next attempt comes soon again."""
TAKE_IN_SECONDS = 30.0
"""For the daemon to take in what the server said; after that commands flow all the same."""
FLUSH_SECONDS = 10.0
"""For the events that wait; then results flow all the same."""
HEARTBEATS_PER_LEASE = 3
"""At least so many, whatever interval the server asks for."""

_ADVICE = {
    "protocol_version_mismatch": (
        f"this bbhost speaks protocol {PROTOCOL_VERSION}: run a server and a bbhost that agree"
    ),
    "unauthorized": "the host key is not valid (any more): enrol this host again with a new key",
}


@frozen
class SessionSettings:
    """Which server, and as whom."""

    url: ServerUrl
    identity: HostIdentity
    host_name: str
    data_dir: Path
    """Absolute; the server derives the paths of workspaces from it."""
    instance_id: str
    """Random, of this process."""
    reconnect_first_seconds: float = RECONNECT_FIRST_SECONDS
    reconnect_longest_seconds: float = RECONNECT_LONGEST_SECONDS
    start_up_seconds: float = START_UP_SECONDS


@frozen
class SessionStatus:
    """How the link to the server stands, for people."""

    state: SessionState
    since_ms: int
    """Time of the last change of ``state``, milliseconds since the epoch."""
    session_id: SessionId | None = None
    failed_attempts: int = 0
    """Since a session was last open."""
    trouble: str = ""
    """Why the last session ended or could not be opened."""


@frozen
class ConnectionEvents:
    """Whom the connection tells, besides the hooks."""

    flush_events: Callable[[], Awaitable[None]]
    """Send the events that wait (awaited, not a notice). Raises EventsNotDeliveredError."""
    ready: Callable[[], None]
    """A session is ready: what waits may flow."""
    commands_available: Callable[[], None]
    """The server hints at commands."""


class Connection:
    """Opens sessions until it is closed."""

    def __init__(
        self,
        settings: SessionSettings,
        client: ServerClient,
        tls: ssl.SSLContext | None,
        current: CurrentSession,
        hooks: SessionHooks,
        events: ConnectionEvents,
    ) -> None:
        self._settings = settings
        self._client = client
        self._tls = tls
        self._current = current
        self._hooks = hooks
        self._events = events
        self._core = SessionCore()
        self._closing = trio.Event()
        self._attempts = trio.CancelScope()
        self._taking_in = trio.CancelScope()
        self._ever_open = False
        self._began = 0.0
        self.status = AsyncValue(SessionStatus(self._core.state, wall_clock_ms()))
        self.dismissal: AsyncValue[LinkEnd | None] = AsyncValue(None)
        """Set when the server wants this daemon to stop."""

    async def run(self, first_ready: Callable[[], None]) -> None:
        """Stay connected until the server dismisses this daemon or :meth:`close` is called.

        Args:
            first_ready: called once, when the first session is ready.

        Raises:
            SessionStartError: the first session could not be opened.
        """
        self._began = trio.current_time()
        self._attempts.deadline = self._began + self._settings.start_up_seconds
        with self._attempts:
            delays = self._delays()
            while self._core.state is SessionState.DISCONNECTED:
                lasted = await self._one_session(first_ready)
                if self._core.state is not SessionState.DISCONNECTED:
                    return
                if lasted > STEADY_SECONDS:
                    delays = self._delays()
                await trio.sleep(next(delays))
        if not self._ever_open and not self._closing.is_set():
            raise SessionStartError(
                f"no session with {self._settings.url.text} within "
                f"{self._settings.start_up_seconds:.0f} s: {self.status.value.trouble}"
            )

    def drain(self) -> None:
        """Open no further session. The one that is open stays open."""
        if self._core.state is not SessionState.DRAINING:
            self._core.accept(SessionEvent.DRAIN)
            self._show(self.status.value.trouble, self.status.value.session_id)

    def close(self) -> None:
        """End the open session in good order, if there is one, and let :meth:`run` return."""
        self.drain()
        self._closing.set()
        if self._current.value.value is None:
            self._attempts.cancel()
        self._taking_in.cancel()

    # --- one session --------------------------------------------------------------------------

    async def _one_session(self, first_ready: Callable[[], None]) -> float:
        """Open a session and live in it; return how long it lasted, in seconds."""
        self._core.accept(SessionEvent.CONNECT)
        self._show(self.status.value.trouble)
        stay = self._core.stay
        opened_at = None
        end = None

        async def adopt(link: Link) -> None:
            nonlocal opened_at
            opened_at = trio.current_time()
            await self._live(OpenSession(response.session_id, link), response, first_ready, stay)

        try:
            response = await self._client.open_session(self._request())
            end = await use_link(self._link_options(response), self._take, adopt)
        except (ServerRefusedError, ServerUnreachableError, ServerAnswerError) as error:
            self._could_not_open(error, stay)
            return 0.0
        self._ended(end)
        return 0.0 if opened_at is None else trio.current_time() - opened_at

    async def _live(
        self,
        session: OpenSession,
        response: SessionOpenResponse,
        first_ready: Callable[[], None],
        stay: int,
    ) -> None:
        """The socket is open: adopt the session, take in what the server said, let things flow."""
        if not self._core.accept(SessionEvent.OPENED, stay=stay):
            return  # the daemon stops
        self._attempts.deadline = float("inf")
        first, self._ever_open = not self._ever_open, True
        log.info("session %s is open", session.session_id)
        self._show("", session.session_id)
        self._current.opened(session)
        self._taking_in = trio.CancelScope()
        try:
            with self._taking_in:
                await self._tell_daemon(response)
                await self._flush_events()
            self._current.ready(session)
            self._events.ready()
            if first:
                first_ready()
            await self._closing.wait()
        finally:
            self._current.lost()

    async def _flush_events(self) -> None:
        """Results that come next must not overtake the events that led to them."""
        with trio.move_on_after(FLUSH_SECONDS):
            try:
                await self._events.flush_events()
            except EventsNotDeliveredError as error:
                log.warning("results go before events: %s", error)

    async def _tell_daemon(self, response: SessionOpenResponse) -> None:
        try:
            with trio.move_on_after(TAKE_IN_SECONDS) as scope:
                await self._hooks.session_opened(response)
        except Exception:
            # A defect there must not cost the link, which is needed to repair anything.
            log.exception("what the server said could not be taken in")
        else:
            if scope.cancelled_caught:
                log.error("what the server said was not taken in within %s s", TAKE_IN_SECONDS)

    def _take(self, message: ServerMessage) -> None:
        """Hand a message over; called by the pump, so it must be quick and must not fail."""
        match message:
            case CommandsAvailable():
                self._events.commands_available()
            case SessionClose():
                return  # the link deals with it
            case _:
                try:
                    self._hooks.handle_terminal_message(message)
                except Exception:
                    log.exception("a message of the server could not be handled: %.200r", message)

    # --- how it went --------------------------------------------------------------------------

    def _could_not_open(
        self, error: ServerRefusedError | ServerUnreachableError | ServerAnswerError, stay: int
    ) -> None:
        if not self._core.accept(SessionEvent.OPEN_FAILED, stay=stay):
            return
        trouble = error.message
        if isinstance(error, ServerRefusedError) and error.server_code in _ADVICE:
            trouble = f"{trouble}. {_ADVICE[error.server_code]}"
        attempts = self.status.value.failed_attempts + 1
        self._show(trouble, failed_attempts=attempts)
        log.warning(
            "no session with %s (attempt %d): %s", self._settings.url.text, attempts, trouble
        )
        follows = after_failure(
            final=not error.retryable,
            ever_open=self._ever_open,
            seconds_since_start=trio.current_time() - self._began,
            start_up_seconds=self._settings.start_up_seconds,
        )
        if follows is Next.GIVE_UP:
            raise SessionStartError(f"no session with {self._settings.url.text}: {trouble}")

    def _ended(self, end: LinkEnd) -> None:
        # Only a session that was adopted can be lost; one that the drain overtook was not.
        if self._core.state is SessionState.OPEN:
            self._core.accept(SessionEvent.LOST, stay=self._core.stay)
        log.info("the session ended (%s): %s", end.cause, end.detail)
        if after_end(end.cause) is Next.SHUT_DOWN and end.cause is not EndCause.STOPPED:
            self.drain()
            self.dismissal.value = end
        self._show(end.detail)

    def _show(
        self, trouble: str, session_id: SessionId | None = None, failed_attempts: int = 0
    ) -> None:
        before = self.status.value
        state = self._core.state
        since = before.since_ms if state is before.state else wall_clock_ms()
        if state is SessionState.OPENING:
            failed_attempts = before.failed_attempts
        self.status.value = SessionStatus(state, since, session_id, failed_attempts, trouble)

    # --- what is sent -------------------------------------------------------------------------

    def _request(self) -> SessionOpenRequest:
        description = self._hooks.describe()
        settings = self._settings
        return SessionOpenRequest(
            host_id=settings.identity.host_id,
            instance_id=settings.instance_id,
            host_name=settings.host_name,
            data_dir=str(settings.data_dir),
            protocol_version=PROTOCOL_VERSION,
            active_threads=tuple(ActiveThread(one) for one in description.active_threads),
            loaded_environments=tuple(
                LoadedEnvironment(one) for one in description.loaded_environments
            ),
            open_terminals=tuple(OpenTerminal(one) for one in description.open_terminals),
        )

    def _link_options(self, response: SessionOpenResponse) -> LinkOptions:
        lease = response.lease_timeout_ms / 1000
        return LinkOptions(
            url=f"{self._settings.url.websocket}?sessionId={quote(response.session_id, safe='')}",
            host_key=self._settings.identity.host_key,
            tls=self._tls,
            heartbeat_seconds=min(
                response.heartbeat_interval_ms / 1000, lease / HEARTBEATS_PER_LEASE
            ),
            lease_seconds=lease,
        )

    def _delays(self) -> Iterator[float]:
        settings = self._settings
        longest = settings.reconnect_longest_seconds
        return backoff_delays(min(settings.reconnect_first_seconds, longest), longest)
