"""The whole ASGI application: every route, behind the guard."""

from functools import cache
from typing import Any, get_args

import trio
from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute

from bbhost.hub.api.notifications import Notification
from bbhost.hub.api.terminals import ViewerMessage, ViewerRequest
from bbhost.hub.api.threads import StoredEvent
from bbhost.hub.errors import ApiError
from bbhost.hub.http.access import Policy
from bbhost.hub.http.asgi import error_reply
from bbhost.hub.http.attachment_routes import attachment_operations
from bbhost.hub.http.change_routes import change_routes
from bbhost.hub.http.connections import Application
from bbhost.hub.http.daemon_socket import DaemonSocket
from bbhost.hub.http.environment_routes import environment_operations, workspace_operations
from bbhost.hub.http.guard import Guard
from bbhost.hub.http.host_routes import host_file_operations, host_operations
from bbhost.hub.http.interaction_routes import interaction_operations
from bbhost.hub.http.internal_routes import session_routes
from bbhost.hub.http.meta_routes import meta_operations
from bbhost.hub.http.openapi import SocketDescription, make_document
from bbhost.hub.http.operations import Operation, make_route
from bbhost.hub.http.public_socket import NotificationSocket
from bbhost.hub.http.terminal_routes import ATTACH, TerminalSocket, terminal_operations
from bbhost.hub.http.thread_intake_routes import thread_intake_routes
from bbhost.hub.http.thread_routes import STREAM, StreamQuery, ThreadStream, thread_operations
from bbhost.hub.services.assembly import Services

_ROUTING_ERRORS = {
    404: ("not_found", "There is nothing at this path"),
    405: ("method_not_allowed", "This path does not know that method"),
}
SOCKETS = (
    SocketDescription(
        "/api/v1/ws",
        "notifications",
        "Change notifications. A browser offers the subprotocols `bbhost.v1` and"
        " `bbhost.bearer.<token>`. Close code 1013: too slow; come back and read the state.",
        get_args(Notification),
    ),
    SocketDescription(
        ATTACH,
        "attachTerminal",
        "An attached terminal: first its replay, then its output.",
        get_args(ViewerMessage),
        get_args(ViewerRequest),
    ),
    SocketDescription(
        STREAM,
        "streamEvents",
        "The events of a thread, old ones first, then as they come.",
        (StoredEvent,),
        query=StreamQuery,
    ),
)


@frozen
class Surface:
    """What the hub offers to the public."""

    operations: tuple[Operation, ...]
    sockets: tuple[SocketDescription, ...]


def public_surface(services: Services) -> Surface:
    """Return every public operation and socket of a hub."""

    @cache
    def document() -> dict[str, Any]:
        return make_document(operations, SOCKETS)

    operations = (
        *meta_operations(document),
        *host_operations(services.hosts),
        *host_file_operations(services.hosts, services.queue),
        *environment_operations(services.environments),
        *workspace_operations(services.environments),
        *terminal_operations(services.terminals),
        *thread_operations(services.threads, services.core),
        *interaction_operations(services.interactions),
        *attachment_operations(services.attachments),
    )
    return Surface(operations, SOCKETS)


async def _refused_by_routing(_request: Request, error: Exception) -> Response:
    await trio.lowlevel.checkpoint()
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, message = _ROUTING_ERRORS.get(status, ("invalid_request", "Not possible"))
    reply = error_reply(ApiError(status, code, message))
    return Response(reply.body, status_code=status, media_type=reply.content_type)


def make_app(services: Services, policy: Policy) -> Application:
    """Return the application of a hub."""
    core = services.core
    routes: list[BaseRoute] = [
        make_route(operation, core.config) for operation in public_surface(services).operations
    ]
    routes += session_routes(core, services.hosts, services.life, services.queue)
    routes += change_routes(core)
    routes += thread_intake_routes(services)
    routes += [
        WebSocketRoute(
            "/internal/ws", DaemonSocket(core, services.life, services.terminals.handle)
        ),
        WebSocketRoute(ATTACH, TerminalSocket(services.terminals, core.config)),
        WebSocketRoute(STREAM, ThreadStream(services)),
        WebSocketRoute("/api/v1/ws", NotificationSocket(core.broadcaster, core.config)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused_by_routing})
    app.router.redirect_slashes = False
    return Guard(app, policy, services.hosts)
