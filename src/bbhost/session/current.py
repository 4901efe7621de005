"""The session that is open now, for everyone who has something to send."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import frozen

from bbhost.contract.messages import DaemonMessage, encode_message
from bbhost.domain.ids import SessionId
from bbhost.lifecycle.session import EndCause
from bbhost.session.errors import LinkClosedError, NoSessionError, ServerRefusedError
from bbhost.session.link import Link
from bbhost.toolkit.value import AsyncValue

T = TypeVar("T")


@frozen(eq=False)
class OpenSession:
    """One session and its socket."""

    session_id: SessionId
    link: Link


class CurrentSession:
    """Holds the open session; None between two of them.

    A session is *open* when its socket is, and *ready* when the daemon has taken in what the server
    said at its opening and the events that waited are gone. Events and changes need an open one.
    Commands need a ready one, and so do results, which must not overtake their events.
    """

    def __init__(self) -> None:
        self.value: AsyncValue[OpenSession | None] = AsyncValue(None)
        self._ready: AsyncValue[OpenSession | None] = AsyncValue(None)

    def opened(self, session: OpenSession) -> None:
        """The socket of ``session`` is open."""
        self.value.value = session

    def ready(self, session: OpenSession) -> None:
        """The daemon is ready for what ``session`` brings."""
        self._ready.value = session

    def lost(self) -> None:
        """There is no session."""
        self.value.value = self._ready.value = None

    @property
    def is_ready(self) -> bool:
        """Whether commands and events flow."""
        return self._ready.value is not None

    async def wait_open(self) -> OpenSession:
        """Wait until a session is open, and return it."""
        session = await self.value.wait_value(lambda session: session is not None)
        assert session is not None
        return session

    async def wait_ready(self) -> OpenSession:
        """Wait until a session is ready, and return it."""
        session = await self._ready.wait_value(lambda session: session is not None)
        assert session is not None
        return session

    async def wait_other(self, session_id: SessionId) -> OpenSession:
        """Wait until a session other than this one is open."""
        session = await self.value.wait_value(
            lambda session: session is not None and session.session_id != session_id
        )
        assert session is not None
        return session

    async def wait_new(self) -> OpenSession:
        """Wait until a session is ready that is not ready now."""
        before = self._ready.value
        session = await self._ready.wait_value(
            lambda session: session is not None and session is not before
        )
        assert session is not None
        return session

    async def request(self, send: Callable[[SessionId], Awaitable[T]]) -> T:
        """Make a request in the open session.

        When the server answers that the session is gone, the link is given up in a moment: a new
        session is needed, whatever the socket looks like.

        Raises:
            NoSessionError: none is open.
            ServerRefusedError, ServerUnreachableError, ServerAnswerError: the request failed.
        """
        session = self.value.value
        if session is None:
            raise NoSessionError("no session to the server is open")
        try:
            return await send(session.session_id)
        except ServerRefusedError as error:
            if error.session_is_gone:
                session.link.doubt(EndCause.INACTIVE, f"{session.session_id} is gone: {error}")
            raise

    async def send(self, message: DaemonMessage | str) -> bool:
        """Send over the socket; waits while it is congested.

        Args:
            message: a message, or one that is encoded already.

        Returns:
            False where no socket is open; the message is dropped.
        """
        session = self.value.value
        if session is None:
            return False
        try:
            await session.link.send_text(
                message if isinstance(message, str) else encode_message(message)
            )
        except LinkClosedError:
            return False
        return True
