"""Looking at the types of fields, which may be classes, unions or Annotated."""

import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

Json = Any
"""What comes out of ``json.loads``, or any part of it."""
WireType = Any
"""A class, a union, an Annotated: anything that may stand as the type of a field."""
Hook = Callable[[Json, WireType], Any]
"""Makes a value of a type from JSON, or raises."""
Dump = Callable[[Any], Json]
"""Makes JSON from a value."""
FindHook = Callable[[WireType], Hook]

_SHOWN_CHARACTERS = 80


def origin_of(type_: WireType) -> Any:  # noqa: ANN401 - special forms have no common type
    """What a type is made with: ``tuple``, ``dict``, ``Literal``, ``Annotated``, or None."""
    return typing.get_origin(type_)


def is_union(type_: WireType) -> bool:
    """Whether a type is a union, also one with None."""
    return origin_of(type_) in {typing.Union, types.UnionType}


def members_of(type_: WireType) -> tuple[WireType, ...]:
    """The members of a union other than None; a type that is no union is its only member."""
    if not is_union(type_):
        return (type_,)
    return tuple(one for one in typing.get_args(type_) if one is not types.NoneType)


def is_nullable(type_: WireType) -> bool:
    """Whether None is a member of a union."""
    return is_union(type_) and types.NoneType in typing.get_args(type_)


def without_none(type_: WireType) -> WireType:
    """A union without None."""
    return typing.Union[members_of(type_)]  # noqa: UP007 - made at run time


def is_enum(type_: WireType) -> bool:
    """Whether a type is an enumeration."""
    return isinstance(type_, type) and issubclass(type_, Enum)


def is_wire_class(type_: WireType) -> bool:
    """Whether a type is an attrs class."""
    return isinstance(type_, type) and attrs.has(type_)


def is_string_id(type_: WireType) -> bool:
    """Whether a type is one of the ids of ``domain/ids.py``."""
    return isinstance(type_, typing.NewType) and type_.__supertype__ is str


def quote(value: object) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 3] + "..."
