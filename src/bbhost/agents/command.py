"""Any command-line agent: one run of a configured command per turn.

The prompt is an argument or comes on stdin, stdout is what the agent says, the exit status decides
how the turn went. There is nothing to steer: a further request becomes the next turn.
"""

import codecs
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import trio
from attrs import define, field, frozen

from bbhost.agents.bounds import KeptText, TurnBudget
from bbhost.agents.emitting import Emitter
from bbhost.agents.models import chosen_model, configured_models
from bbhost.agents.prompt import prompt_text
from bbhost.agents.provider import (
    Agent,
    AgentExit,
    AgentHost,
    AgentPlace,
    ModelList,
    ThreadSettings,
    TurnRequest,
)
from bbhost.agents.pump import AgentProcess, open_agent_process
from bbhost.agents.templates import fill, with_shell_variables
from bbhost.agents.turn_events import ThreadEvents, TurnEvents, new_turn_id
from bbhost.contract.items import AgentMessageItem
from bbhost.errors import AgentError, BbhostError
from bbhost.toolkit.groups import first_of

_CAPTION_CHARACTERS = 2_000


@frozen
class CommandProvider:
    """A configured command. ``agents.provider.Provider``."""

    id: str
    argv: tuple[str, ...]
    """Command of the first turn; may hold ``{prompt}``, ``{session}``, ``{model}``,
    ``{instructions}`` and ``{workspace}``."""
    resume_argv: tuple[str, ...] = ()
    """Command of later turns; the same as ``argv`` where empty."""
    model_argv: tuple[str, ...] = ()
    prompt_on_stdin: bool = False
    models: tuple[str, ...] = ()

    @asynccontextmanager
    async def open_agent(
        self, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> AsyncIterator[Agent]:
        """See ``Provider.open_agent``. No process runs between turns."""
        async with trio.open_nursery() as turns:
            agent = CommandAgent(
                self, settings, with_shell_variables(place, settings), host, turns
            )
            await agent.begin()
            try:
                yield agent
            finally:
                turns.cancel_scope.cancel(reason="the thread ends")

    async def list_models(self, place: AgentPlace) -> ModelList:
        """The models of the configuration."""
        return configured_models(self.models)

    async def set_archived(
        self, place: AgentPlace, provider_thread_id: str, *, archived: bool
    ) -> None:
        """There is no archive."""
        raise AgentError(f"Provider {self.id} has no archive")


@define(eq=False)
class _Run:
    turn_id: str
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    interrupted: bool = False


class CommandAgent:
    """The conversation of a thread with a command. ``agents.provider.Agent``."""

    def __init__(
        self,
        provider: CommandProvider,
        settings: ThreadSettings,
        place: AgentPlace,
        host: AgentHost,
        turns: trio.Nursery,
    ) -> None:
        self._provider = provider
        self._settings = settings
        self._place = place
        self._emitter = Emitter(host)
        self._turns = turns
        self._session = settings.resume or str(uuid4())
        self._is_first = settings.resume is None
        self._run: _Run | None = None

    @property
    def provider_thread_id(self) -> str:
        """What ``{session}`` stands for."""
        return self._session

    @property
    def _thread(self) -> ThreadEvents:
        return ThreadEvents(self._settings.thread_id, self._session)

    async def begin(self) -> None:
        """Tell who we are."""
        await self._emitter.emit(lambda: self._thread.begun(resumed=not self._is_first))

    async def start_turn(self, request: TurnRequest) -> str:
        """See ``Agent.start_turn``: returns when the command runs."""
        run = _Run(new_turn_id())
        events = self._thread.turn(run.turn_id)
        self._run = run
        try:
            await self._turns.start(self._run_turn, run, events, request)
        except Exception as error:
            self._run = None
            raise first_of(error, BbhostError) or error from error
        self._is_first = False
        return run.turn_id

    async def steer(self, request: TurnRequest) -> bool:
        """A command takes no further input."""
        await trio.lowlevel.checkpoint()
        return False

    async def interrupt(self) -> None:
        """See ``Agent.interrupt``."""
        await trio.lowlevel.checkpoint()
        if self._run is not None:
            self._run.interrupted = True
            self._run.scope.cancel(reason="the turn was interrupted")

    async def rename(self, title: str) -> None:
        """A command knows no titles."""

    async def wait_exited(self) -> AgentExit:
        """There is no process that could exit between turns; the end of a run ends its turn."""
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    # --- one run ------------------------------------------------------------------------------

    def _command(self, request: TurnRequest, prompt: str) -> list[str]:
        provider = self._provider
        words = provider.argv if self._is_first else provider.resume_argv or provider.argv
        model = chosen_model(request.options.model)
        values = {
            "session": self._session,
            "model": model or "",
            "instructions": self._settings.instructions,
            "workspace": str(self._place.workspace),
            "prompt": prompt,
        }
        return fill([*words, *(provider.model_argv if model else ())], values)

    async def _run_turn(
        self,
        run: _Run,
        events: TurnEvents,
        request: TurnRequest,
        task_status: trio.TaskStatus[None],
    ) -> None:
        prompt = prompt_text(request.input)
        argv = self._command(request, prompt)
        on_stdin = self._provider.prompt_on_stdin
        end = AgentExit(None)
        with run.scope:
            async with open_agent_process(self._place, argv, with_stdin=on_stdin) as process:
                await self._emitter.emit(
                    lambda: [events.started(), events.accepted(request.request_id)]
                )
                task_status.started()
                await self._follow(process, events, prompt if on_stdin else None)
                end = await process.wait_exit()
        if self._run is run:
            self._run = None
        await self._tell_end(run, events, end)

    async def _follow(self, process: AgentProcess, events: TurnEvents, prompt: str | None) -> None:
        async with trio.open_nursery() as pumps:
            pumps.start_soon(process.drain_stderr)
            pumps.start_soon(process.watch_exit)
            if prompt is not None:
                pumps.start_soon(_feed, process, prompt)
            await self._stream(process, events)
            # A child of the command may keep stderr open; its exit is what counts.
            await process.wait_exit()
            pumps.cancel_scope.cancel(reason="the command has ended")

    async def _stream(self, process: AgentProcess, events: TurnEvents) -> None:
        """Pass on what it says as one message."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        item_id = f"{events.scope.turn_id}-message"
        kept, budget = KeptText(), TurnBudget()
        try:
            while chunk := await process.next_chunk():
                await self._pass_on(events, item_id, decoder.decode(chunk), kept, budget)
            await self._pass_on(events, item_id, decoder.decode(b"", final=True), kept, budget)
        finally:
            if kept.length:
                # Shield budget: one event. What was said before an interruption is part of it.
                with trio.move_on_after(1.0, shield=True):
                    item = AgentMessageItem(item_id, kept.text)
                    await self._emitter.emit(lambda: [events.item_completed(item)])

    async def _pass_on(
        self, events: TurnEvents, item_id: str, text: str, kept: KeptText, budget: TurnBudget
    ) -> None:
        if not text:
            return
        begins = not kept.length
        kept.add(text)
        passed = budget.take(text)
        await self._emitter.emit(
            lambda: [
                *([events.item_started(AgentMessageItem(item_id, ""))] if begins else ()),
                *([events.message_delta(item_id, passed)] if passed else ()),
            ]
        )

    async def _tell_end(self, run: _Run, events: TurnEvents, end: AgentExit) -> None:
        if run.interrupted:
            await self._emitter.emit(lambda: [events.completed("interrupted")])
        elif end.returncode == 0:
            await self._emitter.emit(lambda: [events.completed("completed")])
        else:
            message = f"{self._provider.argv[0]} {end.describe()}"
            tail = end.stderr.strip()
            detail = f"stderr:\n{tail}" if tail else None
            failure = f"{message}: {tail[-_CAPTION_CHARACTERS:]}" if tail else message
            await self._emitter.emit(
                lambda: [
                    self._thread.error(run.turn_id, message, detail=detail, will_retry=False),
                    events.completed("failed", failure),
                ]
            )


async def _feed(process: AgentProcess, prompt: str) -> None:
    try:
        await process.write(prompt.encode())
    except AgentError:
        return  # it does not want to read all of it; its exit status tells
    finally:
        process.close_stdin()
