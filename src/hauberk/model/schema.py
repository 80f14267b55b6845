"""OpenAPI v3 schemas from the typed objects, so that what is published and what is parsed never disagree."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import msgspec
from msgspec import inspect

from hauberk.model.kind import Object

Schema = dict[str, Any]

_SCALARS: dict[type[inspect.Type], Schema] = {
    inspect.BoolType: {"type": "boolean"},
    inspect.IntType: {"type": "integer", "format": "int64"},
    inspect.FloatType: {"type": "number", "format": "double"},
    inspect.StrType: {"type": "string"},
    inspect.AnyType: {"x-kubernetes-preserve-unknown-fields": True},
}
_LIMITS = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


def object_schema(type_: type[msgspec.Struct], group: str, version: str, kind: str) -> Schema:
    """The schema of a whole object: `type_` with `apiVersion` and `kind`."""
    schema = struct_schema(type_)
    properties = {
        **schema["properties"],
        "apiVersion": {"type": "string", "description": "The API group and version of this object."},
        "kind": {"type": "string", "description": "The kind of this object."},
    }
    identity = {"group": group, "version": version, "kind": kind}
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [identity]}


@cache
def struct_schema(type_: type[msgspec.Struct]) -> Schema:
    """The schema of a struct. The result is shared: do not change it."""
    return _struct(_Struct(type_, cast(inspect.StructType, inspect.type_info(type_))))


@dataclass(frozen=True, slots=True)
class _Struct:
    """A struct and its description, which takes long to make: equal if the struct is."""

    type: type[msgspec.Struct]
    described: inspect.StructType = field(compare=False)


@cache
def _struct(struct: _Struct) -> Schema:
    schema: Schema = {"type": "object"}
    if struct.type.__doc__:
        schema["description"] = struct.type.__doc__
    fields = struct.described.fields
    schema["properties"] = {field.encode_name: _schema(field.type) for field in fields}
    required = [field.encode_name for field in fields if field.required]
    if required:
        schema["required"] = required
    return schema


def _schema(type_: inspect.Type) -> Schema:
    match type_:
        case inspect.Metadata():
            return {**_schema(type_.type), **(type_.extra_json_schema or {})}
        case inspect.StructType():
            return _struct(_Struct(type_.cls, type_))
        case inspect.UnionType():
            return _union(type_)
        case inspect.VarTupleType() | inspect.ListType():
            return {"type": "array", "items": _schema(type_.item_type), **_sizes(type_, "Items")}
        case inspect.DictType():
            return _mapping(type_)
        case inspect.LiteralType():
            return {
                "type": "string" if isinstance(type_.values[0], str) else "integer",
                "enum": list(type_.values),
            }
    return {**_SCALARS[type(type_)], **_limits(type_)}


def _union(type_: inspect.UnionType) -> Schema:
    """Either optional, or one of the int-or-string kind, whose annotation says the rest."""
    members = [member for member in type_.types if not isinstance(member, inspect.NoneType)]
    if len(members) == 1:
        return _schema(members[0])
    return {}


def _mapping(type_: inspect.DictType) -> Schema:
    if isinstance(type_.value_type, inspect.AnyType):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "type": "object",
        "additionalProperties": _schema(type_.value_type),
        **_sizes(type_, "Properties"),
    }


def _limits(type_: inspect.Type) -> Schema:
    return {name: value for key, name in _LIMITS.items() if (value := getattr(type_, key, None)) is not None}


def _sizes(type_: inspect.Type, noun: str) -> Schema:
    return {
        f"{bound}{noun}": value
        for bound, key in (("min", "min_length"), ("max", "max_length"))
        if (value := getattr(type_, key, None)) is not None
    }


def at(schema: Schema, path: tuple[str, ...]) -> Schema | None:
    """The schema of a field by its names from the top; lists are passed through."""
    current: Object | None = schema
    for name in path:
        while current is not None and current.get("type") == "array":
            current = current["items"]
        current = None if current is None else current.get("properties", {}).get(name)
    return current
