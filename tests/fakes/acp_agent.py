"""An agent built on the PyPI ACP SDK (asyncio), as a peer in a process of its own.

The text of a prompt says what happens in its turn.
"""

import asyncio
import os
import sys
from typing import Any

from acp import (
    PROTOCOL_VERSION,
    Agent,
    InitializeResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PromptResponse,
    RequestError,
    run_agent,
    start_tool_call,
    text_block,
    tool_content,
    update_agent_message,
    update_agent_thought,
    update_plan,
    update_tool_call,
    update_user_message,
)
from acp.schema import (
    AgentCapabilities,
    AuthMethodAgent,
    AvailableCommand,
    AvailableCommandsUpdate,
    CurrentModeUpdate,
    PermissionOption,
    PlanEntry,
    ToolCallUpdate,
)


class ScriptedAgent(Agent):
    _conn: Any

    def __init__(self) -> None:
        self._cancelled = asyncio.Event()

    def on_connect(self, conn: Any) -> None:
        self._conn = conn

    async def initialize(self, protocol_version: int, **kwargs: Any) -> InitializeResponse:
        if os.environ.get("FAKE_ACP_SILENT"):
            await asyncio.sleep(3600)
        return InitializeResponse(
            protocol_version=PROTOCOL_VERSION,
            agent_capabilities=AgentCapabilities(load_session=True),
            auth_methods=[AuthMethodAgent(id="own", name="Own login", description="Run `own`")],
        )

    async def new_session(self, cwd: str, **kwargs: Any) -> NewSessionResponse:
        if os.environ.get("FAKE_ACP_LOGGED_OUT"):
            raise RequestError.auth_required()
        return NewSessionResponse(session_id=f"sess-{os.getpid()}")

    async def load_session(self, cwd: str, session_id: str, **kwargs: Any) -> LoadSessionResponse:
        await self._say(session_id, "history that nobody wants again")
        return LoadSessionResponse()

    async def _say(self, session: str, text: str) -> None:
        await self._conn.session_update(session, update_agent_message(text_block(text)))

    async def prompt(self, prompt: list[Any], session_id: str, **kwargs: Any) -> PromptResponse:
        self._cancelled.clear()
        text = getattr(prompt[-1], "text", "")
        word, _, rest = text.partition(" ")
        method = getattr(self, f"do_{word}", None)
        reason = "end_turn"
        if method is not None:
            reason = await method(session_id, rest) or reason
        else:
            await self._say(session_id, text)
        return PromptResponse(stop_reason=reason)

    async def cancel(self, session_id: str, **kwargs: Any) -> None:
        self._cancelled.set()

    # --- scripts --------------------------------------------------------------------------

    async def do_all(self, s: str, rest: str) -> None:
        up = self._conn.session_update
        await up(s, update_user_message(text_block("echo")))
        await up(s, update_agent_thought(text_block("hm")))
        await up(s, update_plan([PlanEntry(content="a", priority="high", status="in_progress")]))
        await up(s, start_tool_call("t1", "ls", kind="execute", raw_input={"command": "ls -a"}))
        listing = [tool_content(text_block("a b"))]
        await up(s, update_tool_call("t1", status="in_progress", content=listing))
        await up(s, update_tool_call("t1", status="completed", raw_output={"exitCode": 0}))
        command = AvailableCommand(name="x", description="y")
        await up(
            s,
            AvailableCommandsUpdate(
                session_update="available_commands_update", available_commands=[command]
            ),
        )
        await up(
            s, CurrentModeUpdate(session_update="current_mode_update", current_mode_id="code")
        )
        await self._say(s, "done")

    async def do_ask(self, s: str, rest: str) -> None:
        options = [
            PermissionOption(option_id="y", name="Yes", kind="allow_once"),
            PermissionOption(option_id="n", name="No", kind="reject_once"),
        ]
        call = ToolCallUpdate(
            tool_call_id="t9", title="rm x", kind="execute", raw_input={"command": "rm x"}
        )
        answer = await self._conn.request_permission(session_id=s, tool_call=call, options=options)
        outcome = answer.outcome
        await self._say(s, f"outcome {outcome.outcome} {getattr(outcome, 'option_id', '')}")
        if outcome.outcome == "cancelled":
            return "cancelled"
        return None

    async def do_read(self, s: str, rest: str) -> None:
        try:
            found = await self._conn.read_text_file(session_id=s, path=rest)
            await self._say(s, f"read {found.content}")
        except Exception as error:
            await self._say(s, f"refused {error}")

    async def do_write(self, s: str, rest: str) -> None:
        path, _, content = rest.partition(" ")
        try:
            await self._conn.write_text_file(session_id=s, path=path, content=content)
            await self._say(s, "written")
        except Exception as error:
            await self._say(s, f"refused {error}")

    async def do_wait(self, s: str, rest: str) -> str:
        await self._say(s, "waiting")
        await self._cancelled.wait()
        return "cancelled"

    async def do_deaf(self, s: str, rest: str) -> None:
        await self._say(s, "not listening")
        await asyncio.sleep(3600)

    async def do_crash(self, s: str, rest: str) -> None:
        await self._say(s, "about to crash")
        await asyncio.sleep(0.1)
        sys.stderr.write("segfault\n")
        sys.stderr.flush()
        os._exit(3)

    async def do_flood(self, s: str, rest: str) -> None:
        chunk = "f" * 65_000
        for _ in range(int(rest) * 1024 * 1024 // len(chunk)):
            await self._say(s, chunk)


if __name__ == "__main__":
    asyncio.run(run_agent(ScriptedAgent()))
