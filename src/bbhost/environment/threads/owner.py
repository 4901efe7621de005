"""The owner of one thread: a loop over its mailbox, hosted by the ready state of its environment.

Rule 1: taking mail is synchronous. Whatever has to wait (an agent that comes up, a turn that is
stopped) is work of its own that reports by mail, so nothing ever holds up the mailbox, and whoever's
mail is taken first has won.
Rule 2: an agent that ended, for whatever reason, has told everything before the next one begins.
Rule 3: leaving the environment's ready state ends the owner, its agent and whoever waits for either.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from logging import getLogger

import trio

from bbhost.contract import events as e
from bbhost.contract.execution import SteerTarget
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads import mail as m
from bbhost.environment.threads import telling
from bbhost.environment.threads.gate import TurnGate
from bbhost.environment.threads.host import publish_admitted
from bbhost.environment.threads.mailbox import CLOSING, Mailbox, ThreadClosingError
from bbhost.environment.threads.seat import AgentSeat, OwnerContext
from bbhost.environment.threads.work import ThreadWork
from bbhost.errors import AgentError, BbhostError, EnvironmentDestroyedError
from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.thread import ThreadCore, ThreadState
from bbhost.lifecycle.thread import ThreadEvent as Transition

log = getLogger(__name__)

QUEUE_LIMIT = 16
"""Requests that wait for the turn before them; further ones are refused."""
GOODBYE_SECONDS = 0.5
"""To tell of a turn that ended with its environment."""


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
        self._mailbox = Mailbox()
        self._seat = AgentSeat(context, self._core, self, self._ask_exit)
        self._deeds = ThreadWork(context, self, self._seat, self._mailbox)
        self._work: trio.Nursery | None = None
        self._queue: deque[m.Submit] = deque()
        self._activity = contextlib.ExitStack()
        self._turn_over = trio.Event()
        self._starting: m.Submit | None = None
        self._start_scope = trio.CancelScope()
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
        await self._mailbox.ask(submit)
        return await submit.reply.wait()

    async def stop(self) -> None:
        """End the turn if there is one, and this owner. Bounded by ``STOP_SECONDS`` and the agent's end."""
        stop = m.Stop()
        try:
            await self._mailbox.ask(stop)
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
        await self._mailbox.ask(rename)
        await rename.reply.wait()

    async def tell(self, transition: Transition, agent: int) -> None:
        """An agent has begun or ended a turn."""
        await self._mailbox.post(m.Told(transition, agent))

    async def publish(self, event: e.ThreadEvent) -> None:
        """Tell an event of the thread, where it may be told."""
        await publish_admitted(self.gate, self.context.host.server, event)

    # --- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until the thread is stopped or the environment left. Never fails.

        Cancellation: the turn is told to be interrupted, within ``GOODBYE_SECONDS``.
        """
        try:
            with self._mailbox.reading() as mails:
                async with trio.open_nursery() as work:
                    self._work = work
                    while not isinstance(mail := await mails.receive(), m.Finished):
                        self._take(mail)
                    work.cancel_scope.cancel(reason="the thread was stopped")
        except Exception:
            # A defect here must not end the terminals and threads beside.
            log.exception("owner of thread %s crashed", self.thread_id)
        finally:
            waiting = (*([self._starting] if self._starting else ()), *self._queue)
            taken = [submit for submit in waiting if submit.reply.is_given]
            self._close()
            # Shield budget: GOODBYE_SECONDS, for a few events.
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await self._say_goodbye(taken)
            self.closed.set()
            self._on_closed(self)

    async def _say_goodbye(self, taken: Sequence[m.Submit]) -> None:
        """The environment was left: tell of the turn that ran, and of those that were to come."""
        turn = self.gate.active
        if turn is not None:
            await self.publish(
                telling.completed(self.thread_id, self.provider_thread_id, turn, "interrupted")
            )
        for submit in taken:
            await self._deeds.tell_unbegun(submit)

    def _close(self) -> None:
        gone: BbhostError
        if self._stops:
            gone = ThreadClosingError(CLOSING)
        else:
            gone = EnvironmentDestroyedError("The environment of the thread was left meanwhile")
        self._mailbox.refuse_rest(gone)
        self._activity.close()

    def _take(self, mail: m.Mail) -> None:
        match mail:
            case m.Submit():
                self._take_submit(mail)
            case m.Stop():
                self._take_stop(mail)
            case m.Rename():
                self._start(self._deeds.rename, mail)
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
        self._nursery.start_soon(fn, *args)  # type: ignore[arg-type] # async callables

    @property
    def _nursery(self) -> trio.Nursery:
        assert self._work is not None
        return self._work

    # --- taking mail --------------------------------------------------------------------------

    def _take_submit(self, submit: m.Submit) -> None:
        if self._stops:
            self._mailbox.refuse(submit, ThreadClosingError(CLOSING))
        elif self._steers(submit):
            self._start(self._deeds.steer, submit)
        elif not self._core.is_busy:
            self._begin(submit)
        elif len(self._queue) >= QUEUE_LIMIT:
            self._mailbox.refuse(
                submit, AgentError("Too many requests wait for the turn before them")
            )
        else:
            self._queue.append(submit)
            if self.provider_thread_id is not None:
                self._start(self._deeds.take_into_queue, submit)

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
            self._mailbox.refuse(submit, error)
            return
        self._core.accept(Transition.SUBMIT)
        self._turn_over = trio.Event()
        self._start_scope = trio.CancelScope()
        self._starting = submit
        self._start(self._deeds.start, self._core.turn, submit, self._start_scope, self._nursery)

    def _take_stop(self, stop: m.Stop) -> None:
        self._stops.append(stop)
        match self._core.state:
            case ThreadState.STARTING | ThreadState.ACTIVE:
                self._core.accept(Transition.STOP)
                self._start_scope.cancel(reason="the thread is being stopped")
                self._start(self._deeds.stop, self._core.turn, self._turn_over)
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
            self._mailbox.answer(failed.submit, self.provider_thread_id or "", is_steer=False)
            return
        was_taken = failed.submit.reply.is_given
        self._mailbox.refuse(failed.submit, failed.error)
        # Where it had been taken into the queue, nobody else tells.
        if was_taken and self._stops:
            self._queue.append(failed.submit)
        elif was_taken:
            self._start(self.publish, telling.thread_error(self.thread_id, failed.error.message))
            self._start(self._deeds.forget, failed.submit)
        if self._accept(Transition.START_FAILED, turn=failed.turn):
            self._leave_turn()

    def _take_exited(self, exited: m.Exited) -> None:
        before, turn = self._core.state, self.gate.active
        moved = self._accept(Transition.AGENT_EXITED, agent=exited.agent)
        events = telling.exit_events(
            self.thread_id,
            self.context.provider_id,
            self.provider_thread_id,
            exited,
            turn_id=turn,
            stopped=before is ThreadState.STOPPING or bool(self._stops),
        )
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
            self._start(self._deeds.finish, tuple(self._queue), self._stops)
            self._queue.clear()

    async def _ask_exit(self, exited: m.Exited) -> Sequence[e.ThreadEvent]:
        """An agent has gone: what is to be told of it."""
        await self._mailbox.post(exited)
        return await exited.reply.wait()
