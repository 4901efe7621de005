"""What the command line prints. Everything that comes from elsewhere is shown, never obeyed:
a control character in a branch name or a log line cannot reach the terminal.
"""

import json
import sys
import time
from collections.abc import Sequence

_CONTROLS = {
    code: f"\\x{code:02x}"
    for code in [*range(0x20), 0x7F, *range(0x80, 0xA0)]
    if code not in (0x09, 0x0A)
}
_BIDI = {code: f"\\u{code:04x}" for code in [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
_ONE_LINE = {**_CONTROLS, **_BIDI, 0x09: "\\t", 0x0A: "\\n"}
_SEVERAL_LINES = {**_CONTROLS, **_BIDI}


def clean(text: object) -> str:
    """Return ``text`` on one line, control characters escaped."""
    return str(text).translate(_ONE_LINE)


def clean_lines(text: str) -> str:
    """Return ``text`` with its line breaks and tabs, other control characters escaped."""
    return text.translate(_SEVERAL_LINES)


def say(text: str = "") -> None:
    """Print a line of the answer. The caller has cleaned what comes from elsewhere."""
    _write(sys.stdout, text + "\n")


def note(text: str) -> None:
    """Print a line beside the answer: progress, warnings, errors."""
    _write(sys.stderr, text + "\n")


def say_json(value: object) -> None:
    """Print one JSON document on a line of its own. ASCII, so that no control character is in it."""
    _write(sys.stdout, json.dumps(value, default=str) + "\n")


def say_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as their widest cell."""
    cells = [
        list(headers),
        *([clean("-" if cell is None else cell) for cell in row] for row in rows),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(line.rstrip())


def say_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names with their values, one to a line; absent values are left out."""
    shown = [(name, value) for name, value in facts if value is not None and value != ""]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{name:<{width}}  {clean(value)}")


def age(since_ms: int | None) -> str:
    """Return how long ago a time was, such as ``3m``. Milliseconds since the epoch."""
    if since_ms is None:
        return "-"
    return span(time.time() * 1000 - since_ms)


def span(milliseconds: float) -> str:
    """Return a length of time in its largest unit."""
    seconds = max(0, int(milliseconds / 1000))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _write(stream: object, text: str) -> None:
    # Paths may hold bytes that are no text; they are shown escaped rather than failing the command.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]
