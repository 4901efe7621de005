"""Starts agents that speak the Agent Client Protocol."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import field, frozen

from bbhost.agents.acp.agent import AcpAgent, AcpDeadlines
from bbhost.agents.models import configured_models
from bbhost.agents.provider import Agent, AgentHost, AgentPlace, ModelList, ThreadSettings
from bbhost.agents.rpc import open_peer
from bbhost.agents.templates import fill_argv, with_shell_variables
from bbhost.errors import AgentError


@frozen
class AcpProvider:
    """One kind of agent. ``agents.provider.Provider``."""

    id: str
    argv: tuple[str, ...]
    """Program and arguments; may hold ``{model}`` and ``{workspace}``."""
    model_argv: tuple[str, ...] = ()
    """Added where a model is chosen."""
    models: tuple[str, ...] = ()
    deadlines: AcpDeadlines = field(factory=AcpDeadlines)

    @asynccontextmanager
    async def open_agent(
        self, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> AsyncIterator[Agent]:
        """See ``Provider.open_agent``."""
        place = with_shell_variables(place, settings)
        argv = fill_argv(self.argv, self.model_argv, settings, place)
        agent = AcpAgent(self.id, settings, place, host)
        async with open_peer(place, argv, self.id, agent) as peer:
            await agent.shake_hands(peer, self.deadlines)
            yield agent

    async def list_models(self, place: AgentPlace) -> ModelList:
        """The models of the configuration: the protocol has no list without a session."""
        return configured_models(self.models)

    async def set_archived(
        self, place: AgentPlace, provider_thread_id: str, *, archived: bool
    ) -> None:
        """There is no archive."""
        raise AgentError(f"Provider {self.id} has no archive")
