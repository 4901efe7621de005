"""Which daemons are connected. Sessions live in memory: they die with their socket, and with the hub.

A session is *active* from its opening until it is closed, replaced by a newer one of the same host,
or its lease runs out. Only messages on its socket renew the lease. The lease is judged by the clock
at each look, so nothing waits for a sweep.
"""

from typing import Generic, Protocol, TypeVar

import trio
from attrs import define, field

from bbhost.contract.ids import new_id
from bbhost.domain.ids import HostId, SessionId
from bbhost.hub.errors import inactive_session, invalid_request


class Closable(Protocol):
    """The part of a daemon's socket that sessions need."""

    def finish(self, code: int = 1000, reason: str = "") -> None:
        """Close it after what is on its way."""


S = TypeVar("S", bound=Closable)


@define(eq=False)
class Session(Generic[S]):
    """One link of one daemon. ``lease_until`` is Trio's clock, seconds."""

    id: SessionId
    host_id: HostId
    instance_id: str
    lease_until: float
    socket: S | None = None
    closed: bool = field(default=False)
    keeps_terminals: bool = field(default=False)
    """Its daemon says at every opening which terminals it has."""


class Sessions(Generic[S]):
    """The active session of each host."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._by_id: dict[str, Session[S]] = {}
        self._by_host: dict[str, Session[S]] = {}

    def open(self, host_id: HostId, instance_id: str) -> tuple[Session[S], Session[S] | None]:
        """Open a session; the host's former one is closed.

        Returns:
            The new session, and the former one if it was still active.
        """
        former = self._by_host.get(host_id)
        if former is not None:
            self.close(former)
        session: Session[S] = Session(
            SessionId(new_id("hses")),
            host_id,
            instance_id,
            trio.current_time() + self._lease_seconds,
        )
        self._by_id[session.id] = session
        self._by_host[host_id] = session
        return session, former

    def close(self, session: Session[S]) -> bool:
        """Close a session. False where it was closed already."""
        if session.closed:
            return False
        session.closed = True
        self._by_id.pop(session.id, None)
        if self._by_host.get(session.host_id) is session:
            del self._by_host[session.host_id]
        return True

    def renew(self, session: Session[S]) -> bool:
        """Renew the lease. False where the session is no longer active."""
        if not self.is_active(session):
            return False
        session.lease_until = trio.current_time() + self._lease_seconds
        return True

    def is_active(self, session: Session[S]) -> bool:
        """Whether the session is open and its lease has not run out."""
        return not session.closed and trio.current_time() < session.lease_until

    def active(self, session_id: str, host_id: str) -> Session[S]:
        """Return the active session of that id.

        Raises:
            ApiError: 401 where it is not active, 403 where it belongs to another host.
        """
        session = self._by_id.get(session_id)
        if session is None or not self.is_active(session):
            raise inactive_session()
        if session.host_id != host_id:
            raise invalid_request("The session belongs to another host", 403)
        return session

    def of_host(self, host_id: str) -> Session[S] | None:
        """Return the active session of a host, or None."""
        session = self._by_host.get(host_id)
        return session if session is not None and self.is_active(session) else None

    def expired(self) -> list[Session[S]]:
        """Return the sessions whose lease has run out and that are not closed yet."""
        now = trio.current_time()
        return [session for session in self._by_id.values() if session.lease_until <= now]

    def all(self) -> list[Session[S]]:
        """Return all sessions that are not closed."""
        return list(self._by_id.values())
