"""Messages of every kind: the recorded ones, and written ones for what was not recorded."""

import json
from pathlib import Path
from typing import Any

from attrs import frozen

from bbhost.contract import session
from bbhost.contract.events import ThreadEvent
from bbhost.contract.messages import DaemonMessage, ServerMessage
from bbhost.contract.table import COMMANDS

EXAMPLES = Path(__file__).parents[2] / "data" / "wire_examples.jsonl"

HTTP: dict[str, tuple[Any, Any]] = {
    "/internal/hosts/enroll": (session.EnrollRequest, session.EnrollResponse),
    "/internal/session/open": (session.SessionOpenRequest, session.SessionOpenResponse),
    "/internal/session/events": (session.EventBatch, session.EventBatchResponse),
    "/internal/session/environment-change": (session.EnvironmentChangePost, session.OkResponse),
    "/internal/session/app-data-change": (session.AppDataChange, session.OkResponse),
    "/internal/session/app-data-resync": (session.AppDataResync, session.OkResponse),
    "/internal/session/tool-call": (session.ToolCallRequest, session.ToolCallResponse),
    "/internal/session/interactive-request": (
        session.InteractiveRequest,
        session.InteractiveResponse,
    ),
    "/internal/session/interactive-request/interrupt": (
        session.InteractiveInterrupt,
        session.InteractiveInterruptResponse,
    ),
}


@frozen
class Sample:
    """One message."""

    label: str
    """What kind of message it is; variants of a kind share it."""
    type: Any
    """The wire type that reads it."""
    data: dict[str, Any]


def recorded_lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in EXAMPLES.read_text().splitlines()]


def recorded_samples() -> list[Sample]:
    """Every complete recorded message."""
    found: list[Sample] = []
    for line in recorded_lines():
        kind, example = line["kind"], line["example"]
        match kind[0]:
            case "command":
                name = example["command"]["type"]
                found.append(Sample(f"command {name}", COMMANDS[name].command, example["command"]))
            case "event":
                found.append(Sample("envelope", session.EventEnvelope, example))
                found.append(Sample(f"event {kind[1]}", ThreadEvent, example["event"]))
            case "ws":
                union = DaemonMessage if kind[1] == "daemon->server" else ServerMessage
                found.append(Sample(f"ws {kind[2]}", union, example))
            case "result":
                found.append(Sample("report", session.ReportPost, example))
                if example["ok"]:
                    name = example["type"]
                    found.append(
                        Sample(f"result {name}", COMMANDS[name].result, example["result"])
                    )
            case "http":
                found.extend(_http_samples(kind[2], example))
    return found


def _http_samples(path: str, example: dict[str, Any]) -> list[Sample]:
    if path not in HTTP:
        return []  # the one answer that is not JSON
    request, response = HTTP[path]
    found = []
    # The recording of a batch leaves its events out; they are recorded one by one.
    if example["req"] is not None and example["req"].get("events") != "…":
        found.append(Sample(f"request {path}", request, example["req"]))
    if example["res"] is not None:
        failed = example["status"] >= 300
        label = "error" if failed else f"response {path}"
        found.append(Sample(label, session.ErrorBody if failed else response, example["res"]))
    return found


# --- written samples ------------------------------------------------------------------------

WORKSPACE = {"workspacePath": "/srv/w", "workspaceProvisionType": "personal"}
OPTIONS = {
    "model": "m",
    "serviceTier": "fast",
    "reasoningLevel": "xhigh",
    "permissionMode": "readonly",
    "permissionEscalation": "ask",
}
INPUT = [
    {"type": "text", "text": "", "visibility": "agent-only"},
    {"type": "image", "url": "https://example.invalid/a.png"},
    {"type": "localImage", "path": "a.png", "visibility": "agent-only"},
    {"type": "localFile", "path": "a", "name": "a", "sizeBytes": 0, "mimeType": "text/plain"},
]
CONTEXT = {
    "workspaceContext": WORKSPACE,
    "projectId": "p",
    "providerId": "codex",
    "instructions": "i",
    "dynamicTools": [{"name": "t", "description": "d", "inputSchema": {"type": "object"}}],
    "disallowedTools": ["x"],
    "instructionMode": "replace",
}
GRANT = {
    "network": {"enabled": None},
    "fileSystem": {"read": ["/a"], "write": []},
}
SUMMARY = {
    "captureId": "cap_0_00000000",
    "capturedAt": 1,
    "completedAt": None,
    "providerId": "codex",
    "projectId": "p",
    "environmentId": "e",
    "threadId": "t",
    "title": None,
    "kind": "thread-start",
    "userInputPreview": "",
    "execution": {
        "model": "m",
        "serviceTier": "default",
        "reasoningLevel": "low",
        "permissionMode": "full",
        "source": "s",
    },
    "eventCounts": {"rawProviderEvents": 0, "droppedRecords": 0},
    "errorMessage": None,
}
MANIFEST = {
    **SUMMARY,
    "schemaVersion": 3,
    "source": "corpus-fixture",
    "providerThreadId": None,
    "turns": [{"turnId": "u", "userInput": [INPUT[0]], "createdAt": 1}],
}

_COMMANDS: list[dict[str, Any]] = [
    {
        "type": "environment.provision",
        "environmentId": "e",
        "initiator": None,
        "workspaceProvisionType": "unmanaged",
        "path": "/srv/w",
        "checkout": {"kind": "existing", "name": "main"},
    },
    {"type": "host.list_files", "path": "/a", "query": "q", "limit": 1},
    {
        "type": "host.list_paths",
        "path": "/a",
        "query": "q",
        "limit": 1,
        "includeFiles": True,
        "includeDirectories": True,
    },
    {"type": "host.list_branches", "path": "/a", "query": "q", "limit": 1},
    {
        "type": "thread.start",
        "environmentId": "e",
        "threadId": "t",
        **CONTEXT,
        "options": OPTIONS,
        "requestId": "creq_zfv334evzx",
        "input": INPUT,
        "threadStoragePath": "/srv/t",
    },
    {
        "type": "turn.submit",
        "environmentId": "e",
        "threadId": "t",
        "resumeContext": {**CONTEXT, "providerThreadId": "pt"},
        "options": OPTIONS,
        "requestId": "creq_zfv334evzx",
        "input": INPUT,
        "target": {"mode": "auto", "expectedTurnId": None},
    },
    {
        "type": "thread.unarchive",
        "threadId": "t",
        "providerId": "codex",
        "providerThreadId": "pt",
    },
    *(
        {
            "type": "interactive.resolve",
            "environmentId": "e",
            "threadId": "t",
            "interactionId": "i",
            "providerId": "codex",
            "providerThreadId": "pt",
            "providerRequestId": "r",
            "resolution": resolution,
        }
        for resolution in (
            {"decision": "allow_for_session", "grantedPermissions": GRANT},
            {"decision": "deny"},
            {
                "kind": "user_answer",
                "answers": {"q": {"selected": ["a"], "freeText": "x"}, "r": {"selected": []}},
            },
        )
    ),
    {"type": "replay.capture_list"},
    {"type": "replay.capture_get", "captureId": "cap_0_00000000"},
    {"type": "replay.capture_delete", "captureId": "cap_0_00000000"},
    {
        "type": "replay.run",
        "environmentId": "e",
        "threadId": "t",
        "captureId": "cap_0_00000000",
        "requestId": "creq_zfv334evzx",
        "speed": 0.5,
    },
    *(
        {
            "type": "workspace.diff",
            "environmentId": "e",
            "workspaceContext": WORKSPACE,
            "target": target,
            "maxDiffBytes": 1,
            "maxFileListBytes": 1,
        }
        for target in (
            {"type": "branch_committed", "mergeBaseBranch": "main"},
            {"type": "all", "mergeBaseBranch": "main"},
            {"type": "commit", "sha": "abCD"},
        )
    ),
]

_RESULTS: list[tuple[str, dict[str, Any]]] = [
    ("codex.inference.complete", {"model": "m", "value": {"a": [1]}}),
    ("codex.voice.transcribe", {"model": "m", "text": "t"}),
    ("replay.capture_list", {"captures": [SUMMARY]}),
    ("replay.capture_get", MANIFEST),
    (
        "host.list_branches",
        {
            "branches": [],
            "branchesTruncated": False,
            "checkout": {"kind": "unknown", "reason": "r"},
            "defaultBranch": None,
            "hasUncommittedChanges": False,
            "operation": {"kind": "unknown", "reason": "r", "hasConflicts": False},
            "remoteBranches": ["origin/main"],
            "remoteBranchesTruncated": False,
            "selectedBranch": None,
        },
    ),
    *(
        (
            "host.list_branches",
            {
                "branches": ["main"],
                "branchesTruncated": False,
                "checkout": checkout,
                "defaultBranch": "main",
                "hasUncommittedChanges": True,
                "operation": {"kind": kind, "hasConflicts": True},
                "remoteBranches": [],
                "remoteBranchesTruncated": False,
                "selectedBranch": {"name": "main", "kind": "local"},
            },
        )
        for kind, checkout in (
            ("merge", {"kind": "detached", "headSha": None}),
            ("rebase", {"kind": "unborn", "branchName": None}),
            ("cherry-pick", {"kind": "branch", "branchName": "b", "headSha": None}),
            ("revert", {"kind": "unborn", "branchName": "main"}),
        )
    ),
    (
        "workspace.status",
        {
            "workspaceStatus": {
                "workingTree": {
                    "hasUncommittedChanges": True,
                    "state": "dirty_uncommitted",
                    "insertions": 1,
                    "deletions": 0,
                    "files": [
                        {"path": "a", "status": "M", "insertions": 1, "deletions": 0},
                        {"path": "b", "status": "??", "insertions": None, "deletions": None},
                    ],
                },
                "branch": {"currentBranch": None, "defaultBranch": ""},
                "mergeBase": {
                    "mergeBaseBranch": "main",
                    "baseRef": None,
                    "aheadCount": 1,
                    "behindCount": 0,
                    "hasCommittedUnmergedChanges": True,
                    "commits": [
                        {
                            "sha": "abcd",
                            "shortSha": "ab",
                            "subject": "s",
                            "authorName": "a",
                            "authoredAt": 1,
                        }
                    ],
                    "files": [],
                    "insertions": 0,
                    "deletions": 0,
                },
            }
        },
    ),
]

_TURN = {"kind": "turn", "turnId": "u"}
_COUNTS = {
    "totalTokens": 1,
    "inputTokens": 1,
    "cachedInputTokens": 0,
    "outputTokens": 0,
    "reasoningOutputTokens": 0.5,
}
_ITEMS: list[dict[str, Any]] = [
    {
        "type": "userMessage",
        "id": "i",
        "content": [
            {"type": "text", "text": "t"},
            {"type": "image", "url": "u"},
            {"type": "localImage", "path": "p"},
            {"type": "localFile", "path": "p"},
        ],
        "clientRequestId": "creq_zfv334evzx",
    },
    {
        "type": "commandExecution",
        "id": "i",
        "command": "c",
        "cwd": "/",
        "status": "interrupted",
        "approvalStatus": "denied",
        "truncation": {"any": "thing"},
        "parentToolCallId": "p",
    },
    {
        "type": "fileChange",
        "id": "i",
        "changes": [
            {"path": "a", "kind": "add"},
            {"path": "a", "kind": "update", "movePath": "b", "diff": "d"},
        ],
        "status": "pending",
        "approvalStatus": "waiting_for_approval",
    },
    {"type": "webSearch", "id": "i", "queries": ["q"], "resultText": None},
    {
        "type": "webFetch",
        "id": "i",
        "url": "u",
        "prompt": None,
        "pattern": "p",
        "resultText": "r",
    },
    {
        "type": "toolCall",
        "id": "i",
        "server": "s",
        "tool": "t",
        "arguments": {"a": None},
        "status": "failed",
        "result": [1],
        "error": "e",
        "durationMs": 1.5,
        "truncation": 1,
    },
    {"type": "toolCall", "id": "i", "tool": "t", "status": "pending"},
    {"type": "reasoning", "id": "i", "summary": ["s"], "content": []},
    {"type": "plan", "id": "i", "text": "t"},
    {"type": "contextCompaction", "id": "i", "parentToolCallId": "p"},
]


def _event(kind: str, scope: dict[str, Any], **extra: object) -> dict[str, Any]:
    return {"type": kind, "threadId": "t", "scope": scope, **extra}


def _turn_event(kind: str, **extra: object) -> dict[str, Any]:
    return _event(kind, _TURN, providerThreadId="p", **extra)


_EVENTS: list[dict[str, Any]] = [
    *(_turn_event("item/completed", item=item) for item in _ITEMS),
    *(
        _turn_event(kind, itemId="i", delta="d", parentToolCallId="p")
        for kind in (
            "item/fileChange/outputDelta",
            "item/reasoning/summaryTextDelta",
            "item/reasoning/textDelta",
            "item/plan/delta",
        )
    ),
    _turn_event("item/commandExecution/outputDelta", itemId="i", delta="", reset=True),
    _turn_event("item/mcpToolCall/progress", itemId="i", message="m"),
    _turn_event("item/toolCall/progress", itemId="i", parentToolCallId="p"),
    _turn_event("thread/compacted"),
    _turn_event(
        "thread/tokenUsage/updated",
        tokenUsage={"total": _COUNTS, "last": _COUNTS, "modelContextWindow": None},
    ),
    _turn_event(
        "thread/contextWindowUsage/updated",
        contextWindowUsage={"usedTokens": None, "modelContextWindow": None, "estimated": True},
    ),
    _turn_event(
        "turn/plan/updated",
        plan=[{"step": "s"}, {"step": "s", "status": "active"}],
        explanation="e",
    ),
    _turn_event("turn/diff/updated", diff="d"),
    _event("turn/completed", _TURN, providerThreadId=None, status="completed"),
    *(
        _event(
            "provider/error",
            scope,
            providerThreadId="p",
            message="m",
            detail="d",
            willRetry=True,
            errorInfo={"category": "rate-limit", "providerCode": None, "httpStatusCode": 429},
        )
        for scope in (_TURN, {"kind": "thread"})
    ),
    _turn_event("provider/warning", category="config", summary="s", details="d"),
    _turn_event(
        "provider/unhandled",
        providerId="codex",
        rawType="r",
        rawEvent={"jsonrpc": "2.0", "id": 1, "method": "m", "params": [1]},
        parentToolCallId="p",
    ),
    _event(
        "system/error",
        {"kind": "thread"},
        message="m",
        reconnectAttempt=1,
        reconnectTotal=1,
    ),
]

_QUESTION = {
    "id": "q",
    "prompt": "p",
    "shortLabel": "s",
    "multiSelect": False,
    "options": [{"value": "v", "label": "l", "description": "d"}, {"value": "w", "label": "l"}],
    "allowFreeText": False,
}
_PAYLOADS: list[dict[str, Any]] = [
    *(
        {
            "kind": "approval",
            "subject": subject,
            "reason": None,
            "availableDecisions": ["allow_for_session"],
        }
        for subject in (
            {
                "kind": "command",
                "itemId": "i",
                "command": "c",
                "cwd": None,
                "actions": [
                    {"type": "read", "command": "c", "name": "n", "path": "p"},
                    {"type": "listFiles", "command": "c", "path": None},
                    {"type": "search", "command": "c", "query": None, "path": "p"},
                    {"type": "unknown", "command": "c"},
                ],
                "sessionGrant": GRANT,
            },
            {"kind": "file_change", "itemId": "i", "writeScope": None, "sessionGrant": None},
            {
                "kind": "permission_grant",
                "itemId": "i",
                "toolName": None,
                "permissions": {"network": None, "fileSystem": None},
            },
        )
    ),
    {"kind": "user_question", "questions": [_QUESTION]},
    {
        "kind": "user_question",
        "questions": [{"id": "q", "prompt": "p", "multiSelect": True, "allowFreeText": True}],
    },
]


def written_samples() -> list[Sample]:
    """What was not recorded, among it every optional field."""
    return [
        *(
            Sample(f"command {one['type']}", COMMANDS[one["type"]].command, one)
            for one in _COMMANDS
        ),
        *(Sample(f"result {name}", COMMANDS[name].result, one) for name, one in _RESULTS),
        *(Sample(f"event {one['type']}", ThreadEvent, one) for one in _EVENTS),
        *(
            Sample(
                "request /internal/session/interactive-request",
                session.InteractiveRequest,
                {
                    "sessionId": "s",
                    "interaction": {
                        "threadId": "t",
                        "turnId": "u",
                        "providerId": "codex",
                        "providerThreadId": "p",
                        "providerRequestId": "r",
                        "payload": payload,
                    },
                },
            )
            for payload in _PAYLOADS
        ),
        *_written_http(),
        *_written_messages(),
    ]


def _written_http() -> list[Sample]:
    opened = {
        "sessionId": "s",
        "heartbeatIntervalMs": 5000,
        "leaseTimeoutMs": 30000,
        "trackedThreadTargets": [{"environmentId": "e", "threadId": "t"}],
    }
    return [
        Sample("response /internal/session/open", session.SessionOpenResponse, opened),
        Sample(
            "response /internal/session/open",
            session.SessionOpenResponse,
            {**opened, "retiredEnvironmentIds": ["e"], "liveEnvironmentIds": []},
        ),
        Sample(
            "request /internal/session/open",
            session.SessionOpenRequest,
            {
                "hostId": "h",
                "instanceId": "i",
                "hostName": "n",
                "hostType": "persistent",
                "dataDir": "/d",
                "protocolVersion": 26,
                "activeThreads": [{"threadId": "t"}],
                "loadedEnvironments": [{"environmentId": "e"}],
                "openTerminals": [{"terminalId": "t"}],
            },
        ),
        Sample("response commands", session.FetchedCommands, {"commands": [{"any": 1}, None]}),
        Sample(
            "request /internal/session/app-data-change",
            session.AppDataChange,
            {
                "sessionId": "s",
                "threadId": "t",
                "appId": "a",
                "path": "a/b",
                "value": None,
                "deleted": True,
                "version": None,
            },
        ),
        Sample(
            "response /internal/session/interactive-request",
            session.InteractiveResponse,
            {"outcome": "rejected", "reason": "r"},
        ),
        Sample(
            "response /internal/session/tool-call",
            session.ToolCallResponse,
            {"success": False, "contentItems": [{"type": "inputImage", "imageUrl": "u"}]},
        ),
        Sample(
            "response /internal/session/events",
            session.EventBatchResponse,
            {
                "acceptedEvents": [],
                "rejectedEvents": [
                    {
                        "producerEventId": "hdevt_2udsu64vskuahpndqjr2",
                        "threadId": "t",
                        "reason": "thread_not_owned_by_host",
                    }
                ],
            },
        ),
        Sample(
            "error",
            session.ErrorBody,
            {"code": "c", "message": "m", "retryable": True, "details": {"a": 1}},
        ),
    ]


def _written_messages() -> list[Sample]:
    return [
        Sample(
            "ws terminal.error",
            DaemonMessage,
            {
                "type": "terminal.error",
                "requestId": "r",
                "terminalId": "t",
                "code": "terminal_not_found",
                "message": "m",
            },
        ),
        Sample(
            "ws terminal.replay",
            DaemonMessage,
            {
                "type": "terminal.replay",
                "requestId": 'r"\\\u00e9',
                "terminalId": 't"\\\u00e9',
                "chunks": [],
                "nextSeq": 0,
            },
        ),
        Sample(
            "ws terminal.output",
            DaemonMessage,
            {
                "type": "terminal.output",
                "terminalId": 't"\\\u2028',
                "chunk": {"seq": 7, "dataBase64": "/+8="},
            },
        ),
    ]


def all_samples() -> list[Sample]:
    return [*recorded_samples(), *written_samples()]
