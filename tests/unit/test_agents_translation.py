"""Recorded messages of agents become events, and requests become messages; no process is run."""

from pathlib import Path

import pytest

from bbhost.agents.acp.permissions import answer_of, approval_of, decide_at_once, tool_call_of
from bbhost.agents.acp.prompt import prompt_blocks
from bbhost.agents.acp.updates import AcpTurn
from bbhost.agents.bounds import KeptText, TurnBudget
from bbhost.agents.codex import approvals
from bbhost.agents.codex.notifications import CodexTranslator
from bbhost.agents.codex.params import thread_params, turn_params
from bbhost.agents.lines import LineSplitter, OversizedLine
from bbhost.agents.provider import ThreadSettings, TurnRequest
from bbhost.agents.redaction import Redactor
from bbhost.agents.registry import make_registry
from bbhost.agents.turn_events import ThreadEvents
from bbhost.contract import events as e
from bbhost.contract.codec import structure, unstructure
from bbhost.contract.execution import (
    DynamicTool,
    ExecutionOptions,
    ImageInput,
    LocalFileInput,
    LocalImageInput,
    PermissionEscalation,
    PermissionMode,
    ReasoningLevel,
    ServiceTier,
    TextInput,
)
from bbhost.contract.interactions import Allowed, Denied, FileSystemGrant, Grant
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.gate import TurnGate
from bbhost.errors import ConfigError

THREAD = ThreadId("thr")
EVENTS = ThreadEvents(THREAD, "prov")


def options(mode: PermissionMode, ask: bool = True) -> ExecutionOptions:
    escalation = PermissionEscalation.ASK if ask else PermissionEscalation.DENY
    return ExecutionOptions(
        "m", ServiceTier.FAST, ReasoningLevel.MAX, mode, None if mode == "full" else escalation
    )


def checked(events: list) -> list:
    """Every event follows the contract."""
    for event in events:
        structure(e.ThreadEvent, unstructure(event))
    return events


# --- lines and bounds -----------------------------------------------------------------------


def test_lines_come_whole_whatever_the_pieces() -> None:
    """A stream is cut at newlines; too long a line is told and dropped, the next is good."""
    stream = b"one\n" + b"x" * 50 + b"\ntwo\n\nlast"
    expected = [b"one", OversizedLine(50), b"two", b"", b"last"]
    for size in range(1, len(stream)):
        splitter = LineSplitter(limit=10)
        lines = []
        for start in range(0, len(stream), size):
            lines += splitter.feed(stream[start : start + size])
        assert lines + splitter.finish() == expected


def test_bounds_keep_the_beginning() -> None:
    """What is beyond a bound is counted and left out."""
    text = KeptText(limit=4)
    for piece in ("ab", "cd", "ef"):
        text.add(piece)
    assert text.text.startswith("abcd\n[truncated")
    budget = TurnBudget(limit=3)
    assert [budget.take("ab"), budget.take("cd"), budget.take("e")] == ["ab", "c", ""]
    assert budget.is_exceeded


def test_credentials_are_taken_out() -> None:
    """By value where the environment names them, by shape otherwise."""
    redactor = Redactor({"MY_API_KEY": "abcdefgh12345", "SSH_AUTH_SOCK": "/run/agent.socket"})
    told = redactor.redact(
        "key abcdefgh12345 Authorization: Bearer xyzxyzxyz sk-abcdefghijklmnopqrst /run/agent.socket"
    )
    assert "abcdefgh12345" not in told
    assert "xyzxyzxyz" not in told
    assert "sk-abc" not in told
    assert "/run/agent.socket" in told


# --- the gate -------------------------------------------------------------------------------


def test_the_gate_lets_a_server_accept_everything() -> None:
    """Nothing of a turn before its beginning; one beginning and one end."""
    gate, turn = TurnGate(), EVENTS.turn("t1")

    def passes(event: e.ThreadEvent) -> bool:
        if not gate.admit(event):
            return False
        gate.told(event)
        return True

    assert not passes(turn.message_delta("i", "x"))
    assert not passes(turn.completed("completed"))
    assert passes(turn.started())
    assert not passes(turn.started())
    assert not passes(EVENTS.turn("t2").started())
    assert passes(turn.message_delta("i", "x"))
    assert passes(turn.completed("completed"))
    assert not passes(turn.completed("failed"))
    assert not passes(turn.started())
    assert passes(turn.message_delta("i", "late"))
    assert passes(EVENTS.turn("t2").started())


def test_a_beginning_that_was_cut_short_does_not_count() -> None:
    """A turn whose beginning was not handed on has no end to be told."""
    gate, turn = TurnGate(), EVENTS.turn("t1")
    started = turn.started()
    assert gate.admit(started)
    gate.retract(started)
    assert gate.active is None
    assert not gate.admit(turn.completed("interrupted"))


# --- ACP ------------------------------------------------------------------------------------


def test_acp_prompt_blocks() -> None:
    """Each kind of input has a block; instructions come first."""
    blocks = prompt_blocks(
        (
            TextInput("hi"),
            ImageInput("data:image/png;base64,AAAA"),
            ImageInput("https://example.invalid/a.png"),
            LocalImageInput("/w/a b.png"),
            LocalFileInput("/w/f.txt", "f.txt", 3, "text/plain"),
        ),
        "Be kind.",
    )
    assert [block["type"] for block in blocks] == [
        "text",
        "text",
        "image",
        "resource_link",
        "resource_link",
        "resource_link",
    ]
    assert blocks[2]["mimeType"] == "image/png"
    assert blocks[4]["uri"] == "file:///w/a%20b.png"
    assert blocks[5]["size"] == 3


def acp_turn() -> AcpTurn:
    return AcpTurn(EVENTS, "t1", "agent", "/w")


def test_acp_file_change() -> None:
    """An edit with old and new text is a file change with a diff."""
    turn = acp_turn()
    diff = {"type": "diff", "path": "/w/a", "oldText": "one\n", "newText": "two\n"}
    events = checked(
        turn.update(
            {
                "sessionUpdate": "tool_call",
                "toolCallId": "c",
                "title": "Edit a",
                "kind": "edit",
                "status": "completed",
                "content": [diff],
            }
        )
    )
    item = events[-1].item
    assert item.TYPE == "fileChange"
    assert item.changes[0].kind == "update"
    assert "-one" in item.changes[0].diff
    assert "+two" in item.changes[0].diff


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"sessionUpdate": None},
        {"sessionUpdate": "tool_call"},
        {"sessionUpdate": "tool_call", "toolCallId": 5, "content": "x"},
        {"sessionUpdate": "tool_call", "toolCallId": "a", "content": [None, 5], "locations": [1]},
        {"sessionUpdate": "plan", "entries": [1, {"content": None, "status": "odd"}]},
        {"sessionUpdate": "agent_message_chunk", "content": None},
        {"sessionUpdate": "usage_update", "used": "many", "size": float("inf")},
        {"sessionUpdate": "brand_new", "x": {"y": [1]}},
    ],
)
def test_acp_whatever_comes_is_no_fault(update: dict) -> None:
    """A message of another shape than expected costs at most itself."""
    checked(acp_turn().update(update))


def test_acp_what_is_open_is_closed_with_the_turn() -> None:
    """Text and calls do not stay open behind the end of a turn."""
    turn = acp_turn()
    turn.begin("creq_2222222222")
    turn.update({"sessionUpdate": "tool_call", "toolCallId": "c", "title": "x", "kind": "read"})
    turn.update({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "a"}})
    events = checked(turn.finish({"stopReason": "cancelled"}))
    assert [event.TYPE for event in events] == [
        "item/completed",
        "item/completed",
        "turn/completed",
    ]
    assert events[-1].status == "interrupted"


def test_acp_a_limit_is_told() -> None:
    """A turn that ran into a limit completes, and says so."""
    events = checked(acp_turn().finish({"stopReason": "max_tokens"}))
    assert events[0].error_info.category == "max-output-tokens"
    assert events[1].status == "completed"


PERMISSION = {
    "toolCall": {"toolCallId": "c", "title": "Edit", "kind": "edit"},
    "options": [
        {"optionId": "1", "kind": "allow_once", "name": "a"},
        {"optionId": "2", "kind": "allow_always", "name": "b"},
        {"optionId": "3", "kind": "reject_once", "name": "c"},
    ],
}


@pytest.mark.parametrize(
    ("mode", "ask", "path", "decided"),
    [
        (PermissionMode.FULL, True, "/etc/passwd", True),
        (PermissionMode.WORKSPACE_WRITE, True, "/w/a", True),
        (PermissionMode.WORKSPACE_WRITE, True, "/w/../etc/a", None),
        (PermissionMode.WORKSPACE_WRITE, False, "/etc/a", False),
        (PermissionMode.READONLY, True, "/w/a", None),
        (PermissionMode.READONLY, False, "/w/a", False),
    ],
)
def test_acp_permission_modes(mode, ask, path, decided) -> None:
    """The mode decides what it can; only the rest is asked."""
    params = {
        **PERMISSION,
        "toolCall": {**PERMISSION["toolCall"], "locations": [{"path": path}]},
    }
    assert decide_at_once(tool_call_of(params, "/w"), options(mode, ask)) is decided


def test_acp_answers() -> None:
    """Decisions choose the agent's own options; no answer is a cancellation."""
    call = tool_call_of(PERMISSION, "/w")
    assert approval_of(PERMISSION, call).available_decisions == (
        "allow_once",
        "allow_for_session",
        "deny",
    )
    chosen = [
        answer_of(PERMISSION, resolution)["outcome"].get("optionId")
        for resolution in (
            Allowed("allow_once", None),
            Allowed("allow_for_session", None),
            Denied(),
            None,
        )
    ]
    assert chosen == ["1", "2", "3", None]


# --- codex ----------------------------------------------------------------------------------


def translator() -> CodexTranslator:
    made = CodexTranslator(THREAD, "codex")
    made.provider_thread_id = "thr_1"
    return made


def test_codex_a_turn_is_begun_once() -> None:
    """The answer and the notification tell the same beginning."""
    codex = translator()
    codex.expect_turn("creq_2222222222")
    assert [event.TYPE for event in codex.begin_turn("t")] == [
        "turn/started",
        "turn/input/accepted",
    ]
    assert codex.notified("turn/started", {"turn": {"id": "t"}}) == []


ITEMS = [
    {"type": "agentMessage", "id": "i", "text": "x"},
    {"type": "reasoning", "id": "i", "summary": ["a"], "content": []},
    {"type": "plan", "id": "i", "text": "x"},
    {"type": "contextCompaction", "id": "i"},
    {"type": "commandExecution", "id": "i", "command": "c", "cwd": "/", "status": "declined"},
    {
        "type": "fileChange",
        "id": "i",
        "status": "completed",
        "changes": [{"path": "a", "kind": {"type": "update", "move_path": "b"}, "diff": "d"}],
    },
    {
        "type": "mcpToolCall",
        "id": "i",
        "server": "s",
        "tool": "t",
        "status": "failed",
        "arguments": {"a": 1},
        "error": {"message": "m"},
    },
    {"type": "dynamicToolCall", "id": "i", "tool": "t", "status": "completed", "success": False},
    {"type": "webSearch", "id": "i", "query": "q", "action": {"type": "search", "queries": ["q"]}},
    {"type": "webSearch", "id": "i", "query": "", "action": {"type": "openPage", "url": "u"}},
    {"type": "imageView", "id": "i", "path": "p"},
    {"type": "commandExecution"},
    {},
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.get("type", "nothing"))
def test_codex_items(item: dict) -> None:
    """Every kind of item is an event of the contract, if only an unhandled one."""
    codex = translator()
    codex.begin_turn("t")
    for method in ("item/started", "item/completed"):
        assert len(checked(codex.notified(method, {"turnId": "t", "item": item}))) == 1
    assert codex.notified("item/started", {"item": {"type": "userMessage", "id": "u"}}) == []


def test_codex_other_threads_are_not_ours() -> None:
    """A process may tell of other conversations."""
    assert translator().notified("item/started", {"threadId": "thr_2"}) == []


@pytest.mark.parametrize(
    ("raw", "category", "status"),
    [
        ("usageLimitExceeded", "rate-limit", None),
        ("modelNotFound", "bad-request", None),
        ({"httpConnectionFailed": {"httpStatusCode": 502}}, "connection-failed", 502),
        ("something_new", "unknown", None),
    ],
)
def test_codex_errors(raw, category, status) -> None:
    """Kinds of errors have the contract's names."""
    params = {"error": {"message": "m", "codexErrorInfo": raw}, "willRetry": True}
    (event,) = checked(translator().notified("error", params))
    assert event.error_info.category == category
    assert event.error_info.http_status_code == status
    assert event.will_retry is True


def test_codex_parameters() -> None:
    """Modes, effort and tier as the app-server wants them."""
    settings = ThreadSettings(
        THREAD,
        options(PermissionMode.READONLY),
        "Be kind.",
        resume="thr_1",
        dynamic_tools=(DynamicTool("tell", "Tells.", {"type": "object"}),),
        writable_roots=("/r",),
    )
    params = thread_params(settings, "/w")
    assert params["sandbox"] == "read-only"
    assert params["threadId"] == "thr_1"
    assert params["config"]["model_reasoning_effort"] == "xhigh"
    assert params["serviceTier"] == "fast"
    (tool,) = params["dynamicTools"]
    assert (tool["type"], tool["name"]) == ("function", "tell")
    request = TurnRequest(
        "creq_2222222222",
        (TextInput("x"), ImageInput("https://e.invalid/i"), LocalImageInput("/i")),
        options(PermissionMode.FULL),
    )
    turn = turn_params(request, "thr_1", ("/r",))
    assert turn["sandboxPolicy"] == {"type": "dangerFullAccess"}
    assert turn["approvalPolicy"] == "never"
    assert [one["type"] for one in turn["input"]] == ["text", "image", "localImage"]


def test_codex_permission_requests() -> None:
    """What is asked for is what is granted, unless the person chose less."""
    params = {
        "turnId": "t",
        "itemId": "i",
        "permissions": {
            "network": {"enabled": True},
            "fileSystem": {
                "entries": [{"path": {"type": "path", "path": "/x"}, "access": "write"}]
            },
        },
    }
    question = approvals.question_of(approvals.PERMISSIONS, params, {})
    assert question.payload.subject.permissions.file_system == FileSystemGrant((), ("/x",))
    given = approvals.answer_of(
        approvals.PERMISSIONS, Allowed("allow_for_session", None), question.payload
    )
    assert given == {
        "permissions": {
            "network": {"enabled": True},
            "fileSystem": {"read": [], "write": ["/x"]},
        },
        "scope": "session",
    }
    less = Allowed("allow_once", Grant(None, FileSystemGrant(("/x",), ())))
    assert approvals.answer_of(approvals.PERMISSIONS, less, question.payload)["permissions"] == {
        "fileSystem": {"read": ["/x"], "write": []}
    }
    refused = approvals.answer_of(approvals.PERMISSIONS, Denied(), question.payload)
    assert refused["permissions"] == {}


# --- configuration --------------------------------------------------------------------------


def test_tables_change_and_add_providers() -> None:
    """A known id is changed, a new one added, one that is off is gone."""
    registry = make_registry(
        {
            "gemini": {"argv": ["/opt/gemini", "--acp"], "environ": {"K": "v"}},
            "mine": {"kind": "command", "argv": ["mine", "{prompt}"], "models": ["a", "b"]},
            "goose": {"enabled": False},
        }
    )
    ids = [one.id for one in registry.definitions()]
    assert "goose" not in ids
    assert registry.definition("gemini").argv == ("/opt/gemini", "--acp")
    assert registry.definition("gemini").display_name == "Gemini CLI"
    assert "'v'" not in repr(registry.definition("gemini"))
    assert [mode.value for mode in registry.definition("mine").modes] == ["full"]


def test_a_program_is_found_under_its_earlier_name(tmp_path: Path) -> None:
    """The present name goes first; a command line of the user's has no other names."""
    registry = make_registry({})
    claude = registry.definition("claude-code")
    assert registry.installed(claude, str(tmp_path)) is None
    for name in ("claude-code-acp", "claude-agent-acp"):
        (tmp_path / name).touch(mode=0o755)
        found = registry.require_installed(claude, str(tmp_path))
        assert found.argv == (name,)
    mine = make_registry({"claude-code": {"argv": ["my-claude"]}})
    assert mine.installed(mine.definition("claude-code"), str(tmp_path)) is None
    available = {one.id: one.available for one in registry.infos(str(tmp_path))}
    assert available["claude-code"]
    assert not available["gemini"]


@pytest.mark.parametrize(
    "table",
    [
        {"argv": ["x"]},
        {"kind": "acp"},
        {"kind": "other", "argv": ["x"]},
        {"kind": "acp", "argv": []},
        {"kind": "acp", "argv": "x"},
        {"kind": "acp", "argv": ["x"], "typo": 1},
        {"kind": "acp", "argv": ["x"], "initialize_seconds": -1},
        {"kind": "acp", "argv": ["x"], "environ": {"a": 1}},
    ],
)
def test_wrong_tables_are_refused(table: dict) -> None:
    """The message names the table."""
    with pytest.raises(ConfigError, match=r"providers\.mine"):
        make_registry({"mine": table})
