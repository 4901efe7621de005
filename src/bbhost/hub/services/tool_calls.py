"""Tools that the server offers to agents. There is one: ``message_user``."""

import sqlite3

from bbhost.contract.session import ToolCallRequest, ToolCallResponse, ToolText
from bbhost.hub.api.notifications import ThreadEventsAppended
from bbhost.hub.clock import now_ms
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.event_intake import require_turn
from bbhost.hub.services.thread_values import require_thread_of_host
from bbhost.hub.storage import events as table
from bbhost.hub.storage.events import NewEvent

MESSAGE_USER = "message_user"
USER_MESSAGE_EVENT = "system/manager/user_message"


async def call_tool(core: Core, host_id: str, request: ToolCallRequest) -> ToolCallResponse:
    """Do what an agent asks of a tool.

    Raises:
        ApiError: 404, 403; 409 the turn's beginning is not stored.
    """

    def step(db: sqlite3.Connection, after: Aftermath) -> ToolCallResponse:
        require_thread_of_host(db, request.thread_id, host_id)
        if request.tool != MESSAGE_USER:
            return _answer(f"Unsupported tool: {request.tool}", success=False)
        text = _text_of(request.arguments)
        if text is None:
            return _answer("message_user needs a text", success=False)
        require_turn(db, request.thread_id, request.turn_id, USER_MESSAGE_EVENT)
        _append(db, after, request, text)
        return _answer("The message was shown to the user", success=True)

    return await core.transact(step, durable=True)


def _append(db: sqlite3.Connection, after: Aftermath, request: ToolCallRequest, text: str) -> None:
    # The call's id makes a repeated request the same message.
    unique = f"tool:{request.thread_id}:{request.provider_thread_id}:{request.call_id}"
    if table.find_known(db, unique) is not None:
        return
    event = {
        "type": USER_MESSAGE_EVENT,
        "threadId": request.thread_id,
        "scope": {"kind": "turn", "turnId": request.turn_id},
        "toolCallId": request.call_id,
        "text": text,
    }
    new = NewEvent(request.thread_id, USER_MESSAGE_EVENT, request.turn_id, event, unique)
    sequence = table.append_event(db, new, now_ms())
    after.appended_threads.add(request.thread_id)
    after.tell(ThreadEventsAppended(request.thread_id, sequence))


def _text_of(arguments: object) -> str | None:
    if not isinstance(arguments, dict):
        return None
    for key in ("text", "message"):
        value = arguments.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _answer(text: str, *, success: bool) -> ToolCallResponse:
    return ToolCallResponse(success, (ToolText(text),))
