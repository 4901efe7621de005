"""Events of a thread, as lines for people. Takes raw JSON: an event of a newer daemon is named, too."""

from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]


def lines_of(event: Event) -> Iterator[str]:
    """Give the lines that tell of an event; none where it is a part of something told later."""
    kind = event["type"]
    match kind:
        case "turn/started":
            yield "--- turn"
        case "turn/completed":
            error = event.get("error") or {}
            yield f"--- {event['status']}" + (f": {error['message']}" if error else "")
        case "item/completed":
            yield from _item_lines(event["item"])
        case "provider/error" | "system/error":
            yield f"! {event['message']}"
        case "provider/warning":
            yield f"! {event.get('summary') or event.get('details') or event['category']}"
        case "thread/name/updated":
            yield f"--- title: {event.get('threadName')}"


def ends_turn(event: Event) -> bool:
    """Whether a turn has ended with this event."""
    return bool(event["type"] == "turn/completed")


def _item_lines(item: Event) -> Iterator[str]:
    match item["type"]:
        case "userMessage":
            said = " ".join(part.get("text") or part.get("path", "") for part in item["content"])
            yield from _prefixed("> ", said)
        case "agentMessage":
            yield from item["text"].splitlines()
        case "plan":
            yield from _prefixed("plan: ", item["text"])
        case "reasoning":
            yield from _prefixed("~ ", "\n".join(item["summary"]))
        case "commandExecution":
            yield f"$ {item['command']}"
            yield from _prefixed("| ", item.get("aggregatedOutput") or "")
            if item.get("exitCode"):
                yield f"| (exit code {item['exitCode']})"
        case "fileChange":
            for change in item["changes"]:
                yield f"{change['kind']} {change['path']}"
        case "toolCall":
            yield f"tool {item['tool']}: {item['status']}"
        case "webSearch":
            yield f"search {', '.join(item['queries'])}"
        case "webFetch":
            yield f"fetch {item['url']}"


def _prefixed(mark: str, text: str) -> Iterator[str]:
    return (f"{mark}{line}" for line in text.splitlines())
