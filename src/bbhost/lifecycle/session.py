"""The life of the session to the server: the table, and what each ending leads to.

A session is one link to the server. Losing it changes nothing about environments; the daemon makes
a new one until it is told to stop. What is done in each state is in ``bbhost.session``. A *stay*
numbers each visit to a state: an outcome that carries an older stay is stale and is dropped.
"""

from enum import StrEnum

from statemachine import State

from bbhost.lifecycle.base import Machine


class SessionState(StrEnum):
    """The states of the session machine."""

    DISCONNECTED = "disconnected"
    """No session; a pause before the next attempt."""
    OPENING = "opening"
    """A session is being asked for and its socket opened."""
    OPEN = "open"
    """Commands, results and events flow."""
    DRAINING = "draining"
    """The daemon stops: what is in flight is finished, nothing new is begun, and no session follows."""


class SessionMachine(Machine):
    """disconnected -> opening -> open and back, until draining; draining ends with the daemon."""

    disconnected = State(value=SessionState.DISCONNECTED, initial=True)
    opening = State(value=SessionState.OPENING)
    open = State(value=SessionState.OPEN)
    draining = State(value=SessionState.DRAINING, final=True)

    connect = disconnected.to(opening)
    opened = opening.to(open)  # noqa: A003 - the state is called open
    open_failed = opening.to(disconnected)
    lost = open.to(disconnected)  # noqa: A003 - the state is called open
    drain = disconnected.to(draining) | opening.to(draining) | open.to(draining)  # noqa: A003 - the state is called open


class SessionEvent(StrEnum):
    """The events of the table."""

    CONNECT = "connect"
    OPENED = "opened"
    OPEN_FAILED = "open_failed"
    LOST = "lost"
    DRAIN = "drain"


ATTEMPT_OUTCOMES = frozenset({SessionEvent.OPENED, SessionEvent.OPEN_FAILED, SessionEvent.LOST})
"""Events that report how one attempt went; they must carry the number of the stay."""


class SessionCore:
    """State and stay of the session."""

    def __init__(self, state: SessionState = SessionState.DISCONNECTED) -> None:
        self._machine = SessionMachine(start_value=state)
        self._stay = 1

    def __repr__(self) -> str:
        return f"<SessionCore {self.state} stay={self._stay}>"

    @property
    def state(self) -> SessionState:
        """The present state."""
        return SessionState(self._machine.state_name)

    @property
    def stay(self) -> int:
        """Number of the present visit to a state."""
        return self._stay

    def accept(self, event: SessionEvent, *, stay: int | None = None) -> bool:
        """Take ``event`` and move.

        Args:
            event: what happened or is asked.
            stay: for outcomes of an attempt, the stay it belongs to.

        Returns:
            False for the outcome of an earlier stay, which changed nothing.

        Raises:
            IllegalEventError: the table has no such row; nothing changed.
        """
        if event in ATTEMPT_OUTCOMES and stay != self._stay:
            return False
        self._machine.accept(event)
        self._stay += 1
        return True


# --- what follows from an ending ------------------------------------------------------------


class EndCause(StrEnum):
    """Why a session ended."""

    CLOSED = "closed"
    """The server closed the socket, or the network lost it."""
    EXPIRED = "expired"
    """The lease ran out: the server heard nothing from us in time."""
    INACTIVE = "inactive"
    """The server answered a request with ``inactive_session``."""
    SILENT = "silent"
    """The server, or our own reading of it, did not answer pings for a whole lease."""
    INVALID_MESSAGE = "invalid_message"
    """The server sent what is not a message of the contract."""
    REPLACED = "replaced"
    """Another daemon has opened a session for this host."""
    DISMISSED = "dismissed"
    """The server told this daemon to go (``daemon-disconnect``)."""
    STOPPED = "stopped"
    """We closed it: the daemon stops."""


class Next(StrEnum):
    """What the daemon does when a session has ended or could not be opened."""

    RECONNECT = "reconnect"
    SHUT_DOWN = "shut_down"
    """End in good order, exit code 0."""
    GIVE_UP = "give_up"
    """End with an error, exit code 1."""


def after_end(cause: EndCause) -> Next:
    """What follows the end of an open session.

    Only an explicit word of the server stops the daemon. Two daemons that took each other's place
    without end would be worse than one that yields.
    """
    if cause in {EndCause.REPLACED, EndCause.DISMISSED, EndCause.STOPPED}:
        return Next.SHUT_DOWN
    return Next.RECONNECT


START_UP_SECONDS = 60.0
"""The first session must be open within this time, unless another is configured."""


def after_failure(
    *,
    final: bool,
    ever_open: bool,
    seconds_since_start: float,
    start_up_seconds: float = START_UP_SECONDS,
) -> Next:
    """What follows a failed attempt to open a session.

    Args:
        final: the server refused and says that trying again is of no use (any 4xx answer).
        ever_open: this process has had an open session before.
        seconds_since_start: since the first attempt of this process.
        start_up_seconds: the time within which the first session must be open.
    """
    if ever_open:
        return Next.RECONNECT
    if final or seconds_since_start >= start_up_seconds:
        return Next.GIVE_UP
    return Next.RECONNECT
