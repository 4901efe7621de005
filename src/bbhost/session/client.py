"""Requests to the server, one method each.

Every failure is one of three errors that say whether trying again may help; nothing else escapes.
Answers are read within a bound and a deadline. Trying again is the business of the callers.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import trio
from attrs import frozen

from bbhost.contract.codec import decode_json, encode_json
from bbhost.contract.session import (
    AppDataChange,
    AppDataResync,
    EnrollRequest,
    EnrollResponse,
    EnvironmentChangePost,
    EventBatchResponse,
    FetchedCommands,
    InteractiveInterrupt,
    InteractiveInterruptResponse,
    InteractiveRequest,
    InteractiveResponse,
    OkResponse,
    SessionOpenRequest,
    SessionOpenResponse,
    ToolCallRequest,
    ToolCallResponse,
    parse_error_body,
)
from bbhost.domain.ids import SessionId, ThreadId
from bbhost.errors import BbhostError, WireError
from bbhost.session.errors import ServerAnswerError, ServerRefusedError, ServerUnreachableError
from bbhost.session.http_client import HttpAnswer, HttpClient, HttpError, open_http_client
from bbhost.session.server_url import ServerUrl

T = TypeVar("T")

REQUEST_SECONDS = 30.0
"""Deadline of a request, from connecting to the last byte of the answer."""
TOOL_CALL_SECONDS = 120.0
"""Deadline of a tool call, which does something on the server."""
ATTACHMENT_SECONDS = 300.0
"""Deadline of an attachment."""
ANSWER_LIMIT = 8 * 1024 * 1024
"""Bytes of an ordinary answer; the largest says what became of a batch of events."""
COMMANDS_LIMIT = 64 * 1024 * 1024
"""Bytes of a list of commands: they carry prompts and files to write."""
ATTACHMENT_LIMIT = 64 * 1024 * 1024
"""Bytes of an attachment."""
ERROR_LIMIT = 64 * 1024
"""Bytes read of an error."""
SHOWN_CHARACTERS = 200
"""Of an error body that is not of the contract, for people."""
_INTERACTIVE_RESPONSE: Any = InteractiveResponse
_OK, _CREATED, _NO_CONTENT = 200, 201, 204


@frozen
class Attachment:
    """A file that a person attached to a message."""

    content: bytes
    content_type: str


@asynccontextmanager
async def open_client(
    url: ServerUrl, tls: ssl.SSLContext | None, host_key: str | None
) -> AsyncIterator["ServerClient"]:
    """A client that sends ``host_key`` with every request; None: only :meth:`enroll` is of use.

    Proxy settings of the environment are not used: the socket could not use them either.
    """
    headers = {} if host_key is None else {"Authorization": f"Bearer {host_key}"}
    async with open_http_client(url, tls, headers) as http:
        yield ServerClient(url, http)


class ServerClient:
    """Speaks to one server. Made by :func:`open_client`.

    Every method raises ServerRefusedError, ServerUnreachableError or ServerAnswerError.
    Cancellation: the connection is closed; the server may have acted upon the request.
    """

    def __init__(self, url: ServerUrl, http: HttpClient) -> None:
        self.url = url
        self._http = http

    async def enroll(self, join_code: str, request: EnrollRequest) -> EnrollResponse:
        """Trade a join code for a host key."""
        headers = {"Authorization": f"Bearer {join_code}"}
        body = encode_json(request)
        answer = await self._request("POST", "hosts/enroll", body=body, headers=headers)
        return _decode(EnrollResponse, answer)

    async def open_session(self, request: SessionOpenRequest) -> SessionOpenResponse:
        """Open a session."""
        return await self._post("session/open", encode_json(request), SessionOpenResponse)

    async def fetch_commands(self, session_id: SessionId, limit: int) -> tuple[object, ...]:
        """Take at most ``limit`` commands; each is still to be parsed by itself."""
        query = {"sessionId": session_id, "limit": str(limit), "waitMs": "0"}
        answer = await self._request("GET", "session/commands", query=query, limit=COMMANDS_LIMIT)
        if answer.status == _NO_CONTENT:
            return ()
        return _decode(FetchedCommands, answer).commands

    async def report_result(self, body: str) -> None:
        """Post the result of a command (JSON from ``contract.reports``)."""
        await self._post("session/command-result", body, OkResponse)

    async def post_events(self, body: str) -> EventBatchResponse:
        """Post a batch of events (JSON from ``contract.reports``)."""
        return await self._post("session/events", body, EventBatchResponse)

    async def post_environment_change(self, post: EnvironmentChangePost) -> None:
        """Tell that something changed in an environment."""
        await self._post("session/environment-change", encode_json(post), OkResponse)

    async def post_app_data_change(self, post: AppDataChange) -> None:
        """Tell what a data file of an app holds now."""
        await self._post("session/app-data-change", encode_json(post), OkResponse)

    async def post_app_data_resync(self, post: AppDataResync) -> None:
        """Tell that all data of an app is to be read again."""
        await self._post("session/app-data-resync", encode_json(post), OkResponse)

    async def call_tool(self, request: ToolCallRequest) -> ToolCallResponse:
        """Call a tool of the server on behalf of an agent."""
        body = encode_json(request)
        return await self._post(
            "session/tool-call", body, ToolCallResponse, seconds=TOOL_CALL_SECONDS
        )

    async def register_interaction(self, request: InteractiveRequest) -> InteractiveResponse:
        """Ask a person on behalf of an agent."""
        answer = await self._request(
            "POST", "session/interactive-request", body=encode_json(request)
        )
        response: InteractiveResponse = _decode(_INTERACTIVE_RESPONSE, answer)
        return response

    async def interrupt_interactions(self, request: InteractiveInterrupt) -> tuple[str, ...]:
        """Take back what an agent asked; return the ids of the questions."""
        response = await self._post(
            "session/interactive-request/interrupt",
            encode_json(request),
            InteractiveInterruptResponse,
        )
        return response.interaction_ids

    async def read_attachment(
        self, session_id: SessionId, thread_id: ThreadId, project_id: str, path: str
    ) -> Attachment:
        """Read a file that a person attached.

        Raises:
            BbhostError: code ``attachment_unavailable``: others could read it on the way.
        """
        if not self.url.is_private:
            raise BbhostError(
                "attachments are only fetched over https or from this machine",
                code="attachment_unavailable",
            )
        answer = await self._request(
            "GET",
            "session/project-attachment-content",
            query={
                "sessionId": session_id,
                "threadId": thread_id,
                "projectId": project_id,
                "path": path,
            },
            limit=ATTACHMENT_LIMIT,
            seconds=ATTACHMENT_SECONDS,
        )
        return Attachment(answer.content, answer.content_type)

    # --- how ----------------------------------------------------------------------------------

    async def _post(
        self, path: str, body: str, answer: type[T], *, seconds: float = REQUEST_SECONDS
    ) -> T:
        return _decode(answer, await self._request("POST", path, body=body, seconds=seconds))

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        limit: int = ANSWER_LIMIT,
        seconds: float = REQUEST_SECONDS,
    ) -> HttpAnswer:
        where = f"{method} {path}"
        target = f"/internal/{path}" if query is None else f"/internal/{path}?{urlencode(query)}"
        try:
            with trio.fail_after(seconds):
                answer = await self._http.request(
                    method,
                    target,
                    b"" if body is None else body.encode(),
                    limits=(limit, ERROR_LIMIT),
                    headers=headers,
                )
        except trio.TooSlowError as error:
            raise ServerUnreachableError(f"{where}: no answer within {seconds:.0f} s") from error
        except HttpError as error:
            raise ServerUnreachableError(f"{where}: {error}") from error
        if answer.status not in {_OK, _CREATED, _NO_CONTENT}:
            raise _refusal(answer.status, answer.content)
        if len(answer.content) > limit:
            raise ServerAnswerError(f"{where}: the answer is larger than {limit} bytes")
        return answer


def _refusal(status: int, content: bytes) -> ServerRefusedError:
    body = parse_error_body(content)
    if body is not None:
        return ServerRefusedError(status, body.code, body.message, retryable=body.retryable)
    shown = content[: SHOWN_CHARACTERS * 4].decode(errors="replace")[:SHOWN_CHARACTERS]
    return ServerRefusedError(status, "", shown, retryable=None)


def _decode(cls: type[T], answer: HttpAnswer) -> T:
    try:
        return decode_json(cls, answer.content)
    except WireError as error:
        raise ServerAnswerError(
            f"the server's answer {answer.status} is not of the contract: {error.message}"
        ) from error
