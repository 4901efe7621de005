"""The beginning and the end of a daemon's session, with all that hangs on them."""

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import trio

from bbhost.contract.messages import SessionClose, SessionCloseReason
from bbhost.contract.session import SessionOpenRequest, SessionOpenResponse
from bbhost.contract.version import PROTOCOL_VERSION
from bbhost.domain.ids import EnvironmentId
from bbhost.hub.api.hosts import HostStatus
from bbhost.hub.api.notifications import HostChanged
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, invalid_request
from bbhost.hub.services.core import Aftermath, Core, DaemonSession
from bbhost.hub.services.outbox import CLOSE_NORMAL
from bbhost.hub.storage import environments as environment_table
from bbhost.hub.storage import hosts as host_table
from bbhost.hub.storage.hosts import HostRecord
from bbhost.hub.storage.threads import tracked_threads
from bbhost.hub.text import storable


class SocketFollower(Protocol):
    """Somebody whose things live and die with a daemon's socket."""

    def opened(self, session: DaemonSession, request: SessionOpenRequest) -> None:
        """A session has been opened; its socket follows."""

    def connected(self, session: DaemonSession) -> None:
        """The socket of a session is open."""

    def ended(self, session: DaemonSession) -> None:
        """A session is over; whatever was sent through it is lost."""


class SessionFollower(Protocol):
    """Somebody who remembers things about sessions; each is a step of a transaction."""

    def opening(
        self,
        db: sqlite3.Connection,
        after: Aftermath,
        host: HostRecord,
        request: SessionOpenRequest,
    ) -> None:
        """A session of ``host`` is being opened; any former one is over."""

    def abandoned(self, db: sqlite3.Connection, after: Aftermath, session_id: str) -> None:
        """A session has been over for a while and its daemon's questions are moot."""


class SessionLife:
    """Opens and ends sessions."""

    def __init__(
        self,
        core: Core,
        sockets: Sequence[SocketFollower],
        followers: Sequence[SessionFollower],
    ) -> None:
        self._core = core
        self._sockets = sockets
        self._followers = followers
        # Ended sessions whose grace has not run out, oldest first; one entry for each session.
        self._departed: deque[tuple[float, str]] = deque()

    async def open(self, host: HostRecord, request: SessionOpenRequest) -> SessionOpenResponse:
        """Open a session for a daemon; the host's former session is over.

        Raises:
            ApiError: 400 another protocol version, 403 another host than the key's.
        """
        if request.protocol_version != PROTOCOL_VERSION:
            raise ApiError(
                400,
                "protocol_version_mismatch",
                f"The daemon speaks protocol version {request.protocol_version}, this server"
                f" {PROTOCOL_VERSION}; update the older of the two",
            )
        if request.host_id != host.id or request.host_type != host.type:
            raise invalid_request("hostId or hostType is not the one of this key", 403)
        session, former = self._core.sessions.open(host.id, request.instance_id)
        if former is not None:
            self._dismiss(former, SessionCloseReason.REPLACED)

        def step(db: sqlite3.Connection, after: Aftermath) -> SessionOpenResponse:
            if former is not None:
                self._abandon(db, after, former.id)
            return self._open_step(db, after, host, request, session)

        try:
            response = await self._core.transact(step)
        except BaseException:
            self._core.sessions.close(session)
            raise
        for socket in self._sockets:
            socket.opened(session, request)
        return response

    def _open_step(
        self,
        db: sqlite3.Connection,
        after: Aftermath,
        host: HostRecord,
        request: SessionOpenRequest,
        session: DaemonSession,
    ) -> SessionOpenResponse:
        timings = self._core.config.timings
        for follower in self._followers:
            follower.opening(db, after, host, request)
        host_table.note_session(
            db,
            host.id,
            name=storable(request.host_name),
            data_dir=request.data_dir,
            instance_id=request.instance_id,
            now=now_ms(),
        )
        live = environment_table.live_environment_ids(db, host.id)
        after.tell(HostChanged(host.id, HostStatus.CONNECTED))
        return SessionOpenResponse(
            session_id=session.id,
            heartbeat_interval_ms=timings.heartbeat_interval_ms,
            lease_timeout_ms=timings.lease_timeout_ms,
            tracked_thread_targets=tracked_threads(db, host.id),
            retired_environment_ids=_retired(request, live),
            live_environment_ids=tuple(live),
        )

    def connected(self, session: DaemonSession) -> None:
        """Note that the socket of a session is open."""
        for follower in self._sockets:
            follower.connected(session)

    async def end(self, session: DaemonSession, reason: SessionCloseReason) -> None:
        """End a session, telling its socket why. Ending it again changes nothing."""
        if self._core.sessions.close(session):
            self._dismiss(session, reason)
            await self._core.database.run(
                lambda db: host_table.note_seen(db, session.host_id, now_ms())
            )

    def _dismiss(self, session: DaemonSession, reason: SessionCloseReason) -> None:
        if session.socket is not None:
            session.socket.put(SessionClose(reason))
            session.socket.finish(CLOSE_NORMAL, reason.value)
        for follower in self._sockets:
            follower.ended(session)
        if self._core.sessions.of_host(session.host_id) is None:
            self._core.broadcaster.publish(HostChanged(session.host_id, HostStatus.DISCONNECTED))
        grace = self._core.config.timings.interaction_grace_seconds
        if reason is SessionCloseReason.DAEMON_DISCONNECT:
            self._departed.append((trio.current_time() + grace, session.id))
        elif reason is SessionCloseReason.EXPIRED:
            self._departed.appendleft((trio.current_time(), session.id))

    def _abandon(self, db: sqlite3.Connection, after: Aftermath, session_id: str) -> None:
        for follower in self._followers:
            follower.abandoned(db, after, session_id)

    async def sweep(self) -> None:
        """End sessions whose lease has run out, and what waited for those that ended before."""
        for session in self._core.sessions.expired():
            await self.end(session, SessionCloseReason.EXPIRED)
        due: list[tuple[float, str]] = []
        while self._departed and self._departed[0][0] <= trio.current_time():
            due.append(self._departed.popleft())
        if due:

            def step(db: sqlite3.Connection, after: Aftermath) -> None:
                for _, session_id in due:
                    self._abandon(db, after, session_id)

            try:
                await self._core.transact(step)
            except BaseException:
                self._departed.extendleft(reversed(due))  # for the next sweep
                raise

    def finish_all(self, code: int, reason: str) -> None:
        """Close the sockets of all daemons, because the hub stops."""
        for session in self._core.sessions.all():
            if session.socket is not None:
                session.socket.finish(code, reason)


def _retired(
    request: SessionOpenRequest, live: Sequence[EnvironmentId]
) -> tuple[EnvironmentId, ...]:
    """Return the loaded environments that this server does not want any more."""
    wanted = frozenset(live)
    loaded = (one.environment_id for one in request.loaded_environments)
    return tuple(one for one in loaded if one not in wanted)
