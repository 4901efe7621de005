"""Daemons' posts about threads: events, tool calls, questions, app data (sections 9 to 11)."""

import sqlite3

from starlette.routing import BaseRoute

from bbhost.contract.codec import structure
from bbhost.contract.session import (
    AppDataChange,
    AppDataResync,
    InteractiveInterrupt,
    InteractiveInterruptResponse,
    InteractiveRequest,
    ToolCallRequest,
)
from bbhost.hub.api.notifications import AppDataChanged
from bbhost.hub.api.threads import AppDataEntry
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import invalid_request
from bbhost.hub.http.asgi import Reply, json_reply
from bbhost.hub.http.internal_routes import OK, DaemonCall, daemon_route, session_of
from bbhost.hub.services.assembly import Services
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.thread_values import require_thread_of_host
from bbhost.hub.services.tool_calls import call_tool
from bbhost.hub.storage.thread_files import put_app_data


def thread_intake_routes(services: Services) -> list[BaseRoute]:
    """Return the routes by which daemons report on threads."""
    core = services.core

    async def events(call: DaemonCall) -> Reply:
        session_of(core, call)
        return json_reply(200, await services.events.take(call.host.id, call.data))

    async def tool_call(call: DaemonCall) -> Reply:
        session_of(core, call)
        request = structure(ToolCallRequest, call.data)
        return json_reply(200, await call_tool(core, call.host.id, request))

    async def ask(call: DaemonCall) -> Reply:
        session = session_of(core, call)
        request = structure(InteractiveRequest, call.data)
        answer = await services.interactions.register(
            call.host.id, session.id, request.interaction
        )
        return json_reply(200, answer)

    async def interrupt(call: DaemonCall) -> Reply:
        session_of(core, call)
        request = structure(InteractiveInterrupt, call.data)
        ended = await services.interactions.interrupt(call.host.id, request)
        return json_reply(200, InteractiveInterruptResponse(ok=True, interaction_ids=ended))

    async def attachment(call: DaemonCall) -> Reply:
        session_of(core, call)
        wanted = [call.query.get(name) for name in ("threadId", "projectId", "path")]
        if not all(wanted):
            raise invalid_request("threadId, projectId and path are needed")
        thread_id, project_id, path = (one or "" for one in wanted)
        row, content = await services.attachments.read_for_thread(
            call.host.id, thread_id, project_id, path
        )
        return Reply(200, content, row.mime_type)

    return [
        daemon_route("POST", "/session/events", events, core.config),
        daemon_route("POST", "/session/tool-call", tool_call, core.config),
        daemon_route("POST", "/session/interactive-request", ask, core.config),
        daemon_route("POST", "/session/interactive-request/interrupt", interrupt, core.config),
        daemon_route("GET", "/session/project-attachment-content", attachment, core.config),
        *_app_data_routes(services),
    ]


def _app_data_routes(services: Services) -> list[BaseRoute]:
    core = services.core

    async def changed(call: DaemonCall) -> Reply:
        session_of(core, call)
        post = structure(AppDataChange, call.data)
        entry = AppDataEntry(post.app_id, post.path, post.value, post.version, now_ms())

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            require_thread_of_host(db, post.thread_id, call.host.id)
            put_app_data(db, post.thread_id, entry)
            after.tell(AppDataChanged(post.thread_id, post.app_id, entry))

        await core.transact(step)
        return json_reply(200, OK)

    async def resync(call: DaemonCall) -> Reply:
        session_of(core, call)
        post = structure(AppDataResync, call.data)

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            require_thread_of_host(db, post.thread_id, call.host.id)
            after.tell(AppDataChanged(post.thread_id, post.app_id))

        await core.transact(step)
        return json_reply(200, OK)

    return [
        daemon_route("POST", "/session/app-data-change", changed, core.config),
        daemon_route("POST", "/session/app-data-resync", resync, core.config),
    ]
