"""What daemons ask over HTTP (wire contract, sections 1 to 10). Answers are the contract's own."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from starlette.routing import BaseRoute, Route

from bbhost.contract.codec import parse_json, structure
from bbhost.contract.reports import parse_report_post
from bbhost.contract.session import EnrollRequest, EnrollResponse, SessionOpenRequest
from bbhost.errors import WireError
from bbhost.hub.config import HubConfig
from bbhost.hub.errors import ApiError, unauthorized
from bbhost.hub.http.access import bearer
from bbhost.hub.http.asgi import (
    Receive,
    Reply,
    Scope,
    Send,
    answer_while_connected,
    error_reply,
    facts_of,
    json_reply,
    query_values,
    read_body,
    send_reply,
)
from bbhost.hub.http.guard import HOST_STATE
from bbhost.hub.services.core import Core, DaemonSession
from bbhost.hub.services.hosts import Hosts
from bbhost.hub.services.queue import CommandQueue, command_of
from bbhost.hub.services.session_life import SessionLife
from bbhost.hub.storage.hosts import HostRecord

OK = {"ok": True}
logger = logging.getLogger(__name__)


@frozen
class DaemonCall:
    """One request of a daemon that has shown its key."""

    host: HostRecord
    data: Any
    """The JSON value of the body; None of a GET."""
    query: dict[str, str]


DaemonHandler = Callable[[DaemonCall], Awaitable[Reply]]


class DaemonEndpoint:
    """The ASGI application of one internal route."""

    def __init__(self, handler: DaemonHandler, config: HubConfig) -> None:
        self._handler = handler
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits, timings = self._config.limits, self._config.timings
        try:
            text = await read_body(
                scope, receive, limits.internal_body_bytes, timings.body_seconds
            )
            data = parse_json(text) if scope["method"] == "POST" else None
        except (ApiError, WireError) as error:
            await send_reply(send, error_reply(error))
            return

        async def work() -> Reply:
            query = dict(query_values(scope))
            return await self._handler(DaemonCall(scope["state"][HOST_STATE], data, query))

        await answer_while_connected(receive, send, work)


def daemon_route(method: str, path: str, handler: DaemonHandler, config: HubConfig) -> BaseRoute:
    """Return the Starlette route of an internal request."""
    return Route(f"/internal{path}", DaemonEndpoint(handler, config), methods=[method])


def session_of(core: Core, call: DaemonCall) -> DaemonSession:
    """Return the active session that a body or query names.

    Raises:
        ApiError: 400 none is named, 401 it is not active, 403 it is another host's.
    """
    given = call.query.get("sessionId") if call.data is None else None
    if isinstance(call.data, dict):
        given = call.data.get("sessionId")
    if not isinstance(given, str) or not given:
        raise WireError("sessionId: is missing", path="sessionId")
    return core.sessions.active(given, call.host.id)


def session_routes(
    core: Core, hosts: Hosts, life: SessionLife, queue: CommandQueue
) -> list[BaseRoute]:
    """Return the routes of enrolment, sessions, commands and results."""
    config = core.config

    async def open_session(call: DaemonCall) -> Reply:
        request = structure(SessionOpenRequest, call.data)
        return json_reply(201, await life.open(call.host, request))

    async def fetch(call: DaemonCall) -> Reply:
        session, limit, wait_ms = _fetch_query(core, call)
        wait = min(wait_ms / 1000, config.timings.long_poll_longest_seconds)
        records = await queue.fetch(session.host_id, limit, wait)
        if not records and wait_ms > 0:
            return Reply(204, b"")
        commands = [
            {"id": one.id, "cursor": one.cursor, "command": command_of(one)} for one in records
        ]
        return json_reply(200, {"commands": commands})

    async def report(call: DaemonCall) -> Reply:
        session_of(core, call)
        post = parse_report_post(call.data)
        await queue.report(call.host.id, post.report)
        return json_reply(200, OK)

    return [
        Route("/internal/hosts/enroll", _EnrollEndpoint(hosts, config), methods=["POST"]),
        daemon_route("POST", "/session/open", open_session, config),
        daemon_route("GET", "/session/commands", fetch, config),
        daemon_route("POST", "/session/command-result", report, config),
    ]


def _fetch_query(core: Core, call: DaemonCall) -> tuple[DaemonSession, int, int]:
    """Read the query of a fetch; as at the origin, a malformed one is a 500.

    Raises:
        ApiError: 500, 401 or 403.
    """
    limit, wait = call.query.get("limit", ""), call.query.get("waitMs", "")
    for text in (limit, wait):
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ApiError(500, "internal_error", "limit and waitMs must be decimal numbers")
    if "sessionId" not in call.query:
        raise ApiError(500, "internal_error", "sessionId is missing")
    return session_of(core, call), int(limit), int(wait)


class _EnrollEndpoint:
    """Enrolment: the one internal route whose credential is an enroll key."""

    def __init__(self, hosts: Hosts, config: HubConfig) -> None:
        self._hosts = hosts
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits, timings = self._config.limits, self._config.timings
        try:
            key = bearer(facts_of(scope))
            if key is None:
                raise unauthorized()
            text = await read_body(scope, receive, limits.public_body_bytes, timings.body_seconds)
            request = structure(EnrollRequest, parse_json(text))
            host_key = await self._hosts.enroll(
                key, request.host_id, request.host_name, request.host_type
            )
        except (ApiError, WireError) as error:
            await send_reply(send, error_reply(error))
            return
        await send_reply(send, json_reply(201, EnrollResponse(request.host_id, host_key)))
