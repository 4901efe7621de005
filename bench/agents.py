"""Threads with scripted agents, as a server has them."""

from typing import Any

from attrs import define, field
from tests.system.daemon.threads import FULL

from bbhost.contract.ids import new_client_request_id
from bench.rig import Rig


@define(eq=False)
class BenchThread:
    """One thread with scripted Codex in one environment."""

    rig: Rig
    environment_id: str
    name: str = "thr"
    provider_thread_id: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.rig.server.threads[self.thread_id] = self.environment_id

    @property
    def thread_id(self) -> str:
        """One for each name and environment."""
        return f"{self.name}_{self.environment_id}"

    def _command(self, kind: str, prompt: str, **more: Any) -> dict[str, Any]:
        return {
            "type": kind,
            "environmentId": self.environment_id,
            "threadId": self.thread_id,
            "requestId": new_client_request_id(),
            "input": [{"type": "text", "text": prompt}],
            "options": FULL,
            **more,
        }

    def _context(self) -> dict[str, Any]:
        return {
            "workspaceContext": self.rig.context(self.environment_id),
            "projectId": "proj_1",
            "providerId": "codex",
            "instructions": "Be kind.",
            "dynamicTools": [],
            "instructionMode": "append",
        }

    async def start(self, prompt: str) -> None:
        """Begin the thread with a turn."""
        begun = await self.rig.run(self._command("thread.start", prompt, **self._context()))
        self.provider_thread_id = begun["providerThreadId"]

    async def submit(self, prompt: str, target: dict[str, Any] | None = None) -> None:
        """Another request."""
        context = {**self._context(), "providerThreadId": self.provider_thread_id}
        more = {"resumeContext": context, "target": target or {"mode": "start"}}
        await self.rig.run(self._command("turn.submit", prompt, **more))

    async def stop(self) -> None:
        """End it, and its agent."""
        about = {"environmentId": self.environment_id, "threadId": self.thread_id}
        await self.rig.run({"type": "thread.stop", **about})

    async def wait(self, kind: str, count: int) -> None:
        """Wait until so many events of a kind have arrived."""
        await self.rig.server.wait(lambda: self.count(kind) >= count)

    def count(self, kind: str) -> int:
        """How many events of a kind have arrived."""
        return len(self.events(kind))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Those that have arrived, in order."""
        told = self.rig.server.events
        return [
            one["event"]
            for one in told
            if one["threadId"] == self.thread_id and one["event"]["type"] == kind
        ]

    async def steer(self, prompt: str) -> None:
        """Say something to the turn under way."""
        turn = self.events("turn/started")[-1]["scope"]["turnId"]
        await self.submit(prompt, {"mode": "steer", "expectedTurnId": turn})
