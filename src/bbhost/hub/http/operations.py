"""One public operation: its route, what it takes, what it gives, and who does it.

Routes and the OpenAPI document are both made from the same operations, so neither can say what the
other does not do.
"""

import typing
from collections.abc import Awaitable, Callable, Mapping
from types import UnionType
from typing import Any, Union

import attrs
from attrs import frozen
from starlette.routing import BaseRoute, Route

from bbhost.contract.codec import decode_json, structure
from bbhost.contract.wire import wire_name
from bbhost.errors import BbhostError
from bbhost.hub.api.hosts import ErrorDescription
from bbhost.hub.config import HubConfig
from bbhost.hub.errors import invalid_request
from bbhost.hub.http.asgi import (
    Receive,
    Reply,
    Scope,
    Send,
    answer_while_connected,
    error_reply,
    json_reply,
    query_values,
    read_body,
    send_reply,
)

CREATED = 201
ACCEPTED = 202


@frozen
class Call:
    """One request for an operation, read and checked."""

    path: Mapping[str, str]
    """Parameters of the route."""
    query: Any = None
    """A value of the operation's query class."""
    body: Any = None
    """A value of the operation's body class."""


Handler = Callable[[Call], Awaitable[object]]


@frozen
class Operation:
    """One method on one path."""

    method: str
    path: str
    name: str
    """Unique; the operation id of the document."""
    summary: str
    handler: Handler
    answer: Any
    """Class of the answer's body."""
    status: int = 200
    body: Any = None
    query: Any = None
    raw_answer: str | None = None
    """Content type of an answer that is not JSON; the handler returns a :class:`Reply`."""
    upload: bool = False
    """The body is bytes, handed to the handler as they are."""
    errors: tuple[int, ...] = ()
    """Statuses beside those that every operation may answer with."""


def error_statuses(operation: Operation) -> tuple[int, ...]:
    """Return the error statuses an operation may answer with."""
    statuses = {400, 401, 403, 500, *operation.errors}
    if operation.body is not None or operation.upload:
        statuses |= {408, 413, 415}
    if "{" in operation.path:
        statuses.add(404)
    return tuple(sorted(statuses))


ERROR_CLASS = ErrorDescription
DAEMON_ERRORS = (502, 503, 504)
"""Statuses of operations that need the daemon's answer."""


def make_route(operation: Operation, config: HubConfig) -> BaseRoute:
    """Return the Starlette route of an operation."""
    return Route(
        operation.path, _Endpoint(operation, config), methods=[operation.method],
        name=operation.name,
    )  # fmt: skip


class _Endpoint:
    """The ASGI application of one operation."""

    def __init__(self, operation: Operation, config: HubConfig) -> None:
        self._operation = operation
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The body is read before the watch for a disconnect begins: both read the same messages.
        try:
            call = await self._read(scope, receive)
        except BbhostError as error:
            await send_reply(send, error_reply(error))
            return
        await answer_while_connected(receive, send, lambda: self._run(call))

    async def _read(self, scope: Scope, receive: Receive) -> Call:
        operation = self._operation
        limits, timings = self._config.limits, self._config.timings
        limit = limits.attachment_bytes if operation.upload else limits.public_body_bytes
        text = await read_body(scope, receive, limit, timings.body_seconds)
        query = None
        if operation.query is not None:
            query = read_query(operation.query, query_values(scope))
        body: object = text if operation.upload else None
        if operation.body is not None:
            body = decode_json(operation.body, text)
        return Call(scope["path_params"], query, body)

    async def _run(self, call: Call) -> Reply:
        result = await self._operation.handler(call)
        if isinstance(result, Reply):
            return result
        return json_reply(self._operation.status, result)


def read_query(cls: type[Any], values: Mapping[str, str]) -> object:
    """Make a value of a query class; numbers and booleans are read from their text.

    Raises:
        ApiError: 400, a number or boolean is none.
        WireError: a parameter is unknown, missing or out of range.
    """
    data: dict[str, object] = dict(values)
    hints = typing.get_type_hints(cls, include_extras=False)
    for field in attrs.fields(cls):
        name = wire_name(field)
        if name in values:
            data[name] = _from_text(name, values[name], hints[field.name])
    return structure(cls, data, strict=True)


def _from_text(name: str, text: str, kind: Any) -> object:  # noqa: ANN401 - any annotation
    kinds = typing.get_args(kind) if typing.get_origin(kind) in {Union, UnionType} else (kind,)
    if bool in kinds:
        if text not in {"true", "false"}:
            raise invalid_request(f"{name}: must be true or false")
        return text == "true"
    if int in kinds:
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise invalid_request(f"{name}: must be a whole number")
        return int(text)
    return text
