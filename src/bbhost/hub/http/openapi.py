"""The OpenAPI 3.1 document of the public API, made from its operations."""

import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from bbhost import __version__
from bbhost.hub.http.operations import ERROR_CLASS, Operation, error_statuses
from bbhost.hub.http.schemas import Schema, SchemaBook

OPENAPI_VERSION = "3.1.0"
_PARAMETER = re.compile(r"\{(\w+)\}")
_STATUS_WORDS = {
    200: "Success",
    201: "Created",
    202: "Accepted; the environment's state tells how it goes",
    400: "The request does not follow this document",
    401: "No or a wrong token",
    403: "The Host or Origin header is not allowed",
    404: "Not known",
    408: "The body took too long",
    409: "Not possible in the present state",
    413: "The body is too large",
    415: "The content type is not the one required",
    500: "A fault of the hub",
    502: "The daemon answered with an error; its code and message",
    503: "The daemon is not connected, or the hub is busy",
    504: "The daemon did not answer in time",
}


@frozen
class SocketDescription:
    """One WebSocket route, for the document."""

    path: str
    name: str
    summary: str
    sends: tuple[Any, ...]
    """Classes of the messages the hub sends."""
    receives: tuple[Any, ...] = ()
    """Classes of the messages it understands."""
    query: Any = None


def make_document(
    operations: Iterable[Operation], sockets: Iterable[SocketDescription]
) -> dict[str, Any]:
    """Return the document, a JSON object."""
    book = SchemaBook()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(_camel_path(operation.path), {})[operation.method.lower()] = _describe(
            operation, book
        )
    for socket in sockets:
        paths.setdefault(_camel_path(socket.path), {})["get"] = _describe_socket(socket, book)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "bbhost hub",
            "version": __version__,
            "description": "Hosts, environments, terminals and threads. Times are milliseconds"
            " since the epoch. Every error has a code for programs and a message for people.",
        },
        "paths": paths,
        "components": {
            "schemas": book.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _describe(operation: Operation, book: SchemaBook) -> dict[str, Any]:
    responses = {str(operation.status): _success(operation, book)}
    error = {"application/json": {"schema": book.of(ERROR_CLASS)}}
    for status in error_statuses(operation):
        responses[str(status)] = {"description": _STATUS_WORDS[status], "content": error}
    description: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation.path, operation.query, book),
        "responses": responses,
    }
    if operation.upload:
        content: Schema = {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
        }
        description["requestBody"] = {"required": True, "content": content}
    elif operation.body is not None:
        content = {"application/json": {"schema": book.of(operation.body)}}
        description["requestBody"] = {"required": True, "content": content}
    if operation.path == "/health":
        description["security"] = []
    return description


def _success(operation: Operation, book: SchemaBook) -> dict[str, Any]:
    words = _STATUS_WORDS[operation.status]
    if operation.raw_answer is not None:
        return {"description": words, "content": {operation.raw_answer: {}}}
    content = {"application/json": {"schema": book.of(operation.answer)}}
    return {"description": words, "content": content}


def _describe_socket(socket: SocketDescription, book: SchemaBook) -> dict[str, Any]:
    return {
        "operationId": socket.name,
        "summary": socket.summary,
        "parameters": _parameters(socket.path, socket.query, book),
        "responses": {"101": {"description": "The WebSocket is open"}},
        "x-websocket": {
            "sends": [book.of(one) for one in socket.sends],
            "receives": [book.of(one) for one in socket.receives],
        },
    }


def _parameters(path: str, query: Any, book: SchemaBook) -> list[Schema]:  # noqa: ANN401 - a class
    parameters = [
        {"name": _camel(name), "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]
    if query is not None:
        parameters += book.query_parameters(query)
    return parameters


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _camel_path(path: str) -> str:
    return _PARAMETER.sub(lambda found: "{" + _camel(found[1]) + "}", path)
