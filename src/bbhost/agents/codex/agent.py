"""One app-server with one conversation. What its messages mean is in the modules beside."""

from typing import Any

import trio
from attrs import frozen

from bbhost.agents.codex.approvals import APPROVALS, answer_of, question_of
from bbhost.agents.codex.notifications import CodexTranslator, Events
from bbhost.agents.codex.params import INITIALIZE, input_elements, thread_params, turn_params
from bbhost.agents.emitting import Emitter
from bbhost.agents.provider import (
    AgentExit,
    AgentHost,
    AgentPlace,
    AgentQuestion,
    ThreadSettings,
    ToolInvocation,
    TurnRequest,
)
from bbhost.agents.raw import Json, as_map, as_text
from bbhost.agents.rpc import METHOD_NOT_FOUND, RpcFault, RpcPeer, RpcRefusalError
from bbhost.contract.codec import unstructure
from bbhost.errors import AgentError

REQUEST_SECONDS = 20.0
"""For an answer to a request about a turn; it takes the request, the turn runs on."""
TITLE_PREFIX = "[bb] "


@frozen
class CodexDeadlines:
    """How long the app-server may take to come up."""

    initialize_seconds: float = 20.0
    identity_seconds: float = 5.0
    """To name the conversation."""


class CodexAgent:
    """The app-server of one thread. ``agents.provider.Agent``."""

    def __init__(
        self, provider_id: str, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> None:
        self._provider_id = provider_id
        self._settings = settings
        self._workspace = str(place.workspace)
        self._host = host
        self._emitter = Emitter(host)
        self._translator = CodexTranslator(settings.thread_id, provider_id)
        self._peer: RpcPeer | None = None
        self._asking: set[trio.CancelScope] = set()

    @property
    def provider_thread_id(self) -> str:
        """The app-server's id of the conversation."""
        return self._translator.provider_thread_id

    @property
    def _server(self) -> RpcPeer:
        assert self._peer is not None
        return self._peer

    # --- coming up ----------------------------------------------------------------------------

    async def shake_hands(self, peer: RpcPeer, deadlines: CodexDeadlines) -> None:
        """Introduce ourselves and begin or resume the conversation.

        Raises:
            AgentError: refused, or not in time.
        """
        self._peer = peer
        await introduce(peer, deadlines)
        resumed = self._settings.resume is not None

        async def known(outcome: Json | RpcFault) -> None:
            if isinstance(outcome, RpcFault):
                return
            thread_id = as_text(as_map(outcome.get("thread")).get("id"))
            self._translator.provider_thread_id = thread_id or self._settings.resume or ""
            if self.provider_thread_id:
                await self._emitter.emit(lambda: self._translator.thread.begun(resumed=resumed))

        method = "thread/resume" if resumed else "thread/start"
        params = thread_params(self._settings, self._workspace)
        await peer.request(method, params, deadlines.identity_seconds, known)
        if not self.provider_thread_id:
            raise AgentError(f"{self._provider_id} began a thread without an id")

    # --- turns --------------------------------------------------------------------------------

    async def start_turn(self, request: TurnRequest) -> str:
        """See ``Agent.start_turn``."""
        self._translator.expect_turn(request.request_id)
        begun: list[str] = []

        async def answered(outcome: Json | RpcFault) -> None:
            if isinstance(outcome, RpcFault):
                self._translator.unexpect_turn()
                return
            begun.append(as_text(as_map(outcome.get("turn")).get("id")))
            await self._emitter.emit(lambda: self._translator.begin_turn(begun[0]))

        roots = self._settings.writable_roots
        params = turn_params(request, self.provider_thread_id, roots)
        await self._server.request("turn/start", params, REQUEST_SECONDS, answered)
        if not begun or not begun[0]:
            raise AgentError(f"{self._provider_id} began a turn without an id")
        return begun[0]

    async def steer(self, request: TurnRequest) -> bool:
        """See ``Agent.steer``. A turn that takes no more input is no error: it becomes the next."""
        turn_id = self._translator.active_turn
        if turn_id is None:
            return False

        async def answered(outcome: Json | RpcFault) -> None:
            if not isinstance(outcome, RpcFault):
                await self._emitter.emit(
                    lambda: self._translator.steered(turn_id, request.request_id)
                )

        params = {
            "threadId": self.provider_thread_id,
            "expectedTurnId": turn_id,
            "input": input_elements(request.input),
        }
        try:
            await self._server.request("turn/steer", params, REQUEST_SECONDS, answered)
        except AgentError:
            return False
        return True

    async def interrupt(self) -> None:
        """See ``Agent.interrupt``."""
        turn_id = self._translator.active_turn
        for scope in list(self._asking):
            scope.cancel(reason="the turn was interrupted")
        if turn_id is not None:
            params = {"threadId": self.provider_thread_id, "turnId": turn_id}
            await self._server.request("turn/interrupt", params, REQUEST_SECONDS)

    async def rename(self, title: str) -> None:
        """See ``Agent.rename``."""
        params = {"threadId": self.provider_thread_id, "name": TITLE_PREFIX + title}
        await self._server.request("thread/name/set", params, REQUEST_SECONDS)

    async def wait_exited(self) -> AgentExit:
        """See ``Agent.wait_exited``."""
        return await self._server.wait_exited()

    # --- what it says -------------------------------------------------------------------------

    async def notified(self, method: str, params: Json) -> None:
        """See ``RpcHandler.notified``."""
        if not self.provider_thread_id:
            return  # told again, or of no conversation of ours
        await self._emitter.emit(lambda: self._translator.notified(method, params))
        if method == "turn/completed":
            for scope in list(self._asking):
                scope.cancel(reason="the turn has ended")

    async def disturbed(self, problem: str) -> None:
        """See ``RpcHandler.disturbed``."""
        if self.provider_thread_id:
            message = f"The agent said something that is no message: {problem}"
            await self._emitter.emit(lambda: [self._error(message)])

    def _error(self, message: str) -> Any:  # noqa: ANN401 - any thread event
        translator = self._translator
        return translator.thread.error(translator.active_turn, message, will_retry=True)

    async def requested(self, method: str, params: Json, key: str) -> object:
        """See ``RpcHandler.requested``."""
        if method in APPROVALS:
            return await self._approve(method, params, key)
        if method == "item/tool/call":
            return await self._call_tool(params)
        raise RpcRefusalError(METHOD_NOT_FOUND, f"{method} is not offered")

    async def _approve(self, method: str, params: Json, key: str) -> Json:
        item = self._translator.item_of(as_text(params.get("itemId")))
        question = question_of(method, params, item)
        turn_id = question.turn_id or self._translator.active_turn
        if turn_id is None:
            return answer_of(method, None, question.payload)

        def waiting() -> Events:
            return self._translator.waiting(question.item_id)

        await self._emitter.emit(waiting)
        resolution = None
        with trio.CancelScope() as scope:
            self._asking.add(scope)
            try:
                resolution = await self._host.ask(AgentQuestion(turn_id, key, question.payload))
            finally:
                self._asking.discard(scope)
        return answer_of(method, resolution, question.payload)

    async def _call_tool(self, params: Json) -> object:
        turn_id = as_text(params.get("turnId")) or self._translator.active_turn
        if not turn_id:
            raise RpcRefusalError(METHOD_NOT_FOUND, "there is no turn to call a tool in")
        invocation = ToolInvocation(
            turn_id,
            as_text(params.get("callId")),
            as_text(params.get("tool")),
            params.get("arguments"),
        )
        return unstructure(await self._host.call_tool(invocation))


async def introduce(peer: RpcPeer, deadlines: CodexDeadlines) -> None:
    """The first exchange with any app-server."""
    await peer.request("initialize", INITIALIZE, deadlines.initialize_seconds)
    await peer.notify("initialized", {})
