"""Looking into JSON of which nothing is certain. Pure.

Agents are programs of others: a field may be missing, null or of another type, and that must never
cost more than the one thing it was needed for.
"""

import math
from collections.abc import Mapping
from typing import Any

from bbhost.contract.codec import dump_json
from bbhost.contract.events import RawRpcEvent
from bbhost.errors import WireError

RAW_CHARACTERS = 32_768
"""Characters of JSON that an event passes on as they are; what is longer is left out."""

Json = Mapping[str, Any]
_NOTHING: Json = {}


def as_map(value: object) -> Json:
    """An object; empty where it is none."""
    return value if isinstance(value, dict) else _NOTHING


def as_list(value: object) -> list[Any]:
    """A list; empty where it is none."""
    return value if isinstance(value, list) else []


def as_text(value: object, default: str = "") -> str:
    """A string; ``default`` where it is none."""
    return value if isinstance(value, str) else default


def text_or_none(value: object) -> str | None:
    """A string that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def number_or_none(value: object) -> float | None:
    """A finite number, or None; an integer stays one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def int_or_none(value: object) -> int | None:
    """An integer, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def bounded_json(value: object) -> object:
    """``value``, or a note in its place where it is too large for an event."""
    try:
        size = len(dump_json(value))
    except WireError:
        return {"omitted": "not representable"}
    return value if size <= RAW_CHARACTERS else {"omitted": f"{size} characters of JSON"}


def raw_event(method: str, params: object, id_: object = None) -> RawRpcEvent:
    """What an agent said, for an event, within bounds."""
    return RawRpcEvent(
        jsonrpc="2.0",
        method=method,
        id=id_,
        params=None if params is None else bounded_json(params),
    )
