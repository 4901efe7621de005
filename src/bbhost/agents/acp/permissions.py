"""Permission requests: what may be decided at once, what is asked, and how an answer is told. Pure.

The protocol leaves it to the agent what it asks permission for; there is no sandbox. The permission
mode of the thread therefore decides about what is asked, and cannot do more than that.
"""

from os.path import normpath
from typing import Any

from bbhost.agents.acp.tool_items import ToolCall
from bbhost.agents.raw import Json, as_list, as_map, as_text, text_or_none
from bbhost.contract.execution import ExecutionOptions, PermissionEscalation, PermissionMode
from bbhost.contract.interactions import (
    Allowed,
    Approval,
    CommandSubject,
    Decision,
    Denied,
    FileChangeSubject,
    Grant,
    PermissionGrantSubject,
    Resolution,
    UnknownAction,
)

_HARMLESS = frozenset({"read", "search", "think"})
_EDITS = frozenset({"edit", "delete", "move"})
_CANCELLED: Json = {"outcome": {"outcome": "cancelled"}}
_ALLOWS: tuple[tuple[str, Decision], ...] = (
    ("allow_once", "allow_once"),
    ("allow_always", "allow_for_session"),
)


def tool_call_of(params: Json, workspace: str) -> ToolCall:
    """The tool call that permission is asked for."""
    update = as_map(params.get("toolCall"))
    call = ToolCall(as_text(update.get("toolCallId")) or "tool-call", workspace)
    call.merge(update)
    return call


def decide_at_once(call: ToolCall, options: ExecutionOptions) -> bool | None:
    """What the permission mode says: True allow, False deny, None ask a person."""
    mode = options.permission_mode
    if mode is PermissionMode.FULL or call.kind in _HARMLESS:
        return True
    if mode is PermissionMode.WORKSPACE_WRITE and call.kind in _EDITS and _is_inside(call):
        return True
    return None if options.permission_escalation is PermissionEscalation.ASK else False


def _is_inside(call: ToolCall) -> bool:
    paths = [change.path for change in call.changes()]
    root = call.workspace.rstrip("/") + "/"
    return bool(paths) and all(normpath(path).startswith(root) for path in paths)


def approval_of(params: Json, call: ToolCall) -> Approval | None:
    """The question for a person; None where the agent offers nothing to choose."""
    kinds = _kinds(params)
    decisions: list[Decision] = [decision for kind, decision in _ALLOWS if kind in kinds]
    if not decisions:
        return None
    subject: CommandSubject | FileChangeSubject | PermissionGrantSubject
    if call.form == "execute":
        command = call.command or call.title or "command"
        cwd = text_or_none(as_map(call.raw_input).get("cwd")) or call.workspace
        subject = CommandSubject(call.id, command, cwd, (UnknownAction(command),), None)
    elif call.form in _EDITS:
        subject = FileChangeSubject(call.id, None, None)
    else:
        subject = PermissionGrantSubject(call.id, call.title or call.kind, Grant(None, None))
    return Approval(subject, call.title or None, (*decisions, "deny"))


def answer_of(params: Json, resolution: Resolution | None) -> Json:
    """What the agent is answered."""
    match resolution:
        case Allowed(decision="allow_for_session"):
            return _choose(params, "allow_always", "allow_once")
        case Allowed():
            return _choose(params, "allow_once", "allow_always")
        case Denied():
            return _choose(params, "reject_once", "reject_always")
    return _CANCELLED


def _choose(params: Json, *kinds: str) -> Json:
    offered = _kinds(params)
    for kind in kinds:
        if kind in offered:
            outcome: dict[str, Any] = {"outcome": "selected", "optionId": offered[kind]}
            return {"outcome": outcome}
    return _CANCELLED


def _kinds(params: Json) -> dict[str, str]:
    """Option ids by kind; the first of each kind counts."""
    kinds: dict[str, str] = {}
    for option in map(as_map, as_list(params.get("options"))):
        option_id = as_text(option.get("optionId"))
        if option_id:
            kinds.setdefault(as_text(option.get("kind")), option_id)
    return kinds
