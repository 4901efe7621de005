"""Reading lists, maps and unions. ``find`` gives the hook of any type; the codec passes its own."""

import typing
from collections.abc import Callable
from typing import Any

import attrs

from bbhost.contract.plain import read_object
from bbhost.contract.wire import Rule, chooser_of, shape_of, wire_name
from bbhost.contract.wire_types import (
    FindHook,
    Hook,
    Json,
    WireType,
    is_nullable,
    members_of,
    quote,
)
from bbhost.errors import WireError


class MisplacedError(Exception):
    """A fault inside a list or a map; ``place`` says where, ``cause`` what."""

    def __init__(self, place: str, cause: Exception) -> None:
        super().__init__(place)
        self.place = place
        self.cause = cause


def make_annotated_hook(annotated: WireType, find: FindHook) -> Hook:
    """Read a type and check the rules attached to it."""
    base, *notes = typing.get_args(annotated)
    read = find(base)
    checks = [note.check for note in notes if isinstance(note, Rule)]

    def read_checked(value: Json, _type: WireType) -> object:
        result = read(value, base)
        for check in checks:
            problem = check(result)
            if problem is not None:
                raise WireError(problem)
        return result

    return read_checked


def make_tuple_hook(sequence: WireType, find: FindHook) -> Hook:
    """Read a JSON list into a tuple."""
    element = typing.get_args(sequence)[0]
    read = find(element)

    def read_tuple(value: Json, _type: WireType) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise WireError("must be a list")
        index = -1
        try:
            # The index of the fault is found by counting what was read before it.
            result = []
            for index, one in enumerate(value):  # noqa: B007 - used where reading fails
                result.append(read(one, element))
            return tuple(result)
        except Exception as error:
            raise MisplacedError(f"[{index}]", error) from None

    return read_tuple


def make_mapping_hook(mapping: WireType, find: FindHook) -> Hook:
    """Read a JSON object whose values are of one type."""
    element = typing.get_args(mapping)[1]
    if element in {object, Any}:
        return read_object
    read = find(element)

    def read_mapping(value: Json, _type: WireType) -> dict[str, Any]:
        result = {}
        for key, one in read_object(value, dict).items():
            try:
                result[key] = read(one, element)
            except Exception as error:
                raise MisplacedError(f"[{quote(key)}]", error) from None
        return result

    return read_mapping


# --- unions ---------------------------------------------------------------------------------


def make_union_hook(union: WireType, find: FindHook) -> Hook:
    """Read a value or null, or the member of a union that its tag names."""
    members = members_of(union)
    read = find(members[0]) if len(members) == 1 else _make_choice_hook(members, find)
    if not is_nullable(union):
        return read
    inner = members[0]

    def read_nullable(value: Json, _type: WireType) -> object:
        return None if value is None else read(value, inner)

    return read_nullable


def _make_choice_hook(members: tuple[WireType, ...], find: FindHook) -> Hook:
    choose = chooser_of(members)
    if choose is not None:
        return _make_chosen_hook(choose, find)
    key, table = _tag_table(members)
    hooks = {tag: (find(cls), cls) for tag, cls in table.items()}
    kind = type(next(iter(table)))
    names = ", ".join(str(tag) for tag in table)

    def read_choice(value: Json, _type: WireType) -> object:
        if not isinstance(value, dict):
            raise WireError("must be an object")
        tag = value.get(key)
        # The type is compared too: 1 equals True, and a list cannot be looked up.
        found = hooks.get(tag) if type(tag) is kind else None
        if found is None:
            raise WireError(f"{key} must be one of {names}, not {quote(tag)}")
        return found[0](value, found[1])

    return read_choice


def _make_chosen_hook(choose: Callable[[dict[str, Any]], Any], find: FindHook) -> Hook:
    def read_chosen(value: Json, _type: WireType) -> object:
        chosen = choose(read_object(value, dict))
        return find(chosen)(value, chosen)

    return read_chosen


def _tag_table(members: tuple[WireType, ...]) -> tuple[str, dict[Any, Any]]:
    """The key that tells the members apart, and the member of each of its values."""
    keys = [shape_of(cls).tag_key for cls in members]
    key = next(one for one in keys if one is not None)
    table: dict[Any, Any] = {}
    for cls in members:
        shape = shape_of(cls)
        if shape.tag_key == key:
            tags: tuple[Any, ...] = (shape.tag,)
        else:  # a member with several values has them as a Literal or an enumeration
            kind = next(one.type for one in attrs.fields(cls) if wire_name(one) == key)
            tags = typing.get_args(kind) or tuple(one.value for one in kind)
        for tag in tags:
            if tag in table:
                raise TypeError(f"{cls.__name__}: {key}={tag!r} is taken")
            table[tag] = cls
    return key, table
