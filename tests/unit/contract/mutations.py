"""Every small way in which a message can be wrong."""

import copy
from collections.abc import Iterator
from typing import Any

from attrs import frozen

Step = str | int

UNEXPECTED = "unexpectedKey"


@frozen
class Mutation:
    """One change of a message: what is done, where, and what comes out."""

    what: str
    """``drop`` a key, make it ``null``, give it another ``type``, or add an ``extra`` key."""
    path: str
    """Keys joined by dots; every index of a list is ``[]``, a member of a union is ``<member>``."""
    data: Any


def mutations(data: Any) -> Iterator[Mutation]:
    """All mutations of a message, at every depth."""
    for steps, value in _walk(data, ()):
        path = _path(data, steps)
        if steps:
            yield Mutation("type", path, _with(data, steps, _of_another_type(value)))
            if value is not None:
                yield Mutation("null", path, _with(data, steps, None))
            if isinstance(steps[-1], str):
                yield Mutation("drop", path, _without(data, steps))
        if isinstance(value, dict):
            yield Mutation("extra", path, _with(data, (*steps, UNEXPECTED), 1))


def _walk(value: Any, steps: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], Any]]:
    yield steps, value
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _walk(one, (*steps, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _walk(one, (*steps, index))


def _path(data: Any, steps: tuple[Step, ...]) -> str:
    path = ""
    for step in steps:
        if isinstance(step, str) and path:
            path += _variant(data) + "."
        path += "[]" if isinstance(step, int) else step
        data = data[step]
    return path + _variant(data) if isinstance(data, dict) and steps else path


def _variant(data: dict[str, Any]) -> str:
    """Which member of a union an object is."""
    for key in ("type", "kind", "mode"):
        if isinstance(data.get(key), str):
            return f"<{data[key]}>"
    return ""


def _of_another_type(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case int() | float():
            return str(value)
        case str():
            return [value]
        case list():
            return {}
        case dict():
            return [value]
        case _:
            return {UNEXPECTED: 1}


def _with(data: Any, steps: tuple[Step, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    _parent(changed, steps)[steps[-1]] = value
    return changed


def _without(data: Any, steps: tuple[Step, ...]) -> Any:
    changed = copy.deepcopy(data)
    del _parent(changed, steps)[steps[-1]]
    return changed


def _parent(data: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps[:-1]:
        data = data[step]
    return data
