"""Serves the control socket while the daemon runs."""

import trio

from bbhost.daemon.assembly import Parts
from bbhost.daemon.local.control import ControlApi
from bbhost.daemon.local.http_server import serve_http
from bbhost.daemon.local.socket_path import bind_control_socket, control_socket_path
from bbhost.daemon.stopping import StopRequest
from bbhost.session.runner import Session


async def serve_locally(
    parts: Parts,
    session: Session,
    stop: StopRequest,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; the socket file is gone afterwards.

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
