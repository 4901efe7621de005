"""JSON schemas of wire classes, made from the classes themselves."""

import types
import typing
from enum import Enum
from typing import Any

import attrs

from bbhost.contract import fields
from bbhost.contract.wire import shape_of, wire_name

Schema = dict[str, Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    types.NoneType: {"type": "null"},
    Any: {},
    object: {},
    dict: {"type": "object"},
}
_REFINED: dict[Any, Schema] = {
    fields.NonEmpty: {"type": "string", "minLength": 1},
    fields.PositiveInt: {"type": "integer", "minimum": 1},
    fields.Count: {"type": "integer", "minimum": 0},
    fields.Columns: {"type": "integer", "minimum": 1, "maximum": 500},
    fields.Rows: {"type": "integer", "minimum": 1, "maximum": 200},
    fields.FileLimit: {"type": "integer", "minimum": 1, "maximum": 10_000},
    fields.BranchLimit: {"type": "integer", "minimum": 1, "maximum": 1_000},
    fields.Query: {"type": "string", "maxLength": 256},
    fields.CommitPrefix: {"type": "string", "pattern": "^[0-9a-fA-F]{4,40}$"},
}


class SchemaBook:
    """Collects the schemas of classes under ``#/components/schemas``."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:  # noqa: ANN401 - one line per kind of annotation
        """Return the schema of an annotation; classes are referred to by name."""
        if kind in _REFINED:
            return dict(_REFINED[kind])
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if isinstance(kind, typing.NewType):
            return self.of(kind.__supertype__)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.of(arguments[0])
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin is tuple:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin in {typing.Union, types.UnionType}:
            return {"anyOf": [self.of(one) for one in arguments]}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [member.value for member in kind]}
        return self._refer(kind)

    def _refer(self, cls: type) -> Schema:
        name = cls.__name__
        if name not in self.components:
            self.components[name] = {}  # a class may hold itself
            self.components[name] = self._object(cls)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, cls: type) -> Schema:
        shape = shape_of(cls)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        if shape.tag_key is not None:
            properties[shape.tag_key] = {"const": shape.tag}
            required.append(shape.tag_key)
        for attribute in attrs.fields(cls):
            kind = shape.types.get(attribute.name, attribute.type)
            name = wire_name(attribute)
            if attribute.metadata.get("absent"):
                kind = _without_none(kind)
            properties[name] = self.of(kind)
            if attribute.default is attrs.NOTHING:
                required.append(name)
        schema: Schema = {"type": "object", "properties": properties}
        if cls.__doc__:
            schema["description"] = " ".join(cls.__doc__.split())
        if required:
            schema["required"] = required
        if shape.strict:
            schema["additionalProperties"] = False
        return schema

    def query_parameters(self, cls: type) -> list[Schema]:
        """Return the parameters that a query class stands for."""
        parameters = []
        for attribute in attrs.fields(cls):
            optional = bool(attribute.metadata.get("absent"))
            kind = _without_none(attribute.type) if optional else attribute.type
            parameters.append(
                {
                    "name": wire_name(attribute),
                    "in": "query",
                    "required": not optional,
                    "schema": self.of(kind),
                }
            )
        return parameters


def _without_none(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    members = tuple(one for one in typing.get_args(kind) if one is not types.NoneType)
    return typing.Union[members]  # noqa: UP007 - made at run time
