"""Starts app-servers: one for each thread, and short-lived ones for questions without a thread."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import field, frozen

from bbhost.agents.codex.agent import REQUEST_SECONDS, CodexAgent, CodexDeadlines, introduce
from bbhost.agents.codex.models import models_of
from bbhost.agents.provider import Agent, AgentHost, AgentPlace, ModelList, ThreadSettings
from bbhost.agents.raw import Json
from bbhost.agents.rpc import METHOD_NOT_FOUND, RpcPeer, RpcRefusalError, open_peer
from bbhost.agents.templates import fill


@frozen
class CodexProvider:
    """Codex. ``agents.provider.Provider``."""

    id: str
    argv: tuple[str, ...] = ("codex", "app-server")
    deadlines: CodexDeadlines = field(factory=CodexDeadlines)

    @asynccontextmanager
    async def open_agent(
        self, settings: ThreadSettings, place: AgentPlace, host: AgentHost
    ) -> AsyncIterator[Agent]:
        """See ``Provider.open_agent``."""
        agent = CodexAgent(self.id, settings, place, host)
        async with open_peer(place, self._argv(place), self.id, agent) as peer:
            await agent.shake_hands(peer, self.deadlines)
            yield agent

    async def list_models(self, place: AgentPlace) -> ModelList:
        """Ask an app-server of its own."""
        async with self._open_silent(place) as peer:
            return models_of(await peer.request("model/list", {}, REQUEST_SECONDS))

    async def set_archived(
        self, place: AgentPlace, provider_thread_id: str, *, archived: bool
    ) -> None:
        """Ask an app-server of its own."""
        method = "thread/archive" if archived else "thread/unarchive"
        async with self._open_silent(place) as peer:
            await peer.request(method, {"threadId": provider_thread_id}, REQUEST_SECONDS)

    @asynccontextmanager
    async def _open_silent(self, place: AgentPlace) -> AsyncIterator[RpcPeer]:
        async with open_peer(place, self._argv(place), self.id, _Silent()) as peer:
            await introduce(peer, self.deadlines)
            yield peer

    def _argv(self, place: AgentPlace) -> list[str]:
        return fill(self.argv, {"workspace": str(place.workspace)})


class _Silent:
    """Hears nothing and offers nothing."""

    async def notified(self, method: str, params: Json) -> None:
        """Nobody is interested."""

    async def requested(self, method: str, params: Json, key: str) -> object:
        """There is no conversation in which anything could be asked."""
        raise RpcRefusalError(METHOD_NOT_FOUND, f"{method} is not offered")

    async def disturbed(self, problem: str) -> None:
        """Nobody is interested."""
