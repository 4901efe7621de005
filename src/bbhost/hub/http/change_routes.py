"""Daemons' posts about changes in environments (wire contract, section 10)."""

import sqlite3

from starlette.routing import BaseRoute

from bbhost.contract.codec import structure
from bbhost.contract.session import EnvironmentChangePost
from bbhost.hub.api.environments import ServerState
from bbhost.hub.api.notifications import EnvironmentChanged
from bbhost.hub.errors import ApiError, invalid_request
from bbhost.hub.http.asgi import Reply, json_reply
from bbhost.hub.http.internal_routes import OK, DaemonCall, daemon_route, session_of
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.environments import require_environment
from bbhost.hub.storage.environments import EnvironmentRow


def require_live_environment(
    db: sqlite3.Connection, environment_id: str, host_id: str
) -> EnvironmentRow:
    """Return an environment of a host that is not destroyed.

    Raises:
        ApiError: 404 unknown, 403 another host's, 410 destroyed; all of them final for a daemon.
    """
    row = require_environment(db, environment_id)
    if row.host_id != host_id:
        raise invalid_request("The environment belongs to another host", 403)
    if row.state is ServerState.DESTROYED:
        raise ApiError(
            410, "environment_destroyed", "The environment is destroyed", retryable=False
        )
    return row


def change_routes(core: Core) -> list[BaseRoute]:
    """Return the route of environment changes."""

    async def environment_change(call: DaemonCall) -> Reply:
        session_of(core, call)
        post = structure(EnvironmentChangePost, call.data)

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            require_live_environment(db, post.environment_id, call.host.id)
            after.tell(EnvironmentChanged(post.environment_id, post.change.value))

        await core.transact(step)
        return json_reply(200, OK)

    return [daemon_route("POST", "/session/environment-change", environment_change, core.config)]
