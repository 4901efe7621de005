"""What the owner of a thread sets going: deeds that wait for an agent, and report by mail."""

from collections.abc import Iterable, Sequence
from logging import getLogger

import trio

from bbhost.contract.execution import StartTarget
from bbhost.environment.threads import mail as m
from bbhost.environment.threads import telling
from bbhost.environment.threads.host import HostOwner
from bbhost.environment.threads.mailbox import CLOSING, Mailbox
from bbhost.environment.threads.seat import AgentSeat, OwnerContext, told_error
from bbhost.errors import AgentError, BbhostError, JournalError
from bbhost.toolkit.faults import fault_point

log = getLogger(__name__)

STOP_SECONDS = 5.0
"""For a turn to end by itself when it is stopped; then its agent is ended."""


class ThreadWork:
    """The deeds of one thread. Each method runs as a task in the owner's nursery."""

    def __init__(
        self, context: OwnerContext, owner: HostOwner, seat: AgentSeat, mailbox: Mailbox
    ) -> None:
        self._context = context
        self._owner = owner
        self._seat = seat
        self._mailbox = mailbox

    async def start(
        self, turn: int, submit: m.Submit, scope: trio.CancelScope, work: trio.Nursery
    ) -> None:
        """Bring up the agent and begin a turn."""
        error: BbhostError | None = None
        with scope:
            try:
                agent = await self._seat.ensure(work, submit.settings)
                fault_point("thread.agent_started")
                await self._note(submit, is_steer=False)
                fault_point("thread.noted")
                await agent.start_turn(submit.request)
                fault_point("thread.turn_started")
            except Exception as caught:
                error = told_error(self._context.thread_id, caught)
            else:
                self._answer(submit, is_steer=False)
                return
        await self._mailbox.post(m.StartFailed(turn, submit, error or AgentError(CLOSING)))

    async def steer(self, submit: m.Submit) -> None:
        """Add to the turn that runs; the next turn where it takes nothing more."""
        agent, took = self._seat.agent, False
        try:
            await self._note(submit, is_steer=True)
        except JournalError as error:
            self._mailbox.refuse(submit, error)
            return
        try:
            took = agent is not None and await agent.steer(submit.request)
        except BbhostError as error:
            # It does not react: as good as gone. The request becomes the first of the next.
            log.warning("thread %s: %s", self._context.thread_id, error)
            self._seat.end("the agent does not react", error.message)
        if took:
            self._answer(submit, is_steer=True)
        else:
            submit.target = StartTarget()
            await self._mailbox.post(submit)

    async def take_into_queue(self, submit: m.Submit) -> None:
        """Answer a request whose turn comes later; it is told of even over a crash."""
        try:
            await self._note(submit, is_steer=False)
        except JournalError as error:
            log.error("a request waits unanswered, it cannot be noted: %s", error)
        else:
            self._answer(submit, is_steer=False)

    async def stop(self, turn: int, over: trio.Event) -> None:
        """Interrupt the turn that runs and wait, within bounds, until it is over."""
        with trio.move_on_after(STOP_SECONDS):
            agent = self._seat.agent
            if agent is not None:
                try:
                    await agent.interrupt()
                except BbhostError as error:
                    log.info("thread %s: interrupting failed: %s", self._context.thread_id, error)
            await over.wait()
            return
        await self._mailbox.post(m.StopExpired(turn))

    async def rename(self, rename: m.Rename) -> None:
        """Tell the agent the title."""
        try:
            if self._seat.agent is not None:
                await self._seat.agent.rename(rename.title)
        except BbhostError as error:
            rename.reply.fail(error)
        else:
            rename.reply.succeed(None)
        self._mailbox.answered(rename)

    async def finish(self, queue: Iterable[m.Submit], stops: Sequence[m.Stop]) -> None:
        """End the agent, tell of what never began, and let the owner end."""
        self._seat.end("the thread is being stopped")
        await self._seat.wait_gone()
        for submit in queue:
            self._mailbox.refuse(submit, AgentError("The thread was stopped"))
            await self.tell_unbegun(submit)
        await self._context.host.server.flush()
        for stop in stops:
            self._mailbox.answered(stop)
            stop.reply.succeed(None)
        await self._mailbox.post(m.Finished())

    async def tell_unbegun(self, submit: m.Submit) -> None:
        """Tell that a request which was taken will never have its turn."""
        provider_thread_id = self._owner.provider_thread_id
        request_id = submit.request.request_id
        if provider_thread_id is None or self._owner.gate.was_accepted(request_id):
            return
        for event in telling.unbegun(self._context.thread_id, provider_thread_id, request_id):
            await self._owner.publish(event)

    async def _note(self, submit: m.Submit, *, is_steer: bool) -> None:
        submitted = m.Submitted(self._owner.provider_thread_id or "", is_steer)
        request_id = submit.request.request_id
        await self._context.ledger.note(self._context.thread_id, request_id, submitted)

    async def forget(self, submit: m.Submit) -> None:
        """A request that was taken has failed, and has been told to have."""
        try:
            await self._context.ledger.forget(self._context.thread_id, submit.request.request_id)
        except JournalError as error:
            log.error("a request that failed is still on record: %s", error)

    def _answer(self, submit: m.Submit, *, is_steer: bool) -> None:
        self._mailbox.answer(submit, self._owner.provider_thread_id or "", is_steer=is_steer)
