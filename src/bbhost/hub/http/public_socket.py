"""``/api/v1/ws``: change notifications."""

from bbhost.contract.codec import encode_json
from bbhost.hub.api.notifications import Hello
from bbhost.hub.config import HubConfig
from bbhost.hub.http.access import PUBLIC_SUBPROTOCOL, offered_subprotocols
from bbhost.hub.http.asgi import Receive, Scope, Send, facts_of
from bbhost.hub.http.sockets import HangUp, accept_socket, run_socket
from bbhost.hub.services.notifications import Broadcaster
from bbhost.hub.services.outbox import CLOSE_POLICY


def public_subprotocol(scope: Scope) -> str | None:
    """Return the subprotocol to choose: ours where it is offered."""
    offered = offered_subprotocols(facts_of(scope))
    return PUBLIC_SUBPROTOCOL if PUBLIC_SUBPROTOCOL in offered else None


class NotificationSocket:
    """The ASGI application that tells what changes. It understands no messages."""

    def __init__(self, broadcaster: Broadcaster, config: HubConfig) -> None:
        self._broadcaster = broadcaster
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._broadcaster.subscribe() as outbox:
            outbox.put(encode_json(Hello()))
            if await accept_socket(receive, send, public_subprotocol(scope)):
                await run_socket(
                    receive,
                    send,
                    outbox,
                    encode=str,
                    handle=_refuse_message,
                    longest_message=self._config.limits.public_message_bytes,
                    config=self._config,
                )


def _refuse_message(_text: str) -> None:
    raise HangUp(CLOSE_POLICY, "invalid-message")
