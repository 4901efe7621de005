"""Types of fields that are narrower than Python's: ranges, patterns and lengths.

To a type checker they are what they hold (``NonEmpty`` is ``str``); the codec enforces the rest.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from bbhost.contract.branch_names import branch_name_problem
from bbhost.contract.ids import is_client_request_id, is_producer_event_id
from bbhost.contract.text import is_blank, wire_length
from bbhost.contract.wire import Rule


def _between(low: float, high: float | None = None) -> Rule:
    wanted = f"must be at least {low}" if high is None else f"must be from {low} to {high}"

    def check(value: float) -> str | None:
        return wanted if value < low or (high is not None and value > high) else None

    return Rule(check)


def _length(low: int, high: int) -> Rule:
    def check(value: str) -> str | None:
        if low <= len(value) <= high and wire_length(value) <= high:
            return None
        return f"must have {low} to {high} characters"

    return Rule(check)


def _that(holds: Callable[[Any], object], problem: str) -> Rule:
    return Rule(lambda value: None if holds(value) else problem)


def count_between(low: int, high: int) -> Rule:
    """A list of ``low`` to ``high`` elements."""
    return _that(lambda value: low <= len(value) <= high, f"must have {low} to {high} elements")


AT_LEAST_ONE = _that(len, "must have at least one element")

# --- numbers --------------------------------------------------------------------------------

Number = float
"""Any finite number; an integer stays one."""
Count = Annotated[int, _between(0)]
PositiveInt = Annotated[int, _between(1)]
AtLeastZero = Annotated[float, _between(0)]
Columns = Annotated[int, _between(1, 500)]
Rows = Annotated[int, _between(1, 200)]
FileLimit = Annotated[int, _between(1, 10_000)]
BranchLimit = Annotated[int, _between(1, 1_000)]
ReplaySpeed = Annotated[
    float, _that({0.5, 1, 2, 5, 10}.__contains__, "must be 0.5, 1, 2, 5 or 10")
]

# --- strings --------------------------------------------------------------------------------

NonEmpty = Annotated[str, _that(len, "must not be empty")]
NonBlank = Annotated[str, _that(lambda value: not is_blank(value), "must not be blank")]
Query = Annotated[str, _length(0, 256)]
FreeText = Annotated[str, _length(1, 4096)]
BranchName = Annotated[str, Rule(branch_name_problem)]
ClientRequestId = Annotated[str, _that(is_client_request_id, "must be a creq_ id")]
ProducerEventId = Annotated[str, _that(is_producer_event_id, "must be an hdevt_ id")]
CommitPrefix = Annotated[
    str, _that(re.compile(r"[0-9a-fA-F]{4,40}").fullmatch, "must be 4 to 40 hex digits")
]
AppId = Annotated[str, _that(re.compile(r"[A-Za-z0-9_-]+").fullmatch, "must be an app id")]
Url = Annotated[
    str, _that(re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+").fullmatch, "must be a URL")
]

_SEGMENT = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,80}")


def _app_data_path_problem(path: str) -> str | None:
    segments = path.split("/")
    if len(path) <= 512 and len(segments) <= 8 and all(map(_SEGMENT.fullmatch, segments)):
        return None
    return "must be an app data path"


AppDataPath = Annotated[str, Rule(_app_data_path_problem)]

# --- bytes ----------------------------------------------------------------------------------

MAX_CHUNK_BYTES = 65_536
"""Most bytes of one piece of terminal input or output."""

TerminalBytes = Annotated[
    bytes,
    _that(
        lambda data: 1 <= len(data) <= MAX_CHUNK_BYTES, f"must hold 1 to {MAX_CHUNK_BYTES} bytes"
    ),
]
"""Bytes in memory, canonical base64 on the wire."""
