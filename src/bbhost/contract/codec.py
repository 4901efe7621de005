"""The one converter between wire classes and JSON.

Everything of a class is generated on its first use and kept: checking an object costs a call per
field and no reflection. Types are strict: no number becomes a string, no bool an integer, no
string a list; JSON that is not a finite number, or nested too deeply, is refused.

Rule 1: whatever JSON comes in, the functions here return a value or raise WireError.
Rule 2: nothing outside this module and the journal's records imports cattrs.
"""

import base64
import binascii
import json
import math
import types
import typing
from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from typing import Any, TypeVar

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from bbhost.contract.shared import declare_domain
from bbhost.contract.wire import Rule, Shape, chooser_of, shape_of, wire_name
from bbhost.errors import WireError

T = TypeVar("T")
Json = Any
"""What comes out of ``json.loads``, or any part of it."""
WireType = Any
"""A class, a union, an Annotated: anything that may stand as the type of a field."""
Hook = Callable[[Json, WireType], Any]
Dump = Callable[[Any], Json]

MAX_SAFE_INTEGER = 2**53 - 1
"""Integers beyond it are not the same number on both sides of the wire."""

MAX_MESSAGE_LENGTH = 300
"""Characters of an error message that may quote what the peer sent."""

_converter = Converter(detailed_validation=True)


# --- entry points ---------------------------------------------------------------------------


def structure(cls: type[T], data: object, *, strict: bool = False) -> T:
    """Make a value of ``cls`` (a wire class or any wire type) from parsed JSON.

    Args:
        cls: what to make.
        data: what ``json.loads`` returns.
        strict: refuse unknown keys of the outermost object even where ``cls`` tolerates them.

    Raises:
        WireError: ``data`` is not a ``cls``; ``path`` names the first field that is wrong.
    """
    try:
        value: T = _reader(cls)(data, cls)
    except BaseValidationError as group:
        path, message = _first_problem(group)
        raise WireError(f"{path}: {message}" if path else message, path=path) from None
    except RecursionError:
        raise WireError("nested too deeply") from None
    if strict:
        unknown = data.keys() - wire_keys(type(value)) if isinstance(data, dict) else ()
        if unknown:
            raise WireError(f"unknown key {_quote(min(unknown))}")
    return value


def unstructure(value: object) -> Json:
    """Make JSON-able data (dicts, lists, strings, numbers) from a wire value."""
    return _converter.unstructure(value)


def parse_json(text: str | bytes) -> Json:
    """Parse JSON text.

    Raises:
        WireError: it is not JSON, holds a number that is not finite, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {str(error)[:MAX_MESSAGE_LENGTH]}") from None


def decode_json(cls: type[T], text: str | bytes, *, strict: bool = False) -> T:
    """Parse JSON text and make a value of ``cls``; see :func:`structure`."""
    return structure(cls, parse_json(text), strict=strict)


def dump_json(data: object) -> str:
    """Write JSON-able data compactly; pure ASCII, so that any string survives."""
    return _encode(data)


def encode_json(value: object) -> str:
    """Write a wire value as JSON text."""
    return _encode(_converter.unstructure(value))


def wire_keys(cls: type) -> frozenset[str]:
    """Every key that an object of ``cls`` may have."""
    shape = shape_of(cls)
    keys: set[str] = set() if shape.tag_key is None else {shape.tag_key}
    for attribute in attrs.fields(cls):
        if attribute.metadata.get("flatten"):
            for member in _members(shape.types.get(attribute.name, attribute.type)):
                keys |= wire_keys(member)
        else:
            keys.add(wire_name(attribute))
    return frozenset(keys)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


# --- errors ---------------------------------------------------------------------------------


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _first_problem(group: BaseValidationError) -> tuple[str, str]:
    """The path and message of the first fault in a tree of faults."""
    path = ""
    error: Exception = group
    while isinstance(error, BaseValidationError):
        owner: Any = error
        error = owner.exceptions[0]
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                key = _key_of(owner.cl, note.name)
                path = f"{path}.{key}" if path and key else path or key
            elif isinstance(note, IterableValidationNote):
                path = f"{path}[{note.index}]"
    if isinstance(error, KeyError):
        return path, "is missing"
    return path, str(error)[:MAX_MESSAGE_LENGTH]


def _key_of(cls: type, attribute_name: str) -> str:
    attribute = getattr(attrs.fields(cls), attribute_name)
    return "" if attribute.metadata.get("flatten") else wire_name(attribute)


# --- reading: plain types -------------------------------------------------------------------


def _read_str(value: Json, _type: WireType) -> str:
    if isinstance(value, str):
        return value
    raise WireError("must be a string")


def _read_id(value: Json, _type: WireType) -> str:
    if isinstance(value, str) and value:
        return value
    raise WireError("must be a non-empty string")


def _read_int(value: Json, _type: WireType) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)  # 5.0 and 5 are the same number to the other side
    if type(value) is not int:
        raise WireError("must be an integer")
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise WireError("is too large an integer")
    return value


def _read_number(value: Json, _type: WireType) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int:
        return _read_int(value, int)
    raise WireError("must be a number")


def _read_bool(value: Json, _type: WireType) -> bool:
    if value is True or value is False:
        return bool(value)
    raise WireError("must be true or false")


def _read_object(value: Json, _type: WireType) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise WireError("must be an object")


def _read_any(value: Json, _type: WireType) -> Json:
    return value


def _read_bytes(value: Json, _type: WireType) -> bytes:
    """Canonical base64 only: what decodes and encodes again to the very same text."""
    if not isinstance(value, str):
        raise WireError("must be a string")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise WireError("must be canonical base64") from None
    # Stray bits in the last digit decode to the same bytes; other readers refuse them.
    if _dump_bytes(data) != value:
        raise WireError("must be canonical base64")
    return data


def _dump_bytes(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


_DIRECT: dict[Any, Hook] = {
    str: _read_str,
    int: _read_int,
    float: _read_number,
    bool: _read_bool,
    bytes: _read_bytes,
    dict: _read_object,
    object: _read_any,
    Any: _read_any,
}


def _reader(type_: WireType) -> Hook:
    """The function that reads values of a type.

    Plain types and enumerations are looked up here and not in the converter, which would give
    every enumeration of strings the hook of ``str``.
    """
    hook = _DIRECT.get(type_)
    if hook is None and _is_enum(type_):
        hook = _DIRECT[type_] = _make_enum_hook(type_)
    return _converter.get_structure_hook(type_) if hook is None else hook


# --- reading: composed types ----------------------------------------------------------------


def _make_enum_hook(cls: type[Enum]) -> Hook:
    by_value = {member.value: member for member in cls}
    names = ", ".join(str(value) for value in by_value)

    def read_enum(value: Json, _type: WireType) -> object:
        member = by_value.get(value) if isinstance(value, str) else None
        if member is None:
            raise WireError(f"must be one of {names}")
        return member

    return read_enum


def _make_literal_hook(literal: WireType) -> Hook:
    allowed = typing.get_args(literal)
    names = ", ".join(str(value) for value in allowed)

    def read_literal(value: Json, _type: WireType) -> object:
        for one in allowed:
            if type(value) is type(one) and value == one:
                return value
        raise WireError(f"must be one of {names}")

    return read_literal


def _make_annotated_hook(annotated: WireType) -> Hook:
    base, *notes = typing.get_args(annotated)
    read = _reader(base)
    checks = [note.check for note in notes if isinstance(note, Rule)]

    def read_checked(value: Json, _type: WireType) -> object:
        result = read(value, base)
        for check in checks:
            problem = check(result)
            if problem is not None:
                raise WireError(problem)
        return result

    return read_checked


def _make_tuple_hook(sequence: WireType) -> Hook:
    element = typing.get_args(sequence)[0]
    read = _reader(element)

    def read_tuple(value: Json, type_: WireType) -> tuple[Any, ...]:
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
            raise _placed(error, index, element, type_) from None

    return read_tuple


def _make_mapping_hook(mapping: WireType) -> Hook:
    element = typing.get_args(mapping)[1]
    if element in {object, Any}:
        return _read_object
    read = _reader(element)

    def read_mapping(value: Json, type_: WireType) -> dict[str, Any]:
        result = {}
        for key, one in _read_object(value, dict).items():
            try:
                result[key] = read(one, element)
            except Exception as error:
                raise _placed(error, _quote(key), element, type_) from None
        return result

    return read_mapping


def _placed(
    error: Exception, index: int | str, element: WireType, collection: WireType
) -> IterableValidationError:
    """Wrap a fault so that its place in a collection is known."""
    note = IterableValidationNote("in a collection", index, element)
    error.__notes__ = [*getattr(error, "__notes__", ()), note]
    return IterableValidationError(
        "in a collection",
        [error],
        collection,  # pyright: ignore[reportCallIssue] - typed by its base
    )


# --- reading: unions ------------------------------------------------------------------------


def _members(union: WireType) -> tuple[WireType, ...]:
    """The classes of a union other than None; of a class, the class."""
    if not _is_union(union):
        return (union,)
    return tuple(one for one in typing.get_args(union) if one is not types.NoneType)


def _origin(type_: WireType) -> Any:  # noqa: ANN401 - special forms have no common type
    return typing.get_origin(type_)


def _is_union(type_: WireType) -> bool:
    return _origin(type_) in {typing.Union, types.UnionType}


def _make_union_hook(union: WireType) -> Hook:
    members = _members(union)
    read = _reader(members[0]) if len(members) == 1 else _make_choice_hook(members)
    if types.NoneType not in typing.get_args(union):
        return read
    inner = members[0]

    def read_nullable(value: Json, _type: WireType) -> object:
        return None if value is None else read(value, inner)

    return read_nullable


def _make_choice_hook(members: tuple[WireType, ...]) -> Hook:
    choose = chooser_of(members)
    if choose is not None:
        return _make_chosen_hook(choose)
    key, table = _tag_table(members)
    hooks = {tag: (_reader(cls), cls) for tag, cls in table.items()}
    kind = type(next(iter(table)))
    names = ", ".join(str(tag) for tag in table)

    def read_choice(value: Json, _type: WireType) -> object:
        if not isinstance(value, dict):
            raise WireError("must be an object")
        tag = value.get(key)
        # The type is compared too: 1 equals True, and a list cannot be looked up.
        found = hooks.get(tag) if type(tag) is kind else None
        if found is None:
            raise WireError(f"{key} must be one of {names}, not {_quote(tag)}")
        return found[0](value, found[1])

    return read_choice


def _make_chosen_hook(choose: Callable[[dict[str, Any]], Any]) -> Hook:
    def read_chosen(value: Json, _type: WireType) -> object:
        chosen = choose(_read_object(value, dict))
        return _reader(chosen)(value, chosen)

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


# --- reading: classes -----------------------------------------------------------------------

_FLAT = "\0"
"""Prefix of the private key under which a flattened field finds the object that holds it."""


def _make_class_hook(cls: type) -> Hook:
    shape = shape_of(cls)
    overrides: dict[str, Any] = {}
    flat: list[str] = []
    for one in attrs.fields(cls):
        type_ = shape.types.get(one.name, one.type)
        if one.metadata.get("flatten"):
            flat.append(_FLAT + one.name)
            overrides[one.name] = override(rename=flat[-1], struct_hook=_reader(type_))
            continue
        if one.metadata.get("absent") and _is_union(type_):
            type_ = _without_none(type_)
        overrides[one.name] = override(rename=wire_name(one), struct_hook=_reader(type_))
    build: Callable[..., object] = make_dict_structure_fn(
        cls, _converter, _cattrs_use_linecache=False, _cattrs_forbid_extra_keys=False, **overrides
    )
    return _guard(cls, shape, build, tuple(flat))


def _without_none(union: WireType) -> WireType:
    return typing.Union[_members(union)]  # noqa: UP007 - made at run time


def _guard(cls: type, shape: Shape, build: Callable[..., object], flat: tuple[str, ...]) -> Hook:
    """Check what the generated function does not: kind, tag and keys of the object."""
    key, tag, refused = shape.tag_key, shape.tag, shape.refused
    kind = type(tag)
    allowed = wire_keys(cls) if shape.strict else None

    def read_class(value: Json, _type: WireType) -> object:
        if not isinstance(value, dict):
            raise WireError("must be an object")
        if key is not None:
            found = value.get(key)
            if found != tag or type(found) is not kind:
                raise WireError(f"{key} must be {tag}")
        if allowed is not None and not value.keys() <= allowed:
            raise WireError(f"unknown key {_quote(min(value.keys() - allowed))}")
        if refused and not refused.isdisjoint(value):
            raise WireError(f"key {_quote(min(refused & value.keys()))} is no longer used")
        if flat:
            value = {**value, **dict.fromkeys(flat, value)}
        return build(value, cls)

    return read_class


# --- writing --------------------------------------------------------------------------------


def _make_class_dump(cls: type) -> Dump:
    shape = shape_of(cls)
    overrides: dict[str, Any] = {}
    flat: list[str] = []
    for one in attrs.fields(cls):
        if one.metadata.get("flatten"):
            flat.append(_FLAT + one.name)
            name = flat[-1]
        else:
            name = wire_name(one)
        overrides[one.name] = override(
            rename=name,
            omit_if_default=bool(one.metadata.get("absent")),
            unstruct_hook=_dump_for(shape.types.get(one.name, one.type)),
        )
    write: Dump = make_dict_unstructure_fn(
        cls, _converter, _cattrs_use_linecache=False, **overrides
    )
    key, tag = shape.tag_key, shape.tag
    if flat:
        return _flattening(write, key, tag, tuple(flat))
    if key is None:
        return write
    return lambda value: {key: tag, **write(value)}


def _flattening(write: Dump, key: str | None, tag: object, flat: tuple[str, ...]) -> Dump:
    def dump_flat(value: object) -> dict[str, Any]:
        data: dict[str, Any] = write(value) if key is None else {key: tag, **write(value)}
        for name in flat:
            data.update(data.pop(name))
        return data

    return dump_flat


def _dump_for(type_: WireType) -> Dump:
    """The cheapest function that writes values of a type; JSON values pass as they are."""
    origin = _origin(type_)
    if origin is typing.Annotated:
        return _dump_for(typing.get_args(type_)[0])
    if _is_union(type_):
        dumps = {_dump_for(one) for one in _members(type_)}
        if dumps == {identity}:
            return identity
        return _converter.unstructure
    if origin is tuple:
        element = _dump_for(typing.get_args(type_)[0])
        return list if element is identity else lambda values: [element(one) for one in values]
    if origin is dict or origin is typing.Literal or type_ in {object, Any}:
        return _converter.unstructure if _holds_classes(type_) else identity
    if isinstance(type_, typing.NewType) or type_ in {str, int, float, bool, dict}:
        return identity
    if _is_enum(type_):
        return attrgetter("value")
    return _converter.get_unstructure_hook(type_)


def _holds_classes(type_: WireType) -> bool:
    return any(attrs.has(one) for one in typing.get_args(type_) if isinstance(one, type))


# --- registration ---------------------------------------------------------------------------


def _is_string_id(type_: WireType) -> bool:
    return isinstance(type_, typing.NewType) and type_.__supertype__ is str


def _is_wire_class(type_: WireType) -> bool:
    return isinstance(type_, type) and attrs.has(type_)


def _is_enum(type_: WireType) -> bool:
    return isinstance(type_, type) and issubclass(type_, Enum)


def _is_made_with(origin: WireType) -> Callable[[Any], bool]:
    return lambda type_: _origin(type_) is origin


def _register() -> None:
    factories: tuple[tuple[Callable[[Any], bool], Callable[[Any], Hook]], ...] = (
        (_is_string_id, lambda _type: _read_id),
        (_is_made_with(typing.Literal), _make_literal_hook),
        (_is_made_with(tuple), _make_tuple_hook),
        (_is_made_with(dict), _make_mapping_hook),
        (_is_union, _make_union_hook),
        (_is_wire_class, _make_class_hook),
        (_is_made_with(typing.Annotated), _make_annotated_hook),
    )
    for predicate, factory in factories:
        _converter.register_structure_hook_factory(predicate, factory)
    _converter.register_unstructure_hook(bytes, _dump_bytes)
    _converter.register_unstructure_hook_factory(_is_wire_class, _make_class_dump)


declare_domain()
_register()
