"""The decorator of the contract's classes: frozen, and two hundred of them cost little memory.

attrs generates six methods for a class. Of the contract's classes nearly none is ever compared, hashed or
shown, and the code of those methods would be 1.6 MiB of the daemon: so they share one of each.
"""

from typing import Any, TypeVar, dataclass_transform

import attrs

C = TypeVar("C", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def wire_class(cls: C) -> C:
    """Make a frozen attrs class that compares, hashes, copies and shows itself by its fields."""
    made: Any = attrs.frozen(cls, eq=False, repr=False, getstate_setstate=False)
    made.__eq__ = _equals
    made.__hash__ = _hash
    made.__repr__ = _show
    made.__getstate__ = _values
    made.__setstate__ = _restore
    done: C = made
    return done


def _values(one: Any) -> tuple[object, ...]:  # noqa: ANN401 - any wire class
    return tuple(getattr(one, field.name) for field in attrs.fields(type(one)))


def _equals(self: object, other: object) -> bool:
    if type(self) is not type(other):
        answer: bool = NotImplemented  # Python asks the other one, and compares identities
        return answer
    return _values(self) == _values(other)


def _hash(self: object) -> int:
    return hash((type(self), *_values(self)))


def _restore(self: object, values: tuple[object, ...]) -> None:
    for field, value in zip(attrs.fields(type(self)), values, strict=True):  # type: ignore[arg-type]
        object.__setattr__(self, field.name, value)


def _show(self: Any) -> str:  # noqa: ANN401 - any wire class
    cls = type(self)
    shown = ", ".join(
        f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(cls) if field.repr
    )
    return f"{cls.__qualname__}({shown})"
