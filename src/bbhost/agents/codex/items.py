"""From the items of the app-server to items of the wire contract. Pure."""

from typing import Any, Literal

from bbhost.agents.bounds import bounded
from bbhost.agents.raw import (
    Json,
    as_list,
    as_map,
    as_text,
    bounded_json,
    int_or_none,
    number_or_none,
    text_or_none,
)
from bbhost.contract.items import (
    AgentMessageItem,
    ApprovalStatus,
    CommandExecutionItem,
    ContextCompactionItem,
    FileChange,
    FileChangeItem,
    Item,
    ItemStatus,
    PlanItem,
    ReasoningItem,
    ToolCallItem,
    WebFetchItem,
    WebSearchItem,
)

_STATUSES = {
    "inProgress": ItemStatus.PENDING,
    "completed": ItemStatus.COMPLETED,
    "failed": ItemStatus.FAILED,
    "declined": ItemStatus.FAILED,
    "interrupted": ItemStatus.INTERRUPTED,
}
DROPPED = frozenset({"userMessage", "hookPrompt"})
"""Items that the server has already, or that are no part of the conversation."""


def translate_item(raw: Json, *, waiting: bool = False) -> Item | None:
    """The item, or None where the contract has none like it.

    Args:
        waiting: a person has been asked about it.
    """
    item_id = as_text(raw.get("id"))
    match raw.get("type"):
        case "agentMessage":
            return AgentMessageItem(item_id, bounded(as_text(raw.get("text"))))
        case "reasoning":
            return ReasoningItem(item_id, _texts(raw.get("summary")), _texts(raw.get("content")))
        case "plan":
            return PlanItem(item_id, bounded(as_text(raw.get("text"))))
        case "contextCompaction":
            return ContextCompactionItem(item_id)
        case "commandExecution":
            return _command(item_id, raw, waiting)
        case "fileChange":
            changes = tuple(_change(as_map(one)) for one in as_list(raw.get("changes")))
            return FileChangeItem(item_id, changes, _status(raw), _approval(raw, waiting))
        case "mcpToolCall":
            return _mcp_call(item_id, raw)
        case "dynamicToolCall":
            return _dynamic_call(item_id, raw)
        case "webSearch":
            return _web(item_id, raw)
    return None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(bounded(one) for one in as_list(value) if isinstance(one, str))


def _status(raw: Json) -> ItemStatus:
    return _STATUSES.get(as_text(raw.get("status")), ItemStatus.PENDING)


def _approval(raw: Json, waiting: bool) -> ApprovalStatus | None:
    if raw.get("status") == "declined":
        return ApprovalStatus.DENIED
    return ApprovalStatus.WAITING if waiting else None


def _command(item_id: str, raw: Json, waiting: bool) -> Item:
    output = as_text(raw.get("aggregatedOutput"))
    kept = bounded(output)
    return CommandExecutionItem(
        item_id,
        as_text(raw.get("command")),
        as_text(raw.get("cwd")),
        _status(raw),
        _approval(raw, waiting),
        aggregated_output=kept or None,
        exit_code=int_or_none(raw.get("exitCode")),
        duration_ms=number_or_none(raw.get("durationMs")),
        truncation=None if len(kept) == len(output) else {"originalLength": len(output)},
    )


def _change(raw: Json) -> FileChange:
    described = raw.get("kind")
    kind = as_text(described) or as_text(as_map(described).get("type"))
    known: Literal["add", "delete", "update"] = "update"
    if kind == "add":
        known = "add"
    elif kind == "delete":
        known = "delete"
    move = text_or_none(as_map(described).get("move_path"))
    move = move or text_or_none(as_map(described).get("movePath"))
    diff = text_or_none(raw.get("diff"))
    return FileChange(
        as_text(raw.get("path")), known, move, None if diff is None else bounded(diff)
    )


def _mcp_call(item_id: str, raw: Json) -> Item:
    return ToolCallItem(
        item_id,
        as_text(raw.get("tool")),
        _status(raw),
        server=text_or_none(raw.get("server")),
        arguments=_arguments(raw),
        result=bounded_json(raw.get("result")),
        error=bounded_json(raw.get("error")),
        duration_ms=number_or_none(raw.get("durationMs")),
    )


def _dynamic_call(item_id: str, raw: Json) -> Item:
    status = _status(raw)
    if raw.get("success") is False and status is ItemStatus.COMPLETED:
        status = ItemStatus.FAILED
    return ToolCallItem(
        item_id,
        as_text(raw.get("tool")),
        status,
        arguments=_arguments(raw),
        result=bounded_json(raw.get("contentItems")),
        duration_ms=number_or_none(raw.get("durationMs")),
    )


def _arguments(raw: Json) -> dict[str, Any] | None:
    arguments = bounded_json(raw.get("arguments"))
    return arguments if isinstance(arguments, dict) else None


def _web(item_id: str, raw: Json) -> Item:
    action = as_map(raw.get("action"))
    url = text_or_none(action.get("url"))
    if action.get("type") in {"openPage", "findInPage"} and url is not None:
        return WebFetchItem(item_id, url, None, text_or_none(action.get("pattern")), None)
    queries = tuple(one for one in as_list(action.get("queries")) if isinstance(one, str) and one)
    query = text_or_none(raw.get("query")) or text_or_none(action.get("query"))
    return WebSearchItem(item_id, queries or ((query,) if query else ("",)), None)
