"""Questions of the app-server and how their answers are told. Pure."""

from attrs import frozen

from bbhost.agents.raw import Json, as_list, as_map, as_text, text_or_none
from bbhost.contract.codec import unstructure
from bbhost.contract.interactions import (
    Allowed,
    Approval,
    CommandAction,
    CommandSubject,
    Decision,
    Denied,
    FileChangeSubject,
    FileSystemGrant,
    Grant,
    ListFilesAction,
    NetworkGrant,
    PermissionGrantSubject,
    ReadAction,
    Resolution,
    SearchAction,
    UnknownAction,
)

COMMAND = "item/commandExecution/requestApproval"
FILE_CHANGE = "item/fileChange/requestApproval"
PERMISSIONS = "item/permissions/requestApproval"
APPROVALS = frozenset({COMMAND, FILE_CHANGE, PERMISSIONS})

_ALL: tuple[Decision, ...] = ("allow_once", "allow_for_session", "deny")
_KNOWN: dict[str, Decision] = {
    "accept": "allow_once",
    "acceptForSession": "allow_for_session",
    "decline": "deny",
    "cancel": "deny",
}


@frozen
class CodexQuestion:
    """One question, as the server gets it."""

    turn_id: str
    item_id: str
    payload: Approval


def question_of(method: str, params: Json, item: Json) -> CodexQuestion:
    """Translate one of the ``APPROVALS``.

    Args:
        item: the item it is about, as far as it is known.
    """
    item_id = as_text(params.get("itemId")) or as_text(params.get("callId"))
    reason = text_or_none(params.get("reason"))
    subject: CommandSubject | FileChangeSubject | PermissionGrantSubject
    if method == COMMAND:
        command = as_text(params.get("command")) or as_text(item.get("command")) or "command"
        actions = as_list(params.get("commandActions")) or as_list(item.get("commandActions"))
        subject = CommandSubject(
            item_id,
            command,
            text_or_none(params.get("cwd")) or text_or_none(item.get("cwd")),
            tuple(_action(as_map(one), command) for one in actions) or (UnknownAction(command),),
            None,
        )
    elif method == FILE_CHANGE:
        subject = FileChangeSubject(item_id, text_or_none(params.get("grantRoot")), None)
    else:
        permissions = grant_of(as_map(params.get("permissions")))
        subject = PermissionGrantSubject(
            item_id, text_or_none(params.get("toolName")), permissions
        )
    payload = Approval(subject, reason, _decisions(params))
    return CodexQuestion(as_text(params.get("turnId")), item_id, payload)


def _decisions(params: Json) -> tuple[Decision, ...]:
    offered = {_KNOWN[one] for one in as_list(params.get("availableDecisions")) if one in _KNOWN}
    return tuple(one for one in _ALL if one in offered) or _ALL


def _action(raw: Json, command: str) -> CommandAction:
    part = as_text(raw.get("command")) or command
    match raw.get("type"):
        case "read":
            return ReadAction(part, as_text(raw.get("name")), as_text(raw.get("path")))
        case "listFiles":
            return ListFilesAction(part, text_or_none(raw.get("path")))
        case "search":
            return SearchAction(
                part, text_or_none(raw.get("query")), text_or_none(raw.get("path"))
            )
    return UnknownAction(part)


def grant_of(raw: Json) -> Grant:
    """The permissions that are asked for."""
    network, files = raw.get("network"), raw.get("fileSystem")
    enabled = as_map(network).get("enabled")
    return Grant(
        None if network is None else NetworkGrant(enabled if isinstance(enabled, bool) else None),
        None
        if files is None
        else FileSystemGrant(_paths(as_map(files), "read"), _paths(as_map(files), "write")),
    )


def _paths(raw: Json, access: str) -> tuple[str, ...]:
    """Paths of one kind of access: a list of them, or entries that each say what they are for."""
    paths = [one for one in as_list(raw.get(access)) if isinstance(one, str)]
    for entry in map(as_map, as_list(raw.get("entries"))):
        path = as_text(as_map(entry.get("path")).get("path"))
        if entry.get("access") == access and path and path not in paths:
            paths.append(path)
    return tuple(paths)


def answer_of(method: str, resolution: Resolution | None, asked: Approval) -> Json:
    """What the app-server is answered; without a resolution, it gives up the turn's step."""
    if method == PERMISSIONS:
        if isinstance(resolution, Allowed):
            requested = getattr(asked.subject, "permissions", Grant(None, None))
            granted = resolution.granted_permissions or requested
            scope = "session" if resolution.decision == "allow_for_session" else "turn"
            given = {
                key: value for key, value in unstructure(granted).items() if value is not None
            }
            return {"permissions": given, "scope": scope}
        return {"permissions": {}, "scope": "turn"}
    match resolution:
        case Allowed(decision="allow_for_session"):
            return {"decision": "acceptForSession"}
        case Allowed():
            return {"decision": "accept"}
        case Denied():
            return {"decision": "decline"}
    return {"decision": "cancel"}
