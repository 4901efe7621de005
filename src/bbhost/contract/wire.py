"""How a class says what it looks like on the wire.

A wire class is a frozen attrs class in snake case; the codec writes it in camel case. What the
names and types do not say is declared by:

* class attributes ``TYPE``, ``KIND``, ``MODE``, ``DECISION``, ``OUTCOME`` and ``OK``: the constant
  value of the key of that name in lower case. Unions choose their member by it;
* ``STRICT = True``: unknown keys are refused (elsewhere they are ignored);
* ``REFUSED``: keys that are refused although the class is not strict;
* :func:`absent`: the key may be missing, and is left out when the value is None; null is refused;
* :func:`optional`: the key may be missing, which stands for a default;
* :func:`flatten`: the fields of the value are keys of the object that holds it;
* :func:`named`: the key has another name than the attribute;
* :func:`declare`: all of that for a class of ``domain/``, which knows nothing of wires.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from attrs import frozen

from bbhost.errors import WireError

TAG_ATTRIBUTES = ("TYPE", "KIND", "MODE", "DECISION", "OUTCOME", "OK")


@frozen
class Rule:
    """A condition on a value, attached to a type with ``Annotated``.

    ``check`` returns what is wrong with a value of the right type, or None.
    """

    check: Callable[[Any], str | None]


@frozen
class Shape:
    """What a class looks like on the wire beyond its names and types."""

    tag_key: str | None = None
    tag: str | bool | None = None
    strict: bool = False
    refused: frozenset[str] = frozenset()
    types: Mapping[str, Any] = attrs.Factory(dict)
    """Narrower types of attributes, by attribute name."""


_declared: dict[type, Shape] = {}
_choosers: dict[frozenset[type], Callable[[dict[str, Any]], Any]] = {}


def absent() -> Any:  # noqa: ANN401 - a field specifier stands for a value of any type
    """An optional field: absent, never null."""
    return attrs.field(default=None, metadata={"absent": True})


def optional(default: object) -> Any:  # noqa: ANN401 - a field specifier stands for a value of any type
    """A field that may be missing when it is read, and is always written.

    Any other default is for Python alone: the key must be there.
    """
    return attrs.field(default=default, metadata={"optional": True})


def flatten() -> Any:  # noqa: ANN401 - a field specifier stands for a value of any type
    """A field whose own fields are written into the object that holds it."""
    return attrs.field(metadata={"flatten": True})


def named(name: str) -> Any:  # noqa: ANN401 - a field specifier stands for a value of any type
    """A required field with a wire name that is not its own in camel case."""
    return attrs.field(metadata={"wire": name})


def declare(
    cls: type,
    *,
    tag: tuple[str, str] | None = None,
    strict: bool = False,
    types: Mapping[str, Any] | None = None,
) -> None:
    """Declare the wire shape of a class that cannot carry it itself.

    Args:
        cls: an attrs class.
        tag: key and constant value that mark it.
        strict: refuse unknown keys.
        types: narrower types, by attribute name.
    """
    key, value = tag if tag is not None else (None, None)
    _declared[cls] = Shape(key, value, strict, types=types or {})


def declare_choice(members: tuple[type, ...], choose: Callable[[dict[str, Any]], Any]) -> None:
    """Declare how a union without a common tag chooses its member (or a union of members)."""
    _choosers[frozenset(members)] = choose


def chooser_of(members: tuple[type, ...]) -> Callable[[dict[str, Any]], Any] | None:
    """The declared choice of a union, if it has one."""
    return _choosers.get(frozenset(members))


def shape_of(cls: type) -> Shape:
    """The wire shape of ``cls``."""
    declared = _declared.get(cls)
    if declared is not None:
        return declared
    strict = bool(getattr(cls, "STRICT", False))
    refused = frozenset(getattr(cls, "REFUSED", ()))
    for attribute in TAG_ATTRIBUTES:
        tag = getattr(cls, attribute, None)
        if tag is not None:
            return Shape(attribute.lower(), tag, strict, refused)
    return Shape(strict=strict, refused=refused)


def wire_name(attribute: "attrs.Attribute[Any]") -> str:
    """The key of an attribute: its metadata, or its name in camel case."""
    given = attribute.metadata.get("wire")
    if isinstance(given, str):
        return given
    head, *rest = attribute.name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def require(condition: bool, message: str) -> None:
    """Refuse a value whose fields do not agree with each other.

    Raises:
        WireError: ``condition`` does not hold.
    """
    if not condition:
        raise WireError(message)
