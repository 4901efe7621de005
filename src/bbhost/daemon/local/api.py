"""The local HTTP API of the contract (section 16): for the server's web page in a browser on this host.

It listens on 127.0.0.1 only, and that alone is no protection: every page the user opens can send
requests there, and a name that resolves to 127.0.0.1 makes them look like its own. So a request must
name this host as 127.0.0.1 or localhost, and one that a page of a foreign origin sends is refused
before anything is done, not only kept from reading the answer. There are no secrets in the answers.

``/metrics`` is not of the contract: counts without names, for a Prometheus on this machine, and only
where ``local_metrics`` is set, because every user of the machine can read them.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from bbhost.contract.version import PROTOCOL_VERSION
from bbhost.daemon.local.http_server import Request, Response, error_response, json_response
from bbhost.lifecycle.session import SessionState
from bbhost.session.connection import SessionStatus
from bbhost.session.server_url import ServerUrl

PATHS_LIMIT = 200
"""Paths asked about in one request."""
PREFLIGHT_SECONDS = 600
"""How long a browser may remember what a preflight said."""
LOCAL_NAMES = ("127.0.0.1", "localhost")

_METHODS = "GET, POST, OPTIONS"
_NOT_OFFERED = {
    ("POST", "/open-in-target"): "bbhost opens no other programs",
    ("POST", "/pick-folder"): "bbhost has no folder picker",
    ("GET", "/provider-clis/status"): "bbhost does not manage the programs of providers",
    ("POST", "/provider-clis/install"): "bbhost does not install programs",
}
"""Routes of the contract for which bbhost has nothing to offer."""


@frozen
class LocalApi:
    """Routes of the local HTTP API."""

    host_id: str
    server_url: ServerUrl
    port: int
    """The port it is served on."""
    session: Callable[[], SessionStatus | None]
    """How the link to the server stands."""
    app_url: str | None = None
    """A further web page that may ask."""
    dev_port: int | None = None
    """Port of a development server of the web page."""
    metrics: Callable[[], Response] | None = None
    """Counts for a Prometheus on this machine; None: not offered."""
    limit: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(2))
    """Threads that look at paths, some of which may be on a dead network disk."""

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if not self._is_local(request.headers.get("host", "")):
            return error_response(
                403, "forbidden", "This API answers 127.0.0.1 and localhost only"
            )
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.origins:
            return error_response(403, "forbidden", "This origin may not use the API")
        response = await self._answer(request)
        return response if origin is None else _readable_by(response, origin)

    @property
    def origins(self) -> frozenset[str]:
        """Web pages that may ask: its own, the server's, and the configured one."""
        server_port = urlsplit(self.server_url.text).port
        ports = {self.port, server_port or (443 if self.server_url.is_secure else 80)}
        if self.dev_port is not None:
            ports.add(self.dev_port)
        local = {f"http://{name}:{port}" for name in LOCAL_NAMES for port in ports}
        return frozenset(local | ({_origin_of(self.app_url)} if self.app_url else set()))

    def _is_local(self, host: str) -> bool:
        return host.lower() in {f"{name}:{self.port}" for name in LOCAL_NAMES}

    async def _answer(self, request: Request) -> Response:
        routes: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/status"): self._status,
            ("POST", "/paths/exist"): self._paths_exist,
            ("GET", "/workspace-open-targets"): self._open_targets,
            **({} if self.metrics is None else {("GET", "/metrics"): self._metrics}),
        }
        known = routes.keys() | _NOT_OFFERED.keys()
        if request.method == "OPTIONS" and any(path == request.path for _, path in known):
            return _preflight()
        wanted = (request.method, request.path)
        if wanted in _NOT_OFFERED:
            return error_response(501, "not_implemented", _NOT_OFFERED[wanted])
        route = routes.get(wanted)
        if route is not None:
            return await route(request)
        if any(path == request.path for _, path in known):
            return error_response(405, "method_not_allowed", f"Not with {request.method}")
        return error_response(404, "not_found", f"No {request.path} here")

    async def _health(self, _request: Request) -> Response:
        return Response(200, b"ok", "text/plain; charset=utf-8")

    async def _metrics(self, _request: Request) -> Response:
        assert self.metrics is not None
        return self.metrics()

    async def _status(self, _request: Request) -> Response:
        status = self.session()
        return json_response(
            {
                "hostId": self.host_id,
                "connected": status is not None and status.state is SessionState.OPEN,
                "protocolVersion": PROTOCOL_VERSION,
                "serverUrl": self.server_url.text,
                "supportsNativeFolderPicker": False,
                "platform": _platform(),
            }
        )

    async def _paths_exist(self, request: Request) -> Response:
        # A page of another origin can send such a body without a preflight only as plain text.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return error_response(415, "invalid_request", "The body must be application/json")
        try:
            paths = _paths(request.json())
        except (ValueError, RecursionError):
            return error_response(
                400, "invalid_request", f"paths: 1 to {PATHS_LIMIT} texts that are not empty"
            )
        existence = await trio.to_thread.run_sync(
            lambda: {path: _exists(path) for path in paths}, limiter=self.limit
        )
        return json_response({"existence": existence})

    async def _open_targets(self, _request: Request) -> Response:
        return json_response({"targets": []})


def _paths(body: Any) -> list[str]:  # noqa: ANN401 - whatever was sent
    paths = body.get("paths") if isinstance(body, dict) else None
    if not isinstance(paths, list) or not 1 <= len(paths) <= PATHS_LIMIT:
        raise ValueError
    if not all(isinstance(path, str) and path for path in paths):
        raise ValueError
    return paths


def _exists(path: str) -> bool:
    """Whether something is there; what cannot be looked at counts as there. Blocking."""
    try:
        os.stat(path)  # noqa: PTH116 - any text, also one that is no path
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _preflight() -> Response:
    return Response(
        content_type="text/plain",
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": "content-type",
            "access-control-max-age": str(PREFLIGHT_SECONDS),
            # Chrome asks before a public page reaches a private address.
            "access-control-allow-private-network": "true",
        },
    )


def _readable_by(response: Response, origin: str) -> Response:
    headers = {**response.headers, "access-control-allow-origin": origin, "vary": "origin"}
    return Response(response.status, response.body, response.content_type, headers)


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _platform() -> str:
    if sys.platform == "darwin":
        return "darwin"
    if sys.platform == "linux":
        wsl = os.environ.get("WSL_DISTRO_NAME") or os.environ.get("WSL_INTEROP")
        return "wsl" if wsl else "linux"
    return "unknown"
