"""A scripted server that behaves towards a daemon like the stock one (protocol version 26).

It validates as strictly as the stock server, forgets a session with its socket, hands a command out
once and a second time only after an interval, and answers with the same codes. Everything a daemon
sends is recorded; every answer can be made to fail. Each interval is an attribute, so that tests
need not wait for minutes.
"""

import base64
import hashlib
import itertools
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from attrs import define, field, frozen

from bbhost.contract.codec import structure, unstructure
from bbhost.contract.messages import Heartbeat, parse_daemon_message
from bbhost.contract.reports import parse_report_post
from bbhost.contract.session import (
    AppDataChange,
    AppDataResync,
    EnrollRequest,
    EnvironmentChangePost,
    EventEnvelope,
    InteractiveInterrupt,
    InteractiveRequest,
    SessionOpenRequest,
    ToolCallRequest,
)
from bbhost.contract.version import PROTOCOL_VERSION, SUBPROTOCOL
from bbhost.errors import WireError
from tests.fakes.http_server import (
    Application,
    Request,
    Response,
    ServerSocket,
    SocketClosed,
    serve,
)


class Refusal(Exception):
    """An error answer."""

    def __init__(
        self, status: int, code: str, message: str = "", *, retryable: bool | None = None
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message or code}
        if retryable is not None:
            self.body["retryable"] = retryable


UNAUTHORIZED = (401, "unauthorized", "Unauthorized")
INACTIVE = (401, "inactive_session", "Session is not active")


@define(eq=False)
class StockSession:
    """A row of the session table."""

    session_id: str
    host_id: str
    instance_id: str
    opened_with: dict[str, Any]
    lease_until: float
    status: str = "active"
    ended_at: float = 0.0
    socket: ServerSocket | None = None
    heartbeats: int = 0


@define(eq=False)
class StockCommand:
    """A row of the command queue."""

    command_id: str
    cursor: int
    command: Any
    state: str = "pending"
    fetched_at: float = 0.0
    deliveries: int = 0
    retry_count: int = 0
    result: dict[str, Any] | None = None
    settled: trio.Event = field(factory=trio.Event)
    envelope: Any = None
    """What is handed out instead of the envelope, where a test wants it malformed."""


@frozen
class Fault:
    """What happens to a request instead of what should."""

    path: str
    """The end of the path."""
    status: int = 0
    """0: the connection breaks off without an answer; -1: no answer for ever."""
    body: Any = None
    after: bool = False
    """The request is carried out first, and its answer lost."""


class StockServer:
    """The server. Made by :func:`run_stock_server`."""

    heartbeat_interval_ms = 5000
    lease_timeout_ms = 30_000
    redelivery_seconds = 60.0
    provision_redelivery_seconds = 1200.0
    expiry_seconds = 0.0
    """A command that was handed out twice is given up after this long, if it is longer than the time
    after which it is handed out again."""
    sweep_seconds = 10.0
    interaction_grace_seconds = 5.0
    command_limit_deliveries = 2

    def __init__(self) -> None:
        self.url = ""
        self.sends_live_list = False
        """Off: the session-open answer is the stock one. On: with ``liveEnvironmentIds``."""
        self.sends_retired_list = True
        self.moves_interactions = False
        """Whether a question that is registered again belongs to the new session (as the hub has it)."""
        self.protocol_version = PROTOCOL_VERSION
        self.join_codes: dict[str, str] = {}
        self.host_keys: dict[str, str] = {}
        self.sessions: list[StockSession] = []
        self.commands: dict[str, StockCommand] = {}
        self.settled_order: list[str] = []
        """Ids of commands in the order in which daemons settled them."""
        self.environments: dict[str, str] = {}
        """Id -> status (``ready``, ``destroyed``, ...)."""
        self.threads: dict[str, str] = {}
        """Id -> environment id."""
        self.tracked_threads: list[dict[str, str]] = []
        self.events: list[dict[str, Any]] = []
        """Stored envelopes, in order of their sequence."""
        self._event_hashes: dict[str, tuple[str, int]] = {}
        self._started_turns: set[str] = set()
        self.changes: list[tuple[str, str]] = []
        self.app_data: list[dict[str, Any]] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.interactions: dict[str, dict[str, Any]] = {}
        self.interrupts: list[dict[str, Any]] = []
        self.attachments: dict[str, tuple[bytes, str]] = {}
        self.messages: list[dict[str, Any]] = []
        """WebSocket messages other than heartbeats."""
        self.forgets_output_of: set[str] = set()
        """Terminals whose output is counted and not kept."""
        self.output_bytes: Counter[str] = Counter()
        self.last_output: dict[str, bytes] = {}
        """The end of what a terminal has printed."""
        self.requests: list[tuple[str, str]] = []
        """(method, path) of every request."""
        self.faults: list[Fault] = []
        self.refuses_sockets = False
        self._numbers = itertools.count(1)
        self._changed = trio.Condition()
        self._routes: dict[str, Callable[[Request, str], Awaitable[Any]]] = {
            "session/open": self._open_session,
            "session/commands": self._fetch_commands,
            "session/command-result": self._command_result,
            "session/events": self._post_events,
            "session/environment-change": self._environment_change,
            "session/app-data-change": self._app_data_change,
            "session/app-data-resync": self._app_data_resync,
            "session/tool-call": self._tool_call,
            "session/interactive-request": self._interactive_request,
            "session/interactive-request/interrupt": self._interrupt,
            "session/project-attachment-content": self._attachment,
        }

    # --- for tests ----------------------------------------------------------------------------

    def join_code(self, host_id: str) -> str:
        """A key with which ``host_id`` can enrol once; disables older ones."""
        for code, known in list(self.join_codes.items()):
            if known == host_id:
                del self.join_codes[code]
        code = f"bbde_{next(self._numbers):060}"
        self.join_codes[code] = host_id
        return code

    def host_key(self, host_id: str) -> str:
        """A host key, as an enrolment would give; disables older ones."""
        for key, known in list(self.host_keys.items()):
            if known == host_id:
                del self.host_keys[key]
        key = f"bbdh_{next(self._numbers):064}"
        self.host_keys[key] = host_id
        return key

    @property
    def session(self) -> StockSession | None:
        """The active session, if there is one."""
        return next((one for one in self.sessions if one.status == "active"), None)

    async def queue(
        self, command: Any, *, hint: bool = True, envelope: Any = None
    ) -> StockCommand:
        """Queue a command, and hint at it."""
        number = next(self._numbers)
        row = StockCommand(f"hcmd_{number:010}", number, command, envelope=envelope)
        self.commands[row.command_id] = row
        if hint:
            await self.hint()
        await self._notify()
        return row

    async def hint(self) -> None:
        """Send ``commands-available``, if there is anybody to hear it."""
        await self.send({"type": "commands-available"})

    async def send(self, message: Any) -> None:
        """Send a message over the active session's socket; a string goes as it is."""
        session = self.session
        if session is not None and session.socket is not None:
            text = message if isinstance(message, str) else json.dumps(message)
            with suppress(SocketClosed):
                await session.socket.send(text)

    async def wait_result(self, row: StockCommand) -> dict[str, Any]:
        """Wait for the result of a command."""
        await row.settled.wait()
        assert row.result is not None
        return row.result

    async def run_command(self, command: Any) -> dict[str, Any]:
        """Queue a command and wait for its result."""
        return await self.wait_result(await self.queue(command))

    async def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until ``condition`` holds; looked at after everything that happens."""
        async with self._changed:
            while not condition():
                await self._changed.wait()

    async def wait_connected(self, *, other_than: StockSession | None = None) -> StockSession:
        """Wait until a session has its socket."""
        await self.wait(
            lambda: (
                self.session is not None
                and self.session is not other_than
                and self.session.socket is not None
            )
        )
        assert self.session is not None
        return self.session

    async def expire_session(self) -> None:
        """Let the lease of the active session run out now."""
        session = self.session
        assert session is not None
        await self._expire(session)

    async def replace_session(self) -> None:
        """Do as if another daemon had opened a session for this host."""
        session = self.session
        assert session is not None
        await self._replace(session)

    async def close_session_quietly(self) -> None:
        """Forget the session but leave its socket: requests answer ``inactive_session``."""
        session = self.session
        assert session is not None
        session.status = "closed"
        await self._notify()

    async def drop_socket(self, code: int | None = None, reason: str = "") -> None:
        """End the socket: with a code, or without a word."""
        session = self.session
        assert session is not None
        assert session.socket is not None
        if code is None:
            await session.socket.abort()
        else:
            await session.socket.close(code, reason)
        await self.wait(lambda: session.status != "active")

    def fail(
        self, path: str, status: int = 0, body: Any = None, *, times: int = 1, after: bool = False
    ) -> None:
        """Make the next requests to ``path`` fail."""
        self.faults += [Fault(path, status, body, after)] * times

    # --- the loop -----------------------------------------------------------------------------

    async def run_sweeps(self) -> None:
        """Expire leases, and put unanswered commands back into the queue, for ever."""
        while True:
            await trio.sleep(self.sweep_seconds)
            now = trio.current_time()
            for session in self.sessions:
                if session.status == "active" and session.lease_until <= now:
                    await self._expire(session)
            for row in self.commands.values():
                kind = row.command.get("type") if isinstance(row.command, dict) else None
                limit = (
                    self.provision_redelivery_seconds
                    if kind == "environment.provision"
                    else self.redelivery_seconds
                )
                if row.retry_count:
                    limit = max(limit, self.expiry_seconds)
                if row.state == "fetched" and now - row.fetched_at >= limit:
                    await self._redeliver(row, kind)
            self._interrupt_abandoned(now)
            await self._notify()

    def _interrupt_abandoned(self, now: float) -> None:
        """Interrupt the questions of sessions that have ended; nobody is told."""
        for known in self.interactions.values():
            session = known["session"]
            due = session.ended_at + self.interaction_grace_seconds
            if session.status != "active" and known["status"] == "pending" and due <= now:
                known["status"] = "interrupted"

    async def redeliver_now(self) -> None:
        """Do as if the interval of every unanswered command had passed."""
        for row in self.commands.values():
            if row.state == "fetched":
                kind = row.command.get("type") if isinstance(row.command, dict) else None
                await self._redeliver(row, kind)
        await self._notify()

    async def _redeliver(self, row: StockCommand, kind: str | None) -> None:
        if row.retry_count == 0:
            row.retry_count = 1
            row.state = "pending"  # and nobody is told
            return
        row.state = "settled"
        row.result = {"ok": False, "errorCode": "command_expired", "type": kind}
        row.settled.set()

    async def _expire(self, session: StockSession) -> None:
        session.status = "expired"
        if session.socket is not None:
            with suppress(SocketClosed):
                await session.socket.send('{"type":"session-close","reason":"expired"}')
            await session.socket.close(1000, "expired")
        await self._notify()

    async def _replace(self, session: StockSession) -> None:
        session.status = "replaced"
        if session.socket is not None:
            with suppress(SocketClosed):
                await session.socket.send('{"type":"session-close","reason":"replaced"}')
            await session.socket.close(1000, "replaced")
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- HTTP ---------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Response | None:
        """Answer one request."""
        self.requests.append((request.method, request.path))
        fault = next((one for one in self.faults if request.path.endswith(one.path)), None)
        if fault is not None:
            self.faults.remove(fault)
            if fault.after:
                await self._respond(request)
            return await self._fail(fault)
        response = await self._respond(request)
        await self._notify()
        return response

    async def _fail(self, fault: Fault) -> Response | None:
        if fault.status == 0:
            return None
        if fault.status < 0:
            await trio.sleep_forever()
        if isinstance(fault.body, bytes):
            return Response(fault.status, fault.body, "text/html")
        return Response(fault.status, json.dumps(fault.body).encode())

    async def _respond(self, request: Request) -> Response:
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            return Response(refusal.status, json.dumps(refusal.body).encode())
        except WireError as error:
            body = {"code": "invalid_request", "message": error.message}
            return Response(400, json.dumps(body).encode())
        if isinstance(answer, Response):
            return answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return Response(status, json.dumps(body).encode())

    async def _answer(self, request: Request) -> Any:
        prefix = "/internal/"
        if not request.path.startswith(prefix):
            raise Refusal(404, "not_found")
        path = request.path[len(prefix) :]
        if path == "hosts/enroll":
            return self._enroll(request)
        host_id = self.host_keys.get(_bearer(request))
        if host_id is None:  # before routing, as the stock server does it
            raise Refusal(*UNAUTHORIZED)
        route = self._routes.get(path)
        if route is None:
            raise Refusal(404, "not_found")
        return await route(request, host_id)

    def _enroll(self, request: Request) -> Any:
        code = _bearer(request)
        body = structure(EnrollRequest, _json(request))
        if self.join_codes.get(code) != body.host_id:
            raise Refusal(*UNAUTHORIZED)
        del self.join_codes[code]
        return 201, {"hostId": body.host_id, "hostKey": self.host_key(body.host_id)}

    async def _open_session(self, request: Request, host_id: str) -> Any:
        raw = _json(request)
        body = structure(SessionOpenRequest, raw)
        if body.protocol_version != self.protocol_version:
            raise Refusal(
                400,
                "protocol_version_mismatch",
                f"server speaks {self.protocol_version}, daemon speaks {body.protocol_version}",
            )
        if body.host_id != host_id:
            raise Refusal(403, "invalid_request", "wrong host")
        for other in self.sessions:
            if other.host_id == host_id and other.status == "active":
                await self._replace(other)
        session = StockSession(
            f"hses_{next(self._numbers):010}",
            host_id,
            body.instance_id,
            raw,
            trio.current_time() + self.lease_timeout_ms / 1000,
        )
        self.sessions.append(session)
        answer: dict[str, Any] = {
            "sessionId": session.session_id,
            "heartbeatIntervalMs": self.heartbeat_interval_ms,
            "leaseTimeoutMs": self.lease_timeout_ms,
            "trackedThreadTargets": self.tracked_threads,
        }
        loaded = [one.environment_id for one in body.loaded_environments]
        if self.sends_retired_list:
            answer["retiredEnvironmentIds"] = [
                one for one in loaded if self.environments.get(one, "destroyed") == "destroyed"
            ]
        if self.sends_live_list:
            answer["liveEnvironmentIds"] = [
                one for one, status in self.environments.items() if status != "destroyed"
            ]
        return 201, answer

    def _active(self, session_id: object, host_id: str) -> StockSession:
        for session in self.sessions:
            if session.session_id == session_id:
                if session.host_id != host_id:
                    raise Refusal(403, "invalid_request", "session belongs to another host")
                if session.status == "active" and session.lease_until > trio.current_time():
                    return session
        raise Refusal(*INACTIVE)

    # --- commands -----------------------------------------------------------------------------

    async def _fetch_commands(self, request: Request, host_id: str) -> Any:
        query = request.query
        if not all(query.get(name, "").isdecimal() for name in ("limit", "waitMs")):
            raise Refusal(500, "internal_error", "Internal error")
        if "sessionId" not in query:
            raise Refusal(500, "internal_error", "Internal error")
        self._active(query["sessionId"], host_id)
        if not self._pending() and int(query["waitMs"]):
            with trio.move_on_after(int(query["waitMs"]) / 1000):
                await self.wait(self._pending)
            if not self._pending():
                return Response(204)
        rows = self._pending()[: int(query["limit"])]
        for row in rows:
            row.state = "fetched"
            row.fetched_at = trio.current_time()
            row.deliveries += 1
        return {
            "commands": [
                row.envelope
                if row.envelope is not None
                else {"id": row.command_id, "cursor": row.cursor, "command": row.command}
                for row in rows
            ]
        }

    def _pending(self) -> list[StockCommand]:
        return sorted(
            (row for row in self.commands.values() if row.state == "pending"),
            key=lambda row: row.cursor,
        )

    async def _command_result(self, request: Request, host_id: str) -> Any:
        raw = _json(request)
        if isinstance(raw, dict):
            self._active(raw.get("sessionId"), host_id)
        try:
            post = parse_report_post(raw)
        except WireError:
            # One opaque predicate: nothing is said about what is wrong.
            raise Refusal(400, "invalid_request", "Invalid input") from None
        row = self.commands.get(post.report.command_id)
        if row is None:
            raise Refusal(404, "command_not_found")
        kind = row.command.get("type") if isinstance(row.command, dict) else None
        if isinstance(kind, str) and kind != post.report.type:
            raise Refusal(400, "invalid_request", "Invalid input")
        if row.state != "settled":  # the first one wins, later ones are ignored
            row.state = "settled"
            row.result = raw
            row.settled.set()
            self.settled_order.append(row.command_id)
        return {"ok": True}

    # --- events -------------------------------------------------------------------------------

    async def _post_events(self, request: Request, host_id: str) -> Any:
        raw = _json(request)
        if not isinstance(raw, dict) or not isinstance(raw.get("events"), list):
            raise Refusal(400, "invalid_request", "events: Required")
        self._active(raw.get("sessionId"), host_id)
        envelopes = [structure(EventEnvelope, one) for one in raw["events"]]
        started = set(self._started_turns)
        for envelope in envelopes:
            self._check_event(unstructure(envelope), started)
        accepted, rejected = [], []
        for envelope in envelopes:
            data = unstructure(envelope)
            key = {"producerEventId": data["producerEventId"], "threadId": data["threadId"]}
            if data["threadId"] not in self.threads:
                rejected.append({**key, "reason": "thread_not_owned_by_host"})
            else:
                accepted.append({**key, "sequence": self._store_event(data)})
        self._started_turns = started
        return {"acceptedEvents": accepted, "rejectedEvents": rejected}

    def _check_event(self, data: dict[str, Any], started: set[str]) -> None:
        known = self._event_hashes.get(data["producerEventId"])
        if known is not None:
            if known[0] != _digest(data["event"]):
                raise Refusal(409, "producer_event_payload_mismatch")
            return
        event = data["event"]
        if event["scope"]["kind"] != "turn" or data["threadId"] not in self.threads:
            return
        turn = event["scope"]["turnId"]
        if event["type"] == "turn/started":
            started.add(turn)
        elif turn not in started:
            raise Refusal(
                409,
                "invalid_request",
                f"Cannot append {event['type']} before turn/started is stored",
            )

    def _store_event(self, data: dict[str, Any]) -> int:
        known = self._event_hashes.get(data["producerEventId"])
        if known is not None:
            return known[1]
        self.events.append(data)
        self._event_hashes[data["producerEventId"]] = (_digest(data["event"]), len(self.events))
        return len(self.events)

    # --- changes ------------------------------------------------------------------------------

    def _require_environment(self, environment_id: str) -> None:
        status = self.environments.get(environment_id)
        if status is None:
            raise Refusal(404, "environment_not_found", "Environment not found")
        if status == "destroyed":
            raise Refusal(
                410, "environment_destroyed", "Environment has been destroyed", retryable=False
            )

    def _require_thread(self, thread_id: str) -> None:
        if thread_id not in self.threads:
            raise Refusal(404, "thread_not_found", "Thread not found")

    async def _environment_change(self, request: Request, host_id: str) -> Any:
        post = structure(EnvironmentChangePost, _json(request))
        self._active(post.session_id, host_id)
        self._require_environment(post.environment_id)
        self.changes.append((post.environment_id, post.change.value))
        return {"ok": True}

    async def _app_data_change(self, request: Request, host_id: str) -> Any:
        post = structure(AppDataChange, _json(request))
        self._active(post.session_id, host_id)
        self._require_thread(post.thread_id)
        self.app_data.append(_json(request))
        return {"ok": True}

    async def _app_data_resync(self, request: Request, host_id: str) -> Any:
        post = structure(AppDataResync, _json(request))
        self._active(post.session_id, host_id)
        self._require_thread(post.thread_id)
        self.app_data.append(_json(request))
        return {"ok": True}

    # --- tools and people ---------------------------------------------------------------------

    async def _tool_call(self, request: Request, host_id: str) -> Any:
        call = structure(ToolCallRequest, _json(request))
        self._active(call.session_id, host_id)
        self._require_thread(call.thread_id)
        if call.turn_id not in self._started_turns:
            raise Refusal(409, "invalid_request", "Cannot append before turn/started is stored")
        self.tool_calls.append(_json(request))
        if call.tool != "message_user":
            text = f"Unsupported tool: {call.tool}"
            return {"success": False, "contentItems": [{"type": "inputText", "text": text}]}
        text = "Message delivered"
        return {"success": True, "contentItems": [{"type": "inputText", "text": text}]}

    async def _interactive_request(self, request: Request, host_id: str) -> Any:
        body = structure(InteractiveRequest, _json(request))
        session = self._active(body.session_id, host_id)
        asked = body.interaction
        self._require_thread(asked.thread_id)
        if asked.turn_id not in self._started_turns:
            raise Refusal(503, "turn_start_not_ready", retryable=True)
        key = (
            asked.thread_id,
            asked.provider_id,
            asked.provider_thread_id,
            asked.provider_request_id,
        )
        for interaction_id, known in self.interactions.items():
            if known["key"] == key:
                if self.moves_interactions:
                    known["session"] = session
                return {
                    "outcome": "existing",
                    "interactionId": interaction_id,
                    "status": known["status"],
                }
        interaction_id = f"pint_{next(self._numbers):010}"
        self.interactions[interaction_id] = {
            "key": key,
            "status": "pending",
            "session": session,
            "interaction": _json(request)["interaction"],
        }
        return {"outcome": "created", "interactionId": interaction_id, "status": "pending"}

    async def _interrupt(self, request: Request, host_id: str) -> Any:
        body = structure(InteractiveInterrupt, _json(request))
        self._active(body.session_id, host_id)
        self.interrupts.append(_json(request))
        ended = []
        for interaction_id, known in self.interactions.items():
            if known["key"][0] in body.thread_ids and known["status"] == "pending":
                known["status"] = "interrupted"
                ended.append(interaction_id)
        return {"ok": True, "interactionIds": ended}

    async def _attachment(self, request: Request, host_id: str) -> Any:
        self._active(request.query.get("sessionId"), host_id)
        found = self.attachments.get(request.query.get("path", ""))
        if found is None:
            raise Refusal(403, "forbidden", "Forbidden")
        return Response(200, found[0], found[1])

    # --- the socket ---------------------------------------------------------------------------

    async def open_socket(self, request: Request, subprotocols: list[str]) -> Response | str:
        """Decide over a handshake."""
        host_id = self.host_keys.get(_bearer(request))
        session_id = request.query.get("sessionId")
        if self.refuses_sockets:
            return Response(503)
        if request.path != "/internal/ws":
            return Response(404)
        if host_id is None or session_id is None:
            return Response(401)
        if SUBPROTOCOL not in subprotocols:
            return Response(400)
        try:
            self._active(session_id, host_id)
        except Refusal as refusal:
            return Response(refusal.status)
        return SUBPROTOCOL

    async def handle_socket(self, request: Request, socket: ServerSocket) -> None:
        """Live with a session's socket; the session dies with it."""
        session = next(
            one for one in self.sessions if one.session_id == request.query["sessionId"]
        )
        session.socket = socket
        await self._notify()
        try:
            while True:
                await self._receive(session, await socket.receive())
        finally:
            if session.status == "active":
                session.status = "daemon-disconnect"
            session.ended_at = trio.current_time()
            with trio.CancelScope(shield=True):
                await self._notify()

    async def _receive(self, session: StockSession, data: str | bytes) -> None:
        assert session.socket is not None
        try:
            message = parse_daemon_message(data)
        except WireError:
            await session.socket.close(1008, "invalid-message")
            raise SocketClosed from None
        if session.status != "active" or session.lease_until <= trio.current_time():
            await session.socket.close(1008, "inactive-session")
            raise SocketClosed
        session.lease_until = trio.current_time() + self.lease_timeout_ms / 1000
        if isinstance(message, Heartbeat):
            session.heartbeats += 1
        else:
            self._keep(json.loads(data))
        await self._notify()

    def _keep(self, message: dict[str, Any]) -> None:
        terminal = message.get("terminalId", "")
        if message["type"] != "terminal.output" or terminal not in self.forgets_output_of:
            self.messages.append(message)
            return
        output = base64.b64decode(message["chunk"]["dataBase64"])
        self.output_bytes[terminal] += len(output)
        self.last_output[terminal] = (self.last_output.get(terminal, b"") + output)[-100:]


@asynccontextmanager
async def run_stock_server(
    tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[StockServer]:
    """Serve on a free port; ``settings`` are attributes of the server."""
    server = StockServer()
    for name, value in settings.items():
        assert hasattr(server, name), name
        setattr(server, name, value)
    application = Application(server.handle, server.open_socket, server.handle_socket)
    async with serve(application, tls) as url, trio.open_nursery() as nursery:
        server.url = url
        nursery.start_soon(server.run_sweeps)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


def _bearer(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme == "Bearer" else ""


def _json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind != "application/json":
        raise Refusal(400, "invalid_request", "Malformed JSON")
    try:
        return json.loads(request.body)
    except ValueError:
        raise Refusal(400, "invalid_request", "Malformed JSON") from None


def _digest(event: Any) -> str:
    text = json.dumps({"event": event, "protocolVersion": PROTOCOL_VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
