"""Reading strings, numbers, base64, enumerations and literals, strictly."""

import base64
import binascii
import math
import typing
from enum import Enum
from typing import Any

from bbhost.contract.wire_types import Hook, Json, WireType
from bbhost.errors import WireError

MAX_SAFE_INTEGER = 2**53 - 1
"""Integers beyond it are not the same number on both sides of the wire."""


def _read_str(value: Json, _type: WireType) -> str:
    if isinstance(value, str):
        return value
    raise WireError("must be a string")


def read_id(value: Json, _type: WireType) -> str:
    """Ids are never empty, and are text: half a character could neither be stored nor named."""
    if not isinstance(value, str) or not value:
        raise WireError("must be a non-empty string")
    if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
        raise WireError("must be a string of whole characters")
    return value


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


def read_object(value: Json, _type: WireType) -> dict[str, Any]:
    """Any JSON object."""
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
    if dump_bytes(data) != value:
        raise WireError("must be canonical base64")
    return data


def dump_bytes(value: bytes) -> str:
    """Canonical base64."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


PLAIN_HOOKS: dict[Any, Hook] = {
    str: _read_str,
    int: _read_int,
    float: _read_number,
    bool: _read_bool,
    bytes: _read_bytes,
    dict: read_object,
    object: _read_any,
    Any: _read_any,
}


def make_enum_hook(cls: type[Enum]) -> Hook:
    """Read the members of an enumeration of strings."""
    by_value = {member.value: member for member in cls}
    names = ", ".join(str(value) for value in by_value)

    def read_enum(value: Json, _type: WireType) -> object:
        member = by_value.get(value) if isinstance(value, str) else None
        if member is None:
            raise WireError(f"must be one of {names}")
        return member

    return read_enum


def make_literal_hook(literal: WireType) -> Hook:
    """Read the values of a Literal; 1 is not True."""
    allowed = typing.get_args(literal)
    names = ", ".join(str(value) for value in allowed)

    def read_literal(value: Json, _type: WireType) -> object:
        for one in allowed:
            if type(value) is type(one) and value == one:
                return value
        raise WireError(f"must be one of {names}")

    return read_literal
