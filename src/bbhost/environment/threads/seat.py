"""The agent of a thread: at most one at a time, brought up when it is needed."""

from collections.abc import Awaitable, Callable, Sequence
from logging import getLogger

import trio
from attrs import evolve, frozen

from bbhost.agents.provider import Agent, AgentExit, AgentPlace, Provider, ThreadSettings
from bbhost.contract.events import ThreadEvent
from bbhost.domain.ids import ThreadId
from bbhost.environment.stay import ReadyStay
from bbhost.environment.threads.host import HostContext, HostOwner, ThreadHost
from bbhost.environment.threads.ledger import RequestLedger
from bbhost.environment.threads.mail import Exited
from bbhost.environment.threads.mailbox import CLOSING
from bbhost.errors import AgentError, BbhostError
from bbhost.lifecycle.thread import ThreadCore
from bbhost.toolkit.groups import first_of

log = getLogger(__name__)


@frozen
class OwnerContext:
    """What an owner is made for."""

    thread_id: ThreadId
    provider_id: str
    provider: Provider
    place: AgentPlace
    stay: ReadyStay
    host: HostContext
    ledger: RequestLedger


class AgentSeat:
    """Where the agent of one thread sits.

    An agent that ended, for whatever reason, has told everything before the next one begins.
    """

    def __init__(
        self,
        context: OwnerContext,
        core: ThreadCore,
        owner: HostOwner,
        tell_exit: Callable[[Exited], Awaitable[Sequence[ThreadEvent]]],
    ) -> None:
        self._context = context
        self._core = core
        self._owner = owner
        self._tell_exit = tell_exit
        self._scope = trio.CancelScope()
        self._problem: str | None = None
        self._gone = trio.Event()
        self._gone.set()
        self.agent: Agent | None = None

    async def ensure(self, work: trio.Nursery, settings: ThreadSettings) -> Agent:
        """The agent that sits here; a new one, run in ``work``, where there is none.

        Raises:
            BbhostError: it does not come up.
        """
        if self.agent is not None and not self._scope.cancel_called:
            return self.agent
        await self._gone.wait()
        resume = self._owner.provider_thread_id or settings.resume
        agent: Agent = await work.start(self._run, evolve(settings, resume=resume))
        return agent

    def end(self, reason: str, problem: str | None = None) -> None:
        """End the agent; :meth:`wait_gone` tells when it has.

        Args:
            problem: what is told of it, where it is the agent's fault.
        """
        if problem is not None:
            self._problem = problem
        self._scope.cancel(reason=reason)

    async def wait_gone(self) -> None:
        """Wait until there is no agent and everything has been told of it."""
        await self._gone.wait()

    async def _run(self, settings: ThreadSettings, task_status: trio.TaskStatus[Agent]) -> None:
        """One agent, from its coming up to the last event about it."""
        number = self._core.next_agent()
        self._gone, self._problem = trio.Event(), None
        self._scope = trio.CancelScope()
        host = ThreadHost(self._context.host, self._owner, number)
        end: AgentExit | None = None
        is_up = False
        try:
            try:
                with self._scope:
                    async with self._context.provider.open_agent(
                        settings, self._context.place, host
                    ) as agent:
                        self.agent, is_up = agent, True
                        task_status.started(agent)
                        end = await agent.wait_exited()
            except Exception as error:
                if not is_up:
                    raise
                self._problem = told_error(self._context.thread_id, error).message
            self.agent = None
            if not is_up:
                raise AgentError(CLOSING)
            for event in await self._tell_exit(Exited(number, end, self._problem)):
                await self._owner.publish(event)
        finally:
            self.agent = None
            self._gone.set()


def told_error(thread_id: ThreadId, caught: Exception) -> BbhostError:
    """What is told of an agent that could not be started or went on no longer."""
    told = first_of(caught, BbhostError)
    if told is not None:
        return told
    log.error("thread %s could not be started", thread_id, exc_info=caught)
    return AgentError(f"The agent could not be started: {caught}")
