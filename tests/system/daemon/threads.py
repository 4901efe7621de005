"""Threads as a stock server drives them: commands one way, events, questions and tool calls the other."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import define, field

from bbhost.contract.ids import new_client_request_id
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import running_commands, succeed, unmanaged_context

FAKES = Path(__file__).parents[2] / "fakes"
ONE = "env_one"
THREAD = "thr_one"
ASK = {
    "model": "default",
    "serviceTier": "default",
    "reasoningLevel": "medium",
    "permissionMode": "workspace-write",
    "permissionEscalation": "ask",
}
FULL = {**ASK, "permissionMode": "full", "permissionEscalation": None}

CONFIG = f"""
[providers.codex]
argv = [{json.dumps(sys.executable)}, {json.dumps(str(FAKES / "codex_app_server.py"))}, "%(mark)s"]
environ = {{ FAKE_CODEX_LOG = "%(log)s", SOME_API_KEY = "sk-configured-secret-000000" }}

[providers.acp]
kind = "acp"
argv = [{json.dumps(sys.executable)}, {json.dumps(str(FAKES / "acp_agent.py"))}, "%(mark)s"]

[providers.shell]
kind = "command"
argv = ["sh", "-c", "{{prompt}}"]

[providers.missing]
kind = "acp"
argv = ["no-such-agent-program"]
"""


def write_config(path: Path) -> dict[str, str]:
    """Write a configuration with scripted agents; return the variables that name it."""
    log = path.parent / "codex.log"
    path.write_text(CONFIG % {"log": log, "mark": path.parent})
    return {"BBHOST_CONFIG": str(path), "BBHOST_DRAIN_SECONDS": "1"}


def agents_of(directory: Path) -> set[bytes]:
    """Command lines of the scripted agents that run by the configuration in ``directory``."""
    mark = b"\0%b\0" % str(directory).encode()
    return {line for line in running_commands() if mark in line}


def agent_pids(directory: Path) -> set[int]:
    """The processes of the scripted agents that run by the configuration in ``directory``."""
    mark = b"\0%b\0" % str(directory).encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@define(eq=False)
class Thread:
    """One thread of one environment, as the server sees it."""

    server: StockServer
    path: Path
    """The workspace."""
    provider: str = "codex"
    thread_id: str = THREAD
    environment_id: str = ONE
    provider_thread_id: str = field(default="", init=False)
    options: dict[str, Any] = field(factory=lambda: dict(ASK))

    def __attrs_post_init__(self) -> None:
        self.server.environments[self.environment_id] = "ready"
        self.server.threads[self.thread_id] = self.environment_id

    @property
    def workspace(self) -> dict[str, str]:
        """The workspace context of the user's own checkout."""
        return unmanaged_context(self.path)

    def _about(self) -> dict[str, str]:
        return {"environmentId": self.environment_id, "threadId": self.thread_id}

    def _context(self) -> dict[str, Any]:
        return {
            "workspaceContext": self.workspace,
            "projectId": "proj_1",
            "providerId": self.provider,
            "instructions": "Be kind.",
            "dynamicTools": [],
            "instructionMode": "append",
        }

    def start_command(self, *prompt: str | dict[str, Any], **more: Any) -> dict[str, Any]:
        """A ``thread.start``."""
        return {
            "type": "thread.start",
            **self._about(),
            **self._context(),
            "options": self.options,
            "requestId": new_client_request_id(),
            "input": _inputs(prompt),
            **more,
        }

    def submit_command(
        self, *prompt: str | dict[str, Any], target: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A ``turn.submit``."""
        return {
            "type": "turn.submit",
            **self._about(),
            "requestId": new_client_request_id(),
            "input": _inputs(prompt),
            "options": self.options,
            "resumeContext": {
                **self._context(),
                "providerThreadId": self.provider_thread_id,
            },
            "target": target or {"mode": "start"},
            **more,
        }

    def command(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Another command about the thread."""
        return {"type": type_, **self._about(), **fields}

    async def start(self, *prompt: str | dict[str, Any], **more: Any) -> str:
        """Start the thread; return the provider's id of it."""
        result = await succeed(self.server, self.start_command(*prompt, **more))
        self.provider_thread_id = result["providerThreadId"]
        return self.provider_thread_id

    async def submit(self, *prompt: str | dict[str, Any], **more: Any) -> str:
        """Submit a request; return how it was applied."""
        return str((await succeed(self.server, self.submit_command(*prompt, **more)))["appliedAs"])

    async def stop(self) -> None:
        """Stop it."""
        assert await succeed(self.server, self.command("thread.stop")) == {}

    def resolve_command(self, resolution: dict[str, Any]) -> dict[str, Any]:
        """The answer to the last question."""
        interaction_id, asked = list(self.server.interactions.items())[-1]
        question = asked["interaction"]
        return self.command(
            "interactive.resolve",
            interactionId=interaction_id,
            resolution=resolution,
            **{
                key: question[key]
                for key in ("providerId", "providerThreadId", "providerRequestId")
            },
        )

    # --- what was told ------------------------------------------------------------------------

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Events of the thread that the server has stored, in order."""
        return [
            one["event"]
            for one in self.server.events
            if one["threadId"] == self.thread_id and kind in {None, one["event"]["type"]}
        ]

    def text(self) -> str:
        """All that the agent said."""
        return "".join(one["delta"] for one in self.events("item/agentMessage/delta"))

    def turn_id(self, place: int = -1) -> str:
        """Id of one of the turns that began."""
        return str(self.events("turn/started")[place]["scope"]["turnId"])

    async def wait_text(self, text: str) -> None:
        """Wait until the agent has said ``text``."""
        await self.server.wait(lambda: text in self.text())

    async def wait_completed(self, count: int = 1) -> str:
        """Wait for the end of so many turns; return how the last of them ended."""
        await self.server.wait(lambda: len(self.events("turn/completed")) >= count)
        return str(self.events("turn/completed")[count - 1]["status"])

    async def wait_question(self, count: int = 1) -> dict[str, Any]:
        """Wait until so many questions were asked; return the last."""
        await self.server.wait(lambda: len(self.server.interactions) >= count)
        return dict(list(self.server.interactions.values())[-1]["interaction"])

    def check_events(self) -> None:
        """What was told is complete: every turn begins once, ends once, and nothing lies outside."""
        open_turns: set[str] = set()
        seen: Counter[str] = Counter()
        for event in self.events():
            scope = event["scope"]
            if scope["kind"] == "thread":
                continue
            turn = scope["turnId"]
            if event["type"] == "turn/started":
                assert not open_turns, f"{turn} begins within {open_turns}"
                open_turns.add(turn)
                seen[turn] += 1
            elif event["type"] == "turn/completed":
                assert turn in open_turns
                open_turns.remove(turn)
            else:
                assert turn in seen
        assert not open_turns
        assert set(seen.values()) <= {1}
        requests = [one["clientRequestId"] for one in self.events("turn/input/accepted")]
        assert len(requests) == len(set(requests))


def accepted_requests(thread: Thread) -> list[str]:
    """The requests that became part of a turn."""
    return [one["clientRequestId"] for one in thread.events("turn/input/accepted")]


def _inputs(prompt: tuple[str | dict[str, Any], ...]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": one} if isinstance(one, str) else one for one in prompt]
