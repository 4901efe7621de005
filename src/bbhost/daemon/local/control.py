"""What the control socket answers. Only the daemon's own user gets an answer."""

import os
from collections.abc import Awaitable, Callable

from attrs import Factory, field, frozen

from bbhost import __version__
from bbhost.daemon.assembly import Parts
from bbhost.daemon.local.http_server import Request, Response, error_response, json_response
from bbhost.daemon.local.maintenance import Maintenance
from bbhost.daemon.status import describe_daemon
from bbhost.daemon.stopping import StopRequest
from bbhost.session.runner import Session


@frozen
class ControlApi:
    """Routes of the control socket."""

    parts: Parts
    session: Session
    stop: StopRequest
    _maintenance: Maintenance = field(
        init=False, default=Factory(lambda self: Maintenance(self.parts), takes_self=True)
    )

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.peer_uid is not None and request.peer_uid not in {os.getuid(), 0}:
            return error_response(403, "forbidden", "This socket belongs to another user")
        routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/status"): self._status,
            ("GET", "/version"): self._version,
            ("POST", "/stop"): self._stop,
            **self._maintenance.routes(),
        }
        route = routes.get((request.method, request.path))
        if route is None:
            known = any(path == request.path for _, path in routes)
            code, status = ("method_not_allowed", 405) if known else ("not_found", 404)
            return error_response(status, code, f"No {request.method} {request.path} here")
        return await route(request)

    async def _status(self, request: Request) -> Response:
        return json_response(describe_daemon(self.parts, self.session))

    async def _version(self, request: Request) -> Response:
        return json_response({"version": __version__})

    async def _stop(self, request: Request) -> Response:
        self.stop.set("asked over the control socket")
        return json_response({"stopping": True})
