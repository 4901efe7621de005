"""Events of a thread, as lines for people. Takes raw JSON: an event of a newer daemon is named, too.

What an agent says and what its commands print is shown line by line as it comes; the completed item adds what
was not shown yet. Lines are not cleaned here: whoever prints them does that.
"""

from collections.abc import Iterator
from typing import Any

from attrs import define, field

Event = dict[str, Any]
OUTPUT_LINES = 40
"""Lines shown of what one command prints; of the rest, the number is told."""
PENDING_CHARACTERS = 4_096
"""An unfinished line that is longer is shown in pieces."""
STDERR_LINES = 10
"""Lines shown of what an agent that has gone wrote to stderr."""
_CHANGES = {"add": "added", "delete": "deleted", "update": "changed"}
_MARKS = {"completed": "x", "active": ">", "failed": "!"}


def ends_turn(event: Event) -> bool:
    """Whether a turn has ended with this event."""
    return bool(event["type"] == "turn/completed")


@define
class _Stream:
    """Text that is shown while it comes."""

    mark: str = ""
    limit: int | None = None
    """Lines to show; None for all of them."""
    shown: int = 0
    """Characters that need not be shown again."""
    pending: str = ""
    lines: int = 0

    def feed(self, text: str) -> Iterator[str]:
        """Take more text; give the lines that are whole."""
        *whole, self.pending = (self.pending + text).split("\n")
        for line in whole:
            self.shown += len(line) + 1
            yield from self._show(line)
        if len(self.pending) > PENDING_CHARACTERS:
            self.shown += len(self.pending)
            yield from self._show(self.pending)
            self.pending = ""

    def restart(self) -> None:
        """What comes now replaces what came before."""
        self.shown, self.pending = 0, ""

    def finish(self, text: str) -> Iterator[str]:
        """The whole text is known: give what of it was not shown."""
        # The bound on an item is lower than that on what is streamed: then the stream has more.
        rest = text[self.shown :] if len(text) >= self.shown else self.pending
        self.pending = ""
        for line in rest.splitlines():
            yield from self._show(line)
        if self.limit is not None and self.lines > self.limit:
            yield f"{self.mark}({self.lines - self.limit} more lines)"

    def _show(self, line: str) -> Iterator[str]:
        self.lines += 1
        if self.limit is None or self.lines <= self.limit:
            yield f"{self.mark}{line.removesuffix(chr(13))}"


@define
class Rendering:
    """Turns the events of one thread into lines, in order."""

    tells_questions: bool = False
    """Whether to tell that the agent waits for an approval; not where it is asked at the prompt."""
    _streams: dict[str, _Stream] = field(factory=dict)
    """By item; emptied with each turn."""
    _last_problem: str = ""
    _last_plan: list[str] = field(factory=list)

    def lines(self, event: Event) -> Iterator[str]:
        """Give the lines that tell of an event; none where it is a part of something told later."""
        kind = event["type"]
        match kind:
            case "turn/started":
                self._streams.clear()
                self._last_problem, self._last_plan = "", []
                yield "--- turn"
            case "turn/completed":
                message = (event.get("error") or {}).get("message") or ""
                told = not message or message == self._last_problem
                yield f"--- {event['status']}" + ("" if told else f": {message}")
            case "item/started":
                yield from self._started(event["item"])
            case "item/agentMessage/delta":
                yield from self._stream(event["itemId"]).feed(event["delta"])
            case "item/commandExecution/outputDelta":
                stream = self._command_stream(event["itemId"])
                if event.get("reset"):
                    stream.restart()
                yield from stream.feed(event["delta"])
            case "item/completed":
                yield from self._completed(event["item"])
            case "turn/plan/updated":
                yield from self._plan(event["plan"])
            case "provider/error" | "system/error":
                yield from self._problem(event)
            case "provider/warning":
                yield f"! {event.get('summary') or event.get('details') or event['category']}"
            case "thread/name/updated":
                yield f"--- title: {event.get('threadName')}"
            case "thread/compacted":
                yield "--- the conversation was compacted"

    def _stream(self, item_id: str) -> _Stream:
        return self._streams.setdefault(item_id, _Stream())

    def _command_stream(self, item_id: str) -> _Stream:
        return self._streams.setdefault(item_id, _Stream("| ", OUTPUT_LINES))

    def _started(self, item: Event) -> Iterator[str]:
        if item.get("approvalStatus") == "waiting_for_approval":
            if self.tells_questions:
                yield f"? waits for an approval: {_subject(item)}"
        elif item["type"] == "commandExecution" and item["id"] not in self._streams:
            self._command_stream(item["id"])
            yield f"$ {item['command']}"

    def _completed(self, item: Event) -> Iterator[str]:
        match item["type"]:
            case "userMessage":
                said = " ".join(
                    part.get("text") or part.get("path", "") for part in item["content"]
                )
                yield from _prefixed("> ", said)
            case "agentMessage":
                yield from self._stream(item["id"]).finish(item["text"])
            case "plan":
                yield from _prefixed("plan: ", item["text"])
            case "reasoning":
                yield from _prefixed("~ ", "\n".join(item["summary"]))
            case "commandExecution":
                yield from self._command(item)
            case "fileChange":
                denied = item.get("approvalStatus") == "denied"
                for change in item["changes"]:
                    yield _change(change) + (" (denied)" if denied else "")
            case "toolCall":
                yield _tool(item)
            case "webSearch":
                yield f"search {', '.join(item['queries'])}"
            case "webFetch":
                yield f"fetch {item['url']}"
        self._streams.pop(item["id"], None)

    def _command(self, item: Event) -> Iterator[str]:
        if item["id"] not in self._streams:
            yield f"$ {item['command']}"
        yield from self._command_stream(item["id"]).finish(item.get("aggregatedOutput") or "")
        if item.get("approvalStatus") == "denied":
            yield "| (denied)"
        elif item.get("exitCode"):
            yield f"| (exit code {item['exitCode']})"
        elif item["status"] in {"failed", "interrupted"}:
            yield f"| ({item['status']})"

    def _plan(self, plan: list[Event]) -> Iterator[str]:
        steps = [
            f"plan: [{_MARKS.get(one.get('status') or '', ' ')}] {one['step']}" for one in plan
        ]
        if steps != self._last_plan:
            self._last_plan = steps
            yield from steps

    def _problem(self, event: Event) -> Iterator[str]:
        message = event["message"]
        if message != self._last_problem:
            self._last_problem = message
            yield f"! {message}"
        if event["type"] == "system/error" and event.get("detail"):
            yield from _prefixed("| ", "\n".join(event["detail"].splitlines()[-STDERR_LINES:]))


def _subject(item: Event) -> str:
    if item["type"] == "commandExecution":
        return str(item["command"])
    return ", ".join(_change(one) for one in item.get("changes", ())) or str(item["type"])


def _change(change: Event) -> str:
    what = _CHANGES.get(change["kind"], change["kind"])
    moved = f" -> {change['movePath']}" if change.get("movePath") else ""
    lines = (change.get("diff") or "").splitlines()
    added = sum(one.startswith("+") and not one.startswith("+++") for one in lines)
    removed = sum(one.startswith("-") and not one.startswith("---") for one in lines)
    size = f" (+{added} -{removed})" if change["kind"] == "update" and lines else ""
    return f"{what} {change['path']}{moved}{size}"


def _tool(item: Event) -> str:
    name = f"{item['server']}/{item['tool']}" if item.get("server") else item["tool"]
    error = item.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return f"tool {name}: {item['status']}" + (f": {error}" if error else "")


def _prefixed(mark: str, text: str) -> Iterator[str]:
    return (f"{mark}{line}" for line in text.splitlines())
