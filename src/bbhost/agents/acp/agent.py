"""One running agent: the conversation with it. What its messages mean is in the modules beside.

Steering: the protocol cannot add to a turn that runs. The prompt is cancelled, and when the agent has
answered it the new request is sent as the next prompt of the same turn; to the server that is one
turn which took two requests.
"""

from collections.abc import Callable

import trio
from attrs import define, field, frozen

from bbhost.agents.acp.login import AUTH_REQUIRED, login_hint
from bbhost.agents.acp.permissions import answer_of, approval_of, decide_at_once, tool_call_of
from bbhost.agents.acp.prompt import prompt_blocks
from bbhost.agents.acp.updates import AcpTurn, Events, outside_of_turn
from bbhost.agents.emitting import Emitter
from bbhost.agents.provider import (
    AgentExit,
    AgentHost,
    AgentPlace,
    AgentQuestion,
    ThreadSettings,
    TurnRequest,
)
from bbhost.agents.raw import Json, as_map, as_text, int_or_none, raw_event
from bbhost.agents.rpc import (
    METHOD_NOT_FOUND,
    AgentRefusedError,
    RpcFault,
    RpcPeer,
    RpcRefusalError,
)
from bbhost.agents.turn_events import ThreadEvents, new_turn_id
from bbhost.contract.execution import PermissionMode
from bbhost.contract.interactions import Allowed, Denied
from bbhost.contract.items import ApprovalStatus
from bbhost.errors import AgentError

PROTOCOL = 1
CANCEL_SECONDS = 10.0
"""For an agent to answer a prompt that was cancelled to make room for another."""


@frozen
class AcpDeadlines:
    """How long an agent may take to come up."""

    initialize_seconds: float = 30.0
    """Adapters fetch and start other programs first, and some never answer."""
    session_seconds: float = 30.0


@define(eq=False)
class _Steering:
    answered: trio.Event = field(factory=trio.Event)


class AcpAgent:
    """An agent and its session. ``agents.provider.Agent``."""

    def __init__(
        self, provider_id: str, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> None:
        self._provider_id = provider_id
        self._settings = settings
        self._workspace = str(place.workspace)
        self._host = host
        self._emitter = Emitter(host)
        self._peer: RpcPeer | None = None
        self._session = ""
        self._instructions: str | None = settings.instructions
        self._options = settings.options
        self._turn: AcpTurn | None = None
        self._steering: _Steering | None = None
        self._interrupted = False
        self._asking: set[trio.CancelScope] = set()

    @property
    def provider_thread_id(self) -> str:
        """The session's id."""
        return self._session

    @property
    def _thread(self) -> ThreadEvents:
        return ThreadEvents(self._settings.thread_id, self._session)

    # --- coming up ----------------------------------------------------------------------------

    async def shake_hands(self, peer: RpcPeer, deadlines: AcpDeadlines) -> None:
        """Agree on the protocol and open the session.

        Raises:
            AgentError: it speaks another protocol, refused, or did not answer in time.
        """
        self._peer = peer
        hello = await peer.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL,
                "clientCapabilities": {
                    "fs": {"readTextFile": True, "writeTextFile": True},
                    "terminal": False,
                },
                "clientInfo": {"name": "bbhost", "title": "bbhost", "version": "1"},
            },
            deadlines.initialize_seconds,
        )
        version = int_or_none(hello.get("protocolVersion"))
        if version != PROTOCOL:
            raise AgentError(
                f"{self._provider_id} speaks version {version} of the Agent Client Protocol, "
                f"not {PROTOCOL}"
            )
        resumed = await self._open_session(peer, hello, deadlines.session_seconds)
        lost = self._settings.resume is not None and not resumed
        await self._emitter.emit(lambda: self._begun(resumed=resumed, lost=lost))

    async def _open_session(self, peer: RpcPeer, hello: Json, seconds: float) -> bool:
        """Load the session that is to be resumed, or make a new one; whether it was loaded."""
        where = {"cwd": self._workspace, "mcpServers": []}
        can_load = as_map(hello.get("agentCapabilities")).get("loadSession") is True
        if self._settings.resume is not None and can_load:
            try:
                await peer.request(
                    "session/load", {"sessionId": self._settings.resume, **where}, seconds
                )
            except AgentError:
                # Its agent has forgotten it, or it was made elsewhere: go on with a new one, and say so.
                pass
            else:
                self._session, self._instructions = self._settings.resume, None
                return True
        try:
            made = await peer.request("session/new", where, seconds)
        except AgentRefusedError as refusal:
            if refusal.fault.code != AUTH_REQUIRED:
                raise
            raise AgentError(f"{refusal.message}; {login_hint(hello)}") from refusal
        self._session = as_text(made.get("sessionId"))
        if not self._session:
            raise AgentError(f"{self._provider_id} made a session without an id")
        return False

    def _begun(self, *, resumed: bool, lost: bool) -> Events:
        events = self._thread.begun(resumed=resumed or lost)
        if lost:
            events.append(
                self._thread.warning(
                    None, "The earlier conversation could not be loaded; the agent starts afresh"
                )
            )
        return events

    # --- turns --------------------------------------------------------------------------------

    async def start_turn(self, request: TurnRequest) -> str:
        """See ``Agent.start_turn``. The turn counts as taken when the prompt is written."""
        turn = AcpTurn(self._thread, new_turn_id(), self._provider_id, self._workspace)
        self._turn, self._options, self._interrupted = turn, request.options, False
        await self._emitter.emit(lambda: turn.begin(request.request_id))
        failure: AgentError | None = None
        try:
            await self._prompt(request)
        except AgentError as error:
            failure = error
        if failure is not None:
            message = failure.message
            await self._end(lambda: turn.fail(message))
            raise failure
        return turn.turn_id

    async def steer(self, request: TurnRequest) -> bool:
        """See ``Agent.steer``."""
        turn = self._turn
        if turn is None or self._steering is not None or self._interrupted:
            return False
        steering = self._steering = _Steering()
        try:
            with trio.move_on_after(CANCEL_SECONDS):
                await self._cancel()
                await steering.answered.wait()
        finally:
            self._steering = None
        if not steering.answered.is_set():
            raise AgentError(f"{self._provider_id} did not react to a cancelled prompt")
        if self._turn is not turn or self._interrupted:
            return False
        self._options = request.options
        await self._emitter.emit(lambda: turn.steered(request.request_id))
        await self._prompt(request)
        return True

    async def interrupt(self) -> None:
        """See ``Agent.interrupt``."""
        if self._turn is not None:
            self._interrupted = True
            await self._cancel()

    async def rename(self, title: str) -> None:
        """The protocol knows no titles."""

    async def wait_exited(self) -> AgentExit:
        """See ``Agent.wait_exited``."""
        assert self._peer is not None
        return await self._peer.wait_exited()

    async def _prompt(self, request: TurnRequest) -> None:
        assert self._peer is not None
        blocks = prompt_blocks(request.input, self._instructions)
        await self._peer.begin(
            "session/prompt", {"sessionId": self._session, "prompt": blocks}, self._answered
        )
        self._instructions = None

    async def _cancel(self) -> None:
        assert self._peer is not None
        for scope in list(self._asking):
            scope.cancel(reason="the prompt was cancelled")
        await self._peer.notify("session/cancel", {"sessionId": self._session})

    async def _answered(self, outcome: Json | RpcFault) -> None:
        turn, steering = self._turn, self._steering
        if turn is None:
            return
        if steering is not None and not self._interrupted:
            result = {} if isinstance(outcome, RpcFault) else outcome
            await self._emitter.emit(lambda: turn.answered(result))
            steering.answered.set()
            return
        if isinstance(outcome, RpcFault):
            if self._interrupted:  # some agents answer a cancelled prompt with an error
                await self._end(lambda: turn.finish({"stopReason": "cancelled"}))
            else:
                message = self._redact(outcome.describe())
                await self._end(lambda: turn.fail(message))
        else:
            await self._end(lambda: turn.finish(outcome))
        if steering is not None:
            steering.answered.set()

    async def _end(self, make: Callable[[], Events]) -> None:
        self._turn = None
        for scope in list(self._asking):
            scope.cancel(reason="the turn has ended")
        await self._emitter.emit(make)

    def _redact(self, text: str) -> str:
        return text if self._peer is None else self._peer.process.redact(text)

    # --- what the agent says ------------------------------------------------------------------

    async def notified(self, method: str, params: Json) -> None:
        """See ``RpcHandler.notified``."""
        if method == "session/update":
            update = as_map(params.get("update"))
            await self._emitter.emit(lambda: self._update(update))
        elif self._session:
            raw = raw_event(method, dict(params))
            await self._emitter.emit(
                lambda: [
                    self._thread.unhandled(self._turn_id, self._provider_id, method, raw),
                ]
            )

    def _update(self, update: Json) -> Events:
        if self._turn is not None:
            return self._turn.update(update)
        if not self._session:
            return []  # a session that is being loaded tells its history
        return outside_of_turn(self._thread, None, self._provider_id, update)

    @property
    def _turn_id(self) -> str | None:
        return None if self._turn is None else self._turn.turn_id

    async def disturbed(self, problem: str) -> None:
        """See ``RpcHandler.disturbed``."""
        if not self._session:
            return
        message = f"The agent said something that is no message: {problem}"
        await self._emitter.emit(
            lambda: [self._thread.error(self._turn_id, message, will_retry=True)]
        )

    async def requested(self, method: str, params: Json, key: str) -> object:
        """See ``RpcHandler.requested``."""
        match method:
            case "session/request_permission":
                return await self._permission(params, key)
            case "fs/read_text_file":
                return await self._read(params)
            case "fs/write_text_file":
                if self._options.permission_mode is PermissionMode.READONLY:
                    raise AgentError("This thread may only read files")
                await self._host.write_text(
                    as_text(params.get("path")), as_text(params.get("content"))
                )
                return {}
        raise RpcRefusalError(METHOD_NOT_FOUND, f"{method} is not offered")

    async def _read(self, params: Json) -> Json:
        text = await self._host.read_text(as_text(params.get("path")))
        line, limit = int_or_none(params.get("line")), int_or_none(params.get("limit"))
        if line is None and limit is None:
            return {"content": text}
        first = max((line or 1) - 1, 0)
        lines = text.splitlines(keepends=True)[first:]
        return {"content": "".join(lines if limit is None else lines[: max(limit, 0)])}

    async def _permission(self, params: Json, key: str) -> Json:
        turn = self._turn
        call = tool_call_of(params, self._workspace)
        decided = decide_at_once(call, self._options)
        if decided is not None:
            return answer_of(params, Allowed("allow_once", None) if decided else Denied())
        payload = approval_of(params, call)
        if turn is None or payload is None or self._interrupted:
            return answer_of(params, None)
        about = as_map(params.get("toolCall"))
        await self._emitter.emit(lambda: turn.approval(about, ApprovalStatus.WAITING))
        resolution = None
        with trio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                resolution = await self._host.ask(AgentQuestion(turn.turn_id, key, payload))
            finally:
                self._asking.discard(scope)
        denied = ApprovalStatus.DENIED if isinstance(resolution, Denied) else None
        if self._turn is turn:
            await self._emitter.emit(lambda: turn.approval(about, denied))
        return answer_of(params, resolution)
