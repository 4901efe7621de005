"""A tool call of an agent as an item. Pure.

The kind that a call begins with decides what item it is; an item does not change its type.
"""

from collections.abc import Sequence
from typing import Any

from attrs import define, field

from bbhost.agents.bounds import ITEM_CHARACTERS, bounded
from bbhost.agents.raw import (
    Json,
    as_map,
    as_text,
    bounded_json,
    int_or_none,
    text_or_none,
)
from bbhost.contract.items import (
    ApprovalStatus,
    CommandExecutionItem,
    FileChange,
    FileChangeItem,
    Item,
    ItemStatus,
    ToolCallItem,
    WebFetchItem,
)

DIFF_CHARACTERS = 128 * 1024
"""Characters of the two texts of a change together above which no diff is made of them."""
_EDITS = frozenset({"edit", "delete", "move"})
_STATUSES = {
    "pending": ItemStatus.PENDING,
    "in_progress": ItemStatus.PENDING,
    "completed": ItemStatus.COMPLETED,
    "failed": ItemStatus.FAILED,
}


@define(eq=False)
class ToolCall:
    """One tool call, as far as it is known."""

    id: str
    workspace: str
    kind: str = "other"
    title: str = ""
    status: ItemStatus = ItemStatus.PENDING
    approval: ApprovalStatus | None = None
    raw_input: object = None
    raw_output: object = None
    content: list[Any] = field(factory=list)
    locations: list[str] = field(factory=list)
    form: str = ""
    """Kind with which it began."""

    def merge(self, update: Json) -> None:
        """Take what an update says; what it does not mention stays."""
        self.title = text_or_none(update.get("title")) or self.title
        self.kind = text_or_none(update.get("kind")) or self.kind
        self.form = self.form or self.kind
        self.status = _STATUSES.get(as_text(update.get("status")), self.status)
        if update.get("rawInput") is not None:
            self.raw_input = update["rawInput"]
        if update.get("rawOutput") is not None:
            self.raw_output = update["rawOutput"]
        if isinstance(update.get("content"), list):
            self.content = update["content"]
        if isinstance(update.get("locations"), list):
            paths = [as_text(as_map(one).get("path")) for one in update["locations"]]
            self.locations = [path for path in paths if path]

    @property
    def is_over(self) -> bool:
        """It has completed or failed."""
        return self.status is not ItemStatus.PENDING

    @property
    def command(self) -> str:
        """The command line, where it is one."""
        raw = as_map(self.raw_input)
        for key in ("command", "cmd", "script"):
            value = raw.get(key)
            if isinstance(value, list):
                return " ".join(as_text(word) for word in value)
            if isinstance(value, str) and value:
                return value
        return self.title

    @property
    def output(self) -> str:
        """Text that it has produced so far."""
        return bounded("\n".join(part for part in map(_content_text, self.content) if part))

    def item(self, status: ItemStatus | None = None) -> Item:
        """The item as it stands, or as it stands with another status."""
        status = status or self.status
        if self.form == "execute":
            return self._command_item(status)
        if self.form in _EDITS:
            return FileChangeItem(self.id, self.changes(), status, self.approval)
        url = text_or_none(as_map(self.raw_input).get("url"))
        if self.form == "fetch" and url is not None:
            prompt = text_or_none(as_map(self.raw_input).get("prompt"))
            return WebFetchItem(self.id, url, prompt, None, self.output or None)
        return self._tool_item(status)

    def _command_item(self, status: ItemStatus) -> Item:
        raw = as_map(self.raw_output)
        code = int_or_none(raw.get("exitCode"))
        if code is None:
            code = int_or_none(raw.get("exit_code"))
        return CommandExecutionItem(
            self.id,
            self.command,
            text_or_none(as_map(self.raw_input).get("cwd")) or self.workspace,
            status,
            self.approval,
            aggregated_output=self.output or None,
            exit_code=code,
        )

    def _tool_item(self, status: ItemStatus) -> Item:
        arguments = bounded_json(self.raw_input)
        result = self.output or bounded_json(self.raw_output)
        failed = status is ItemStatus.FAILED
        return ToolCallItem(
            self.id,
            self.title or self.kind,
            status,
            arguments=arguments if isinstance(arguments, dict) else None,
            result=None if failed else result or None,
            error=result or None if failed else None,
        )

    def changes(self) -> tuple[FileChange, ...]:
        """The files it changes, with diffs where they are known and not too large."""
        found = [
            _change(as_map(one), self.kind)
            for one in self.content
            if as_map(one).get("type") == "diff" and as_text(as_map(one).get("path"))
        ]
        if found:
            return tuple(found)
        kind = "delete" if self.kind == "delete" else "update"
        return tuple(FileChange(path, kind) for path in self.locations)  # type: ignore[arg-type] # one of the kinds


def _content_text(part: object) -> str:
    body = as_map(part)
    if body.get("type") != "content":
        return ""
    return block_text(body.get("content"))


def block_text(block: object) -> str:
    """A content block as text; what is not text is named."""
    body = as_map(block)
    match body.get("type"):
        case "text":
            return as_text(body.get("text"))
        case "resource_link":
            return as_text(body.get("uri"))
        case "resource":
            resource = as_map(body.get("resource"))
            return as_text(resource.get("text")) or as_text(resource.get("uri"))
        case "image" | "audio" as kind:
            return f"[{kind} {as_text(body.get('mimeType'))}]"
    return ""


def _change(diff: Json, call_kind: str) -> FileChange:
    path = as_text(diff.get("path"))
    old, new = diff.get("oldText"), as_text(diff.get("newText"))
    kind = "delete" if call_kind == "delete" else "add" if old is None else "update"
    return FileChange(path, kind, diff=_unified(path, as_text(old), new))  # type: ignore[arg-type] # one of the kinds


def _unified(path: str, old: str, new: str) -> str | None:
    if len(old) + len(new) > DIFF_CHARACTERS:
        return None
    import difflib  # only some agents send both texts

    lines: Sequence[str] = list(
        difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), path, path, n=3
        )
    )
    return bounded("".join(lines), ITEM_CHARACTERS)
