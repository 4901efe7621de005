"""The door: every request passes here before anything else looks at it."""

import logging

from bbhost.errors import BbhostError
from bbhost.hub.errors import unauthorized
from bbhost.hub.http.access import Policy, bearer, judge
from bbhost.hub.http.asgi import Receive, Scope, Send, facts_of, refuse
from bbhost.hub.http.connections import Application
from bbhost.hub.services.hosts import Hosts

HOST_STATE = "bbhost.host"
"""Key in an ASGI scope's state: the host whose key the request carries."""
ENROLL_PATH = "/internal/hosts/enroll"
logger = logging.getLogger(__name__)


class Guard:
    """Refuses what the policy does not let in; knows daemons by their host key."""

    def __init__(self, app: Application, policy: Policy, hosts: Hosts) -> None:
        self._app = app
        self._policy = policy
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return
        try:
            await self._judge(scope)
        except BbhostError as error:
            await refuse(scope, send, error)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:
            # Starlette has answered 500 by now; the connection ends with this request.
            logger.exception("a request failed unexpectedly")

    async def _judge(self, scope: Scope) -> None:
        facts = facts_of(scope)
        judge(self._policy, facts)
        if facts.path.startswith("/internal/") and facts.path != ENROLL_PATH:
            key = bearer(facts)
            if key is None:
                raise unauthorized()
            scope["state"][HOST_STATE] = await self._hosts.authenticate(key)
