"""The one converter between wire classes and JSON.

Everything of a class is generated on its first use and kept: checking an object costs a call per
field and no reflection. Types are strict: no number becomes a string, no bool an integer, no
string a list; JSON that is not a finite number, or nested too deeply, is refused.

Rule 1: whatever JSON comes in, the functions here return a value or raise WireError.
Rule 2: nothing outside this module and the journal's records imports cattrs.
"""

import json
import math
import typing
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, overload

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
)
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from bbhost.contract.composed import (
    MisplacedError,
    make_annotated_hook,
    make_mapping_hook,
    make_tuple_hook,
    make_union_hook,
)
from bbhost.contract.plain import (
    PLAIN_HOOKS,
    dump_bytes,
    make_enum_hook,
    make_literal_hook,
    read_id,
)
from bbhost.contract.shared import declare_domain
from bbhost.contract.wire import Shape, shape_of, wire_name
from bbhost.contract.wire_types import (
    Dump,
    Hook,
    Json,
    WireType,
    is_enum,
    is_string_id,
    is_union,
    is_wire_class,
    members_of,
    origin_of,
    quote,
    without_none,
)
from bbhost.errors import WireError

T = TypeVar("T")

MAX_MESSAGE_LENGTH = 300
"""Characters of an error message that may quote what the peer sent."""

_converter = Converter(detailed_validation=True)


# --- entry points ---------------------------------------------------------------------------


@overload
def structure(cls: type[T], data: object, *, strict: bool = ...) -> T: ...
@overload
def structure(cls: object, data: object, *, strict: bool = ...) -> Any: ...  # noqa: ANN401 - unions have no type
def structure(cls: object, data: object, *, strict: bool = False) -> object:
    """Make a value of ``cls`` (a wire class or any wire type) from parsed JSON.

    Args:
        cls: what to make.
        data: what ``json.loads`` returns.
        strict: refuse unknown keys of the outermost object even where ``cls`` tolerates them.

    Raises:
        WireError: ``data`` is not a ``cls``; ``path`` names the first field that is wrong.
    """
    try:
        value = _reader(cls)(data, cls)
    except (BaseValidationError, MisplacedError) as fault:
        path, message = _first_problem(fault)
        raise WireError(f"{path}: {message}" if path else message, path=path) from None
    except RecursionError:
        raise WireError("nested too deeply") from None
    made: WireType = type(value)
    if strict and isinstance(data, dict) and is_wire_class(made):
        _refuse_unknown(data.keys() - wire_keys(made))
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


@overload
def decode_json(cls: type[T], text: str | bytes, *, strict: bool = ...) -> T: ...
@overload
def decode_json(cls: object, text: str | bytes, *, strict: bool = ...) -> Any: ...  # noqa: ANN401 - unions have no type
def decode_json(cls: object, text: str | bytes, *, strict: bool = False) -> object:
    """Parse JSON text and make a value of ``cls``; see :func:`structure`."""
    return structure(cls, parse_json(text), strict=strict)


def dump_json(data: object) -> str:
    """Write JSON-able data compactly; pure ASCII, so that any string survives.

    Raises:
        WireError: it holds something that JSON has no form for, or is nested too deeply.
    """
    try:
        return _encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"cannot be written as JSON: {error}", code="command_failed") from error


def encode_json(value: object) -> str:
    """Write a wire value as JSON text; see :func:`dump_json`."""
    return dump_json(_converter.unstructure(value))


@cache
def wire_keys(cls: type) -> frozenset[str]:
    """Every key that an object of ``cls`` may have."""
    shape = shape_of(cls)
    keys: set[str] = set() if shape.tag_key is None else {shape.tag_key}
    for attribute in attrs.fields(cls):
        if attribute.metadata.get("flatten"):
            for member in members_of(shape.types.get(attribute.name, attribute.type)):
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


def _refuse_unknown(keys: AbstractSet[str]) -> None:
    if keys:
        raise WireError(f"unknown key {quote(min(keys))}")


# --- errors ---------------------------------------------------------------------------------


def _first_problem(fault: Exception) -> tuple[str, str]:
    """The path and message of the first fault in a tree of faults."""
    path = ""
    while isinstance(fault, (BaseValidationError, MisplacedError)):
        if isinstance(fault, MisplacedError):
            path, fault = path + fault.place, fault.cause
            continue
        owner: Any = fault
        fault = owner.exceptions[0]
        for note in getattr(fault, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                key = _key_of(owner.cl, note.name)
                path = f"{path}.{key}" if path and key else path or key
    if isinstance(fault, KeyError):
        return path, "is missing"
    return path, str(fault)[:MAX_MESSAGE_LENGTH]


def _key_of(cls: type, attribute_name: str) -> str:
    attribute = getattr(attrs.fields(cls), attribute_name)
    return "" if attribute.metadata.get("flatten") else wire_name(attribute)


# --- reading --------------------------------------------------------------------------------

_DIRECT: dict[WireType, Hook] = dict(PLAIN_HOOKS)


def _reader(type_: WireType) -> Hook:
    """The function that reads values of a type.

    Plain types and enumerations are looked up here and not in the converter, which would give
    every enumeration of strings the hook of ``str``.
    """
    hook = _DIRECT.get(type_)
    if hook is None and is_enum(type_):
        hook = _DIRECT[type_] = make_enum_hook(type_)
    return _converter.get_structure_hook(type_) if hook is None else hook


# --- reading: classes -----------------------------------------------------------------------

_FLAT = "#"
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
        if one.metadata.get("absent") and is_union(type_):
            type_ = without_none(type_)
        overrides[one.name] = override(rename=wire_name(one), struct_hook=_reader(type_))
    build: Callable[..., object] = make_dict_structure_fn(
        cls, _converter, _cattrs_use_linecache=False, _cattrs_forbid_extra_keys=False, **overrides
    )
    return _guard(cls, shape, build, tuple(flat))


def _guard(cls: type, shape: Shape, build: Callable[..., object], flat: tuple[str, ...]) -> Hook:
    """Check what the generated function does not: kind, tag and keys of the object."""
    key, tag, refused = shape.tag_key, shape.tag, shape.refused
    kind = type(tag)
    allowed = wire_keys(cls) if shape.strict else None
    demanded = _defaults_of_python(cls)

    def read_class(value: Json, _type: WireType) -> object:
        if not isinstance(value, dict):
            raise WireError("must be an object")
        if key is not None:
            found = value.get(key)
            if found != tag or type(found) is not kind:
                raise WireError(f"{key} must be {tag}")
        if allowed is not None and not value.keys() <= allowed:
            _refuse_unknown(value.keys() - allowed)
        if refused and not refused.isdisjoint(value):
            raise WireError(f"key {quote(min(refused & value.keys()))} is no longer used")
        if not value.keys() >= demanded:
            raise WireError(f"{min(demanded - value.keys())} is missing")
        if flat:
            value = {**value, **dict.fromkeys(flat, value)}
        return build(value, cls)

    return read_class


def _defaults_of_python(cls: type) -> frozenset[str]:
    """Keys that must be there although their attributes have defaults."""
    return frozenset(
        wire_name(one)
        for one in attrs.fields(cls)
        if one.default is not attrs.NOTHING and not one.metadata.keys() & {"absent", "optional"}
    )


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
    origin = origin_of(type_)
    if origin is typing.Annotated:
        return _dump_for(typing.get_args(type_)[0])
    if is_union(type_):
        dumps = {_dump_for(one) for one in members_of(type_)}
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
    if is_enum(type_):
        return attrgetter("value")
    return _converter.get_unstructure_hook(type_)


def _holds_classes(type_: WireType) -> bool:
    return any(attrs.has(one) for one in typing.get_args(type_) if isinstance(one, type))


# --- registration ---------------------------------------------------------------------------


def _is_made_with(origin: WireType) -> Callable[[Any], bool]:
    return lambda type_: origin_of(type_) is origin


def _register() -> None:
    factories: tuple[tuple[Callable[[WireType], bool], Callable[[WireType], Hook]], ...] = (
        (is_string_id, lambda _type: read_id),
        (_is_made_with(typing.Literal), make_literal_hook),
        (_is_made_with(tuple), lambda type_: make_tuple_hook(type_, _reader)),
        (_is_made_with(dict), lambda type_: make_mapping_hook(type_, _reader)),
        (is_union, lambda type_: make_union_hook(type_, _reader)),
        (is_wire_class, _make_class_hook),
        (_is_made_with(typing.Annotated), lambda type_: make_annotated_hook(type_, _reader)),
    )
    for predicate, factory in factories:
        _converter.register_structure_hook_factory(predicate, factory)
    _converter.register_unstructure_hook(bytes, dump_bytes)
    _converter.register_unstructure_hook_factory(is_wire_class, _make_class_dump)


declare_domain()
_register()
