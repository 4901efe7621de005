"""The few ASGI pieces all routes share: facts of a request, bounded bodies, replies, errors.

Endpoints here are plain ASGI callables behind Starlette's routing. A request whose client has gone is
cancelled; an error that nobody expected is logged and answered, and ends only its own request.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import attrs
import trio
from attrs import frozen

from bbhost.contract.codec import dump_json, unstructure
from bbhost.errors import BbhostError, WireError
from bbhost.hub.errors import ApiError, invalid_request
from bbhost.hub.http.access import RequestFacts
from bbhost.hub.services.outbox import CLOSE_POLICY

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger(__name__)


@frozen
class Reply:
    """An HTTP answer with a body of bytes."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


def facts_of(scope: Scope) -> RequestFacts:
    """Return the facts of an ASGI scope."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return RequestFacts(
        is_websocket=scope["type"] == "websocket",
        method=scope.get("method", "GET"),
        path=scope["path"],
        headers=headers,
    )


def json_reply(status: int, value: object) -> Reply:
    """Return an answer with a wire value, or what is JSON already, as its body."""
    data = unstructure(value) if attrs.has(type(value)) else value
    return Reply(status, dump_json(data).encode())


def error_reply(error: BaseException) -> Reply:
    """Return the answer to a request that failed, and log what nobody expected."""
    match error:
        case ApiError():
            body = {"code": error.code, "message": error.message}
            if error.retryable is not None:
                body["retryable"] = error.retryable  # type: ignore[assignment]
            return json_reply(error.status, body)
        case WireError():
            return json_reply(400, {"code": "invalid_request", "message": error.message})
        case BbhostError():
            logger.error("a request failed: %s", error.message, exc_info=error)
            return json_reply(500, {"code": error.code, "message": error.message})
        case _:
            logger.error("a request failed unexpectedly", exc_info=error)
            return json_reply(500, {"code": "internal_error", "message": "Internal error"})


async def send_reply(send: Send, reply: Reply, *, websocket: bool = False) -> None:
    """Send an answer; with ``websocket`` as the refusal of a handshake."""
    prefix = "websocket.http" if websocket else "http"
    headers = [
        (b"content-type", reply.content_type.encode("latin-1")),
        (b"content-length", str(len(reply.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *reply.headers,
    ]
    await send({"type": f"{prefix}.response.start", "status": reply.status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": reply.body, "more_body": False})


async def refuse(scope: Scope, send: Send, error: BaseException) -> None:
    """Answer a request, or a WebSocket handshake, with an error."""
    await send_reply(send, error_reply(error), websocket=scope["type"] == "websocket")


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """Return the whole body.

    Raises:
        ApiError: 413 larger than ``limit`` bytes, 408 not there after ``seconds``, 400 cut short.
    """
    declared = facts_of(scope).one("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    with trio.move_on_after(seconds):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise invalid_request("The request ended before its body did")
            body += message.get("body", b"")
            if len(body) > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return bytes(body)
    raise ApiError(408, "request_timeout", "The request body took too long", retryable=True)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"The request body is larger than {limit} bytes")


async def answer_while_connected(
    receive: Receive, send: Send, work: Callable[[], Awaitable[Reply]]
) -> None:
    """Do the work and send its answer; stop when the client goes away.

    Whatever the work raises is answered here. Cancellation: of the work too.
    """
    reply: Reply | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at_disconnect, receive, nursery.cancel_scope)
        try:
            reply = await work()
        except Exception as error:
            reply = error_reply(error)
        nursery.cancel_scope.cancel()
    if reply is not None:
        await send_reply(send, reply)


async def _cancel_at_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel("the client has gone")


def query_values(scope: Scope) -> Mapping[str, str]:
    """Return the query parameters.

    Raises:
        ApiError: 400, one is given twice or is not UTF-8.
    """
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(scope["query_string"]),
            errors="strict",
            max_num_fields=100,
        )
    except ValueError as error:
        raise invalid_request("The query is malformed") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise invalid_request("A query parameter is given twice")
    return values


async def close_socket(send: Send, code: int = CLOSE_POLICY, reason: str = "") -> None:
    """Close an accepted WebSocket."""
    await send({"type": "websocket.close", "code": code, "reason": reason})
