"""The owner of one thread: a loop over its mailbox, hosted by the ready state of its environment.

Rule 1: taking mail is synchronous. Whatever has to wait (an agent that comes up, a turn that is
stopped) is work of its own that reports by mail, so nothing ever holds up the mailbox, and whoever's
mail is taken first has won.
Rule 2: an agent that ended, for whatever reason, has told everything before the next one begins.
Rule 3: leaving the environment's ready state ends the owner, its agent and whoever waits for either.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from logging import getLogger

import trio
from attrs import evolve, frozen

from bbhost.agents.provider import (
    Agent,
    AgentExit,
    AgentPlace,
    Provider,
    ThreadSettings,
)
from bbhost.contract import events as e
from bbhost.contract.execution import StartTarget, SteerTarget
from bbhost.domain.ids import ThreadId
from bbhost.environment.stay import ReadyStay
from bbhost.environment.threads import mail as m
from bbhost.environment.threads.gate import TurnGate
from bbhost.environment.threads.host import HostContext, ThreadHost, publish_admitted
from bbhost.errors import AgentError, BbhostError, EnvironmentDestroyedError
from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.thread import ThreadCore, ThreadState
from bbhost.lifecycle.thread import ThreadEvent as Transition
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.groups import first_of

log = getLogger(__name__)

QUEUE_LIMIT = 16
"""Requests that wait for the turn before them; further ones are refused."""
STOP_SECONDS = 5.0
"""For a turn to end by itself when it is stopped; then its agent is ended."""
GOODBYE_SECONDS = 0.5
"""To tell of a turn that ended with its environment."""

_CLOSING = "The thread is being stopped"


class ThreadClosingError(BbhostError):
    """The owner is about to end; whoever comes next needs a new one."""


@frozen
class OwnerContext:
    """What an owner is made for."""

    thread_id: ThreadId
    provider_id: str
    provider: Provider
    place: AgentPlace
    stay: ReadyStay
    host: HostContext


class ThreadOwner:
    """Owns one thread for as long as its environment is ready."""

    def __init__(self, context: OwnerContext, on_closed: "Callable[[ThreadOwner], None]") -> None:
        self.context = context
        self.gate = TurnGate()
        self.provider_thread_id: str | None = None
        """The provider's own id, as soon as an agent has told it."""
        self.closed = trio.Event()
        self._on_closed = on_closed
        self._core = ThreadCore()
        # Capacity 0: whoever sends waits until the owner takes it, so nothing queues up here.
        self._mail_in, self._mail_out = trio.open_memory_channel[m.Mail](0)
        self._work: trio.Nursery | None = None
        self._queue: deque[m.Submit] = deque()
        self._unanswered: set[m.Submit | m.Stop | m.Rename] = set()
        self._activity = contextlib.ExitStack()
        self._turn_over = trio.Event()
        self._starting: m.Submit | None = None
        self._start_scope = trio.CancelScope()
        self._agent: Agent | None = None
        self._agent_scope = trio.CancelScope()
        self._agent_gone = trio.Event()
        self._agent_gone.set()
        self._problem: str | None = None
        self._stops: list[m.Stop] = []
        self._is_finishing = False

    def __repr__(self) -> str:
        return f"<ThreadOwner {self.thread_id} {self._core.state}>"

    @property
    def thread_id(self) -> ThreadId:
        """Whose owner this is."""
        return self.context.thread_id

    @property
    def state(self) -> ThreadState:
        """The present state."""
        return self._core.state

    @property
    def is_busy(self) -> bool:
        """A turn is starting, runs or is being stopped."""
        return self._core.is_busy or bool(self._queue)

    @property
    def is_closing(self) -> bool:
        """It takes no more requests."""
        return bool(self._stops) or self.closed.is_set()

    # --- asking -------------------------------------------------------------------------------

    async def submit(self, submit: m.Submit) -> m.Submitted:
        """Hand in a request; returns when it has been taken.

        Raises:
            ThreadClosingError: ask the next owner.
            BbhostError: it was not taken.
        Cancellation: the request may be taken nevertheless.
        """
        await self._send_asked(submit)
        return await submit.reply.wait()

    async def stop(self) -> None:
        """End the turn if there is one, and this owner. Bounded by ``STOP_SECONDS`` and the agent's end."""
        stop = m.Stop()
        try:
            await self._send_asked(stop)
            await stop.reply.wait()
        except ThreadClosingError:
            log.debug("thread %s ends already", self.thread_id)
        await self.closed.wait()

    async def rename(self, title: str) -> None:
        """Tell the agent the title, if there is one.

        Raises:
            BbhostError: it refused.
        """
        rename = m.Rename(title)
        await self._send_asked(rename)
        await rename.reply.wait()

    async def _send_asked(self, mail: m.Submit | m.Stop | m.Rename) -> None:
        self._unanswered.add(mail)
        try:
            await self._mail_in.send(mail)
        except trio.BrokenResourceError as error:
            self._unanswered.discard(mail)
            raise ThreadClosingError(_CLOSING) from error

    async def tell(self, transition: Transition, agent: int) -> None:
        """An agent has begun or ended a turn."""
        await self._post(m.Told(transition, agent))

    async def _post(self, mail: m.Mail) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await self._mail_in.send(mail)

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until the thread is stopped or the environment left. Never fails.

        Cancellation: the turn is told to be interrupted, within ``GOODBYE_SECONDS``.
        """
        try:
            async with self._mail_out, trio.open_nursery() as work:
                self._work = work
                while not isinstance(mail := await self._mail_out.receive(), m.Finished):
                    self._take(mail)
                work.cancel_scope.cancel(reason="the thread was stopped")
        except Exception:
            # A defect here must not end the terminals and threads beside.
            log.exception("owner of thread %s crashed", self.thread_id)
        finally:
            self._close()
            turn = self.gate.active
            if turn is not None:
                # Shield budget: GOODBYE_SECONDS, for one event.
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._publish(self._completed(turn, "interrupted"))
            self.closed.set()
            self._on_closed(self)

    def _close(self) -> None:
        gone: BbhostError
        if self._stops:
            gone = ThreadClosingError(_CLOSING)
        else:
            gone = EnvironmentDestroyedError("The environment of the thread was left meanwhile")
        for asked in self._unanswered:
            if isinstance(asked, m.Submit):
                asked.reply.fail(gone)
            else:
                asked.reply.succeed(None)
        self._unanswered.clear()
        self._activity.close()

    def _take(self, mail: m.Mail) -> None:
        match mail:
            case m.Submit():
                self._take_submit(mail)
            case m.Stop():
                self._take_stop(mail)
            case m.Rename():
                self._start(self._work_rename, mail)
            case m.Told():
                self._take_told(mail)
            case m.StartFailed():
                self._take_start_failed(mail)
            case m.StopExpired():
                if self._accept(Transition.STOP_EXPIRED, turn=mail.turn):
                    self._leave_turn()
            case m.Exited():
                self._take_exited(mail)

    def _accept(self, transition: Transition, **numbers: int) -> bool:
        try:
            return self._core.accept(transition, **numbers)
        except IllegalEventError as refusal:
            log.debug("thread %s: %s", self.thread_id, refusal)
            return False

    def _start(self, fn: Callable[..., object], *args: object) -> None:
        assert self._work is not None
        self._work.start_soon(fn, *args)  # type: ignore[arg-type] # async callables

    # --- taking mail --------------------------------------------------------------------------

    def _take_submit(self, submit: m.Submit) -> None:
        if self._stops:
            self._refuse(submit, ThreadClosingError(_CLOSING))
        elif self._steers(submit):
            self._start(self._work_steer, submit)
        elif not self._core.is_busy:
            self._begin(submit)
        elif len(self._queue) >= QUEUE_LIMIT:
            self._refuse(submit, AgentError("Too many requests wait for the turn before them"))
        else:
            self._queue.append(submit)
            if self.provider_thread_id is not None:
                self._answer(submit, is_steer=False)

    def _steers(self, submit: m.Submit) -> bool:
        target = submit.target
        return (
            self._core.state is ThreadState.ACTIVE
            and isinstance(target, SteerTarget)
            and target.expected_turn_id is not None
            and target.expected_turn_id == self.gate.active
        )

    def _begin(self, submit: m.Submit) -> None:
        try:
            activity = self.context.stay.activity(f"thread {self.thread_id}")
            self._activity.enter_context(activity)
        except EnvironmentDestroyedError as error:
            self._refuse(submit, error)
            return
        self._core.accept(Transition.SUBMIT)
        self._turn_over = trio.Event()
        self._start_scope = trio.CancelScope()
        self._starting = submit
        self._start(self._work_start, self._core.turn, submit, self._start_scope)

    def _take_stop(self, stop: m.Stop) -> None:
        self._stops.append(stop)
        match self._core.state:
            case ThreadState.STARTING | ThreadState.ACTIVE:
                self._core.accept(Transition.STOP)
                self._start_scope.cancel(reason="the thread is being stopped")
                self._start(self._work_stop, self._core.turn, self._turn_over)
            case ThreadState.IDLE | ThreadState.FAILED:
                self._finish()

    def _take_told(self, told: m.Told) -> None:
        if not self._accept(told.transition, agent=told.agent):
            return
        if told.transition is Transition.TURN_STARTED:
            if self._starting is None:
                # The agent began it by itself; it counts as activity like any other.
                with contextlib.suppress(EnvironmentDestroyedError):
                    activity = self.context.stay.activity(f"thread {self.thread_id}")
                    self._activity.enter_context(activity)
                self._turn_over = trio.Event()
        else:
            self._leave_turn()

    def _take_start_failed(self, failed: m.StartFailed) -> None:
        if self.gate.active is not None and self.state is ThreadState.ACTIVE:
            # The turn began although the agent did not answer properly.
            self._answer(failed.submit, is_steer=False)
            return
        was_taken = failed.submit.reply.is_given
        self._refuse(failed.submit, failed.error)
        if was_taken and not self._stops:
            # It had been taken into the queue, so nobody else tells.
            self._start(self._publish, self._thread_error(failed.error.message))
        if self._accept(Transition.START_FAILED, turn=failed.turn):
            self._leave_turn()

    def _take_exited(self, exited: m.Exited) -> None:
        before, turn = self._core.state, self.gate.active
        moved = self._accept(Transition.AGENT_EXITED, agent=exited.agent)
        events: list[e.ThreadEvent] = []
        stopped = before is ThreadState.STOPPING or bool(self._stops)
        told = self._describe_exit(exited)
        if turn is not None:
            status = "interrupted" if stopped else "failed"
            events.append(self._completed(turn, status, None if stopped else told))
        is_quiet = exited.exit is not None and exited.exit.returncode == 0 and turn is None
        if not stopped and not is_quiet and (turn is not None or exited.exit is not None):
            events.append(self._exit_error(told, exited.exit))
        exited.reply.succeed(events)
        if (moved and before not in {ThreadState.IDLE, ThreadState.STARTING}) or (
            moved and before is ThreadState.STARTING and self._starting is None
        ):
            self._leave_turn()

    def _leave_turn(self) -> None:
        """The thread is not busy any more: what waited for that may go on."""
        self._activity.close()
        self._starting = None
        self._turn_over.set()
        if self._stops:
            self._finish()
        elif self._queue:
            self._begin(self._queue.popleft())

    def _finish(self) -> None:
        if not self._is_finishing:
            self._is_finishing = True
            self._start(self._work_finish)

    def _refuse(self, submit: m.Submit, error: BbhostError) -> None:
        self._unanswered.discard(submit)
        submit.reply.fail(error)

    def _answer(self, submit: m.Submit, *, is_steer: bool) -> None:
        self._unanswered.discard(submit)
        submit.reply.succeed(m.Submitted(self.provider_thread_id or "", is_steer))

    # --- work ---------------------------------------------------------------------------------

    async def _work_start(self, turn: int, submit: m.Submit, scope: trio.CancelScope) -> None:
        error: BbhostError | None = None
        with scope:
            try:
                agent = await self._ensure_agent(submit.settings)
                fault_point("thread.agent_started")
                await agent.start_turn(submit.request)
                fault_point("thread.turn_started")
            except Exception as caught:
                error = self._told_error(caught)
            else:
                self._answer(submit, is_steer=False)
                return
        await self._post(m.StartFailed(turn, submit, error or AgentError(_CLOSING)))

    def _told_error(self, caught: Exception) -> BbhostError:
        told = first_of(caught, BbhostError)
        if told is not None:
            return told
        log.error("thread %s could not be started", self.thread_id, exc_info=caught)
        return AgentError(f"The agent could not be started: {caught}")

    async def _ensure_agent(self, settings: ThreadSettings) -> Agent:
        if self._agent is not None and not self._agent_scope.cancel_called:
            return self._agent
        await self._agent_gone.wait()
        assert self._work is not None
        resume = self.provider_thread_id or settings.resume
        agent: Agent = await self._work.start(self._run_agent, evolve(settings, resume=resume))
        return agent

    async def _run_agent(
        self, settings: ThreadSettings, task_status: trio.TaskStatus[Agent]
    ) -> None:
        """One agent, from its coming up to the last event about it."""
        number = self._core.next_agent()
        self._agent_gone, self._problem = trio.Event(), None
        self._agent_scope = trio.CancelScope()
        host = ThreadHost(self.context.host, self, number)
        end: AgentExit | None = None
        is_up = False
        try:
            try:
                with self._agent_scope:
                    async with self.context.provider.open_agent(
                        settings, self.context.place, host
                    ) as agent:
                        self._agent, is_up = agent, True
                        task_status.started(agent)
                        end = await agent.wait_exited()
            except Exception as error:
                if not is_up:
                    raise
                self._problem = self._told_error(error).message
            self._agent = None
            if not is_up:
                raise AgentError(_CLOSING)
            exited = m.Exited(number, end, self._problem)
            await self._post(exited)
            for event in await exited.reply.wait():
                await self._publish(event)
        finally:
            self._agent = None
            self._agent_gone.set()

    async def _work_steer(self, submit: m.Submit) -> None:
        agent, took = self._agent, False
        try:
            took = agent is not None and await agent.steer(submit.request)
        except BbhostError as error:
            # It does not react: as good as gone. The request becomes the first of the next.
            log.warning("thread %s: %s", self.thread_id, error)
            self._problem = error.message
            self._agent_scope.cancel(reason="the agent does not react")
        if took:
            self._answer(submit, is_steer=True)
        else:
            submit.target = StartTarget()
            await self._post(submit)

    async def _work_stop(self, turn: int, over: trio.Event) -> None:
        with trio.move_on_after(STOP_SECONDS):
            agent = self._agent
            if agent is not None:
                try:
                    await agent.interrupt()
                except BbhostError as error:
                    log.info("thread %s: interrupting failed: %s", self.thread_id, error)
            await over.wait()
            return
        await self._post(m.StopExpired(turn))

    async def _work_rename(self, rename: m.Rename) -> None:
        try:
            if self._agent is not None:
                await self._agent.rename(rename.title)
        except BbhostError as error:
            rename.reply.fail(error)
        else:
            rename.reply.succeed(None)
        self._unanswered.discard(rename)

    async def _work_finish(self) -> None:
        """End the agent, tell of what never began, and let the owner end."""
        self._agent_scope.cancel(reason="the thread is being stopped")
        await self._agent_gone.wait()
        for submit in self._queue:
            await self._tell_unbegun(submit)
        self._queue.clear()
        await self.context.host.server.flush()
        for stop in self._stops:
            self._unanswered.discard(stop)
            stop.reply.succeed(None)
        await self._post(m.Finished())

    # --- telling ------------------------------------------------------------------------------

    async def _publish(self, event: e.ThreadEvent) -> None:
        await publish_admitted(self.gate, self.context.host.server, event)

    async def _tell_unbegun(self, submit: m.Submit) -> None:
        """A request that was taken and never got its turn: a turn that was interrupted at once."""
        self._refuse(submit, AgentError("The thread was stopped"))
        if self.provider_thread_id is None:
            return
        scope = e.TurnScope(f"turn_{submit.request.request_id}")
        thread_id, provider_thread = self.thread_id, self.provider_thread_id
        await self._publish(e.TurnStarted(thread_id, scope, provider_thread))
        await self._publish(
            e.TurnInputAccepted(thread_id, scope, provider_thread, submit.request.request_id)
        )
        await self._publish(self._completed(scope.turn_id, "interrupted"))

    def _completed(self, turn_id: str, status: str, message: str | None = None) -> e.ThreadEvent:
        return e.TurnCompleted(
            self.thread_id,
            e.TurnScope(turn_id),
            self.provider_thread_id,
            status,  # type: ignore[arg-type] # one of the three, by the callers
            None if message is None else e.TurnFault(message),
        )

    def _describe_exit(self, exited: m.Exited) -> str:
        provider = f'Provider "{self.context.provider_id}"'
        if exited.exit is None:
            return f"{provider} was ended: {exited.problem or 'it was not needed any more'}"
        return f"{provider} {exited.exit.describe()}"

    def _exit_error(self, message: str, end: AgentExit | None) -> e.ThreadEvent:
        tail = "" if end is None else end.stderr
        return e.SystemErrorEvent(
            self.thread_id,
            e.ThreadScope(),
            message,
            code="provider_process_exited",
            detail=f"stderr:\n{tail}" if tail else None,
        )

    def _thread_error(self, message: str) -> e.ThreadEvent:
        return e.SystemErrorEvent(self.thread_id, e.ThreadScope(), message)
