"""The WebSocket of a daemon (wire contract, sections 4 and 5)."""

from collections.abc import Callable

import trio

from bbhost.contract.messages import (
    DaemonMessage,
    ServerMessage,
    SessionCloseReason,
    encode_message,
    parse_daemon_message,
)
from bbhost.contract.version import SUBPROTOCOL
from bbhost.errors import BbhostError, WireError
from bbhost.hub.errors import inactive_session, invalid_request
from bbhost.hub.http.access import offers_daemon_subprotocol
from bbhost.hub.http.asgi import Receive, Scope, Send, facts_of, query_values, refuse
from bbhost.hub.http.guard import HOST_STATE
from bbhost.hub.http.sockets import HangUp, accept_socket, run_socket
from bbhost.hub.services.core import Core, DaemonSession
from bbhost.hub.services.outbox import CLOSE_POLICY, Outbox
from bbhost.hub.services.session_life import SessionLife

END_SECONDS = 2.0

MessageHandler = Callable[[DaemonSession, DaemonMessage], None]


class DaemonSocket:
    """The ASGI application of ``/internal/ws``.

    Args:
        handle: takes each message of a daemon but heartbeats; must not block.
    """

    def __init__(self, core: Core, life: SessionLife, handle: MessageHandler) -> None:
        self._core = core
        self._life = life
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            session = self._session_of(scope)
        except BbhostError as error:
            await refuse(scope, send, error)
            return
        outbox: Outbox[ServerMessage] = Outbox(self._core.config.limits.socket_backlog_messages)
        session.socket = outbox
        try:
            if await accept_socket(receive, send, SUBPROTOCOL):
                self._life.connected(session)
                await run_socket(
                    receive,
                    send,
                    outbox,
                    encode=encode_message,
                    handle=lambda text: self._take(session, text),
                    longest_message=self._core.config.limits.websocket_message_bytes,
                    config=self._core.config,
                )
        finally:
            # The session dies with its socket, whatever ended that. Shielded: a few milliseconds
            # of SQLite, END_SECONDS at the very most.
            with trio.move_on_after(END_SECONDS, shield=True):
                await self._life.end(session, SessionCloseReason.DAEMON_DISCONNECT)

    def _session_of(self, scope: Scope) -> DaemonSession:
        session_id = query_values(scope).get("sessionId")
        if session_id is None:
            raise inactive_session()
        if not offers_daemon_subprotocol(facts_of(scope)):
            raise invalid_request(f"The subprotocol {SUBPROTOCOL} is not offered")
        session = self._core.sessions.active(session_id, scope["state"][HOST_STATE].id)
        if session.socket is not None:
            raise inactive_session()
        return session

    def _take(self, session: DaemonSession, text: str) -> None:
        try:
            message = parse_daemon_message(text)
        except WireError:
            raise HangUp(CLOSE_POLICY, "invalid-message") from None
        if not self._core.sessions.renew(session):
            raise HangUp(CLOSE_POLICY, "inactive-session")
        self._handle(session, message)
