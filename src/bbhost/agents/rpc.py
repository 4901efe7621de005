"""JSON-RPC over the lines of an agent, in both directions.

Whatever comes is dealt with in order: notifications and answers by the reading task itself, requests
of the agent in tasks of their own. Responses without ``jsonrpc`` are as good as others.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from logging import getLogger
from typing import Any, Protocol

import trio
from attrs import define, frozen

from bbhost.agents.lines import OversizedLine
from bbhost.agents.provider import AgentExit, AgentPlace
from bbhost.agents.pump import AgentProcess, open_agent_process
from bbhost.agents.raw import Json, as_map, as_text, int_or_none
from bbhost.contract.codec import dump_json, parse_json
from bbhost.errors import AgentError, BbhostError, WireError

log = getLogger(__name__)

SERVED_LIMIT = 64
"""Requests of an agent that are served at a time; further ones are refused."""
END_SECONDS = 1.0
"""For an agent to exit after it has closed its output."""
METHOD_NOT_FOUND, INTERNAL_ERROR, OVERLOADED = -32601, -32603, -32001
_SHOWN_CHARACTERS = 500


@frozen
class RpcFault:
    """An error as an answer."""

    code: int
    message: str
    data: object = None

    def describe(self) -> str:
        """For people, with what the agent adds."""
        detail = as_text(as_map(self.data).get("details")) or as_text(self.data)
        return f"{self.message}: {detail}" if detail else self.message


class RpcRefusalError(Exception):
    """Raised by what serves a request of the agent: answer with this error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.fault = RpcFault(code, message)


class AgentRefusedError(AgentError):
    """An agent answered a request with an error."""

    def __init__(self, message: str, fault: RpcFault) -> None:
        super().__init__(message)
        self.fault = fault


Answer = Callable[[Json | RpcFault], Awaitable[None]]


class RpcHandler(Protocol):
    """What an agent's messages are handed to."""

    async def notified(self, method: str, params: Json) -> None:
        """Take a notification. The next message is read when this has returned."""
        ...

    async def requested(self, method: str, params: Json, key: str) -> object:
        """Serve a request; ``key`` is unique among those of this process.

        Raises:
            RpcRefusalError: to be answered.
            BbhostError: the same, as an internal error.
        """
        ...

    async def disturbed(self, problem: str) -> None:
        """Something came that is no message; it was dropped."""
        ...


@define(eq=False)
class _Waiter:
    done: trio.Event
    outcome: Json | RpcFault | None = None


class RpcPeer:
    """One conversation. Made by :func:`open_peer`."""

    def __init__(self, process: AgentProcess, name: str, handler: RpcHandler) -> None:
        self.process = process
        self._name = name
        self._handler = handler
        self._next_id = 1
        self._answers: dict[int, Answer] = {}
        self._gone: dict[int, _Waiter] = {}
        self._serving = 0
        self._read_all = trio.Event()

    # --- ours ---------------------------------------------------------------------------------

    async def begin(self, method: str, params: object, on_answer: Answer) -> int:
        """Send a request; ``on_answer`` is called by the reading task, in order, at most once.

        Raises:
            AgentError: the agent takes no input any more.
        """
        number, self._next_id = self._next_id, self._next_id + 1
        self._answers[number] = on_answer
        try:
            await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        except BaseException:
            self._answers.pop(number, None)
            raise
        return number

    async def request(
        self, method: str, params: object, seconds: float, then: Answer | None = None
    ) -> Json:
        """Send a request and return its result.

        Args:
            seconds: deadline; an agent that does not answer is as good as gone.
            then: called with the outcome by the reading task, before anything later is read.

        Raises:
            AgentRefusedError: answered with an error.
            AgentError: not answered in time, or the agent has gone.
        """
        waiter = _Waiter(trio.Event())

        async def settle(outcome: Json | RpcFault) -> None:
            if then is not None:
                await then(outcome)
            waiter.outcome = outcome
            waiter.done.set()

        with trio.move_on_after(seconds):
            number = await self.begin(method, params, settle)
            self._gone[number] = waiter
            try:
                if not self._read_all.is_set():
                    await waiter.done.wait()
            finally:
                self._gone.pop(number, None)
                self._answers.pop(number, None)
        outcome = waiter.outcome
        if isinstance(outcome, RpcFault):
            raise AgentRefusedError(
                f"{self._name} refused {method}: {self.process.redact(outcome.describe())}",
                outcome,
            )
        if outcome is None:
            raise await self._no_answer(method, seconds)
        return outcome

    async def notify(self, method: str, params: object) -> None:
        """Send a notification.

        Raises:
            AgentError: the agent takes no input any more.
        """
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def _no_answer(self, method: str, seconds: float) -> AgentError:
        if not self._read_all.is_set():
            return AgentError(f"{self._name} did not answer {method} within {seconds:.0f} s")
        end = await self.process.describe_end(END_SECONDS)
        tail = f": {end.stderr.strip()[-_SHOWN_CHARACTERS:]}" if end.stderr.strip() else ""
        return AgentError(f"{self._name} {end.describe()} before it answered {method}{tail}")

    async def _send(self, message: Json) -> None:
        await self.process.write(dump_json(message).encode() + b"\n")

    # --- theirs -------------------------------------------------------------------------------

    async def wait_exited(self) -> AgentExit:
        """Wait until everything it said has been dealt with and it has gone."""
        await self._read_all.wait()
        return await self.process.describe_end(END_SECONDS)

    async def run(self, served: trio.Nursery) -> None:
        """Read until the end of the output; then nobody waits for an answer any more."""
        try:
            while (line := await self.process.next_line()) is not None:
                await self._take(line, served)
        finally:
            self._read_all.set()
            self._answers.clear()
            for waiter in self._gone.values():
                waiter.done.set()

    async def _take(self, line: bytes | OversizedLine, served: trio.Nursery) -> None:
        if isinstance(line, OversizedLine):
            await self._handler.disturbed(f"a line of {line.size} bytes was dropped")
            return
        if not line.strip():
            return
        try:
            message = parse_json(line)
        except WireError:
            message = None
        if not isinstance(message, dict):
            shown = line[: _SHOWN_CHARACTERS * 4].decode(errors="replace")[:_SHOWN_CHARACTERS]
            await self._handler.disturbed(f"not a message: {self.process.redact(shown)}")
            return
        method, number = message.get("method"), message.get("id")
        if isinstance(method, str):
            params = as_map(message.get("params"))
            if number is None:
                await self._handler.notified(method, params)
            else:
                await self._admit(method, params, number, served)
        else:
            await self._settle(number, message)

    async def _settle(self, number: object, message: Json) -> None:
        on_answer = self._answers.pop(number, None) if isinstance(number, int) else None
        if on_answer is None:
            log.debug("%s answered what nobody asked: %s", self._name, number)
            return
        error = message.get("error")
        if error is None:
            await on_answer(as_map(message.get("result")))
            return
        fault = as_map(error)
        await on_answer(
            RpcFault(
                int_or_none(fault.get("code")) or INTERNAL_ERROR,
                as_text(fault.get("message")) or "error",
                fault.get("data"),
            )
        )

    async def _admit(
        self, method: str, params: Json, number: object, served: trio.Nursery
    ) -> None:
        if self._serving >= SERVED_LIMIT:
            await self._refuse(number, RpcFault(OVERLOADED, "too many requests"))
            return
        self._serving += 1
        served.start_soon(self._serve, method, params, number, name=f"{self._name} {method}")

    async def _serve(self, method: str, params: Json, number: object) -> None:
        try:
            result = await self._handler.requested(method, params, str(number))
            await self._send({"jsonrpc": "2.0", "id": number, "result": result})
        except RpcRefusalError as refusal:
            await self._refuse(number, refusal.fault)
        except BbhostError as error:
            await self._refuse(number, RpcFault(INTERNAL_ERROR, error.message))
        finally:
            self._serving -= 1

    async def _refuse(self, number: object, fault: RpcFault) -> None:
        body: dict[str, Any] = {"code": fault.code, "message": fault.message}
        try:
            await self._send({"jsonrpc": "2.0", "id": number, "error": body})
        except AgentError:
            log.debug("%s does not take the answer to its request", self._name)


@asynccontextmanager
async def open_peer(
    place: AgentPlace, argv: Sequence[str], name: str, handler: RpcHandler
) -> AsyncIterator[RpcPeer]:
    """Start an agent and talk with it; leaving the block ends it.

    Raises:
        MissingExecutableError: there is no such program.
        ExceptionGroup: what the block raised.
    """
    async with open_agent_process(place, argv) as process, trio.open_nursery() as served:
        peer = RpcPeer(process, name, handler)
        served.start_soon(process.drain_stderr)
        served.start_soon(process.watch_exit)
        served.start_soon(peer.run, served)
        try:
            yield peer
        finally:
            served.cancel_scope.cancel(reason=f"{name} is not needed any more")
