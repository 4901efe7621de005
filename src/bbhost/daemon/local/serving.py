"""Serves the control socket, and the local HTTP API where one is configured, while the daemon runs."""

import socket

import trio

from bbhost.daemon.assembly import Parts
from bbhost.daemon.config import Config
from bbhost.daemon.local.api import LocalApi
from bbhost.daemon.local.control import ControlApi
from bbhost.daemon.local.http_server import serve_http
from bbhost.daemon.local.socket_path import bind_control_socket, control_socket_path
from bbhost.daemon.stopping import StopRequest
from bbhost.errors import BbhostError
from bbhost.session.runner import Session

BACKLOG = 128
"""Connections that wait for their turn."""


class LocalPortError(BbhostError):
    """The local HTTP API cannot listen."""

    code = "local_port"


async def serve_locally(  # noqa: ASYNC128
    parts: Parts,
    session: Session,
    stop: StopRequest,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the control socket until cancelled; the socket file is gone afterwards.

    Raises:
        ControlSocketError: the socket cannot be made.
    """
    path = control_socket_path(parts.config)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bind_control_socket(path)))
    api = ControlApi(parts, session, stop)
    try:
        await serve_http([listener], api.handle, task_status=task_status)
    finally:
        path.unlink(missing_ok=True)


def bind_local_port(config: Config) -> trio.SocketListener | None:
    """Listen where the local HTTP API is to be, on 127.0.0.1; None where no port is configured.

    It answers once it is served; until then connections wait.

    Raises:
        LocalPortError: the port is taken or not allowed.
    """
    port = config.get("local_port")
    if port is None:
        return None
    listening = socket.socket()
    try:
        # The port of a daemon that has just ended is free again at once.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise LocalPortError(
            f"cannot listen on 127.0.0.1:{port} for the local HTTP API: "
            f"{error.strerror or error}; choose another --local-port"
        ) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def port_of(listener: trio.SocketListener) -> int:
    """The port a listener has."""
    port: int = listener.socket.getsockname()[1]
    return port


async def serve_local_port(  # noqa: ASYNC128
    listener: trio.SocketListener,
    api: LocalApi,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the local HTTP API until cancelled."""
    await serve_http([listener], api.handle, task_status=task_status)
