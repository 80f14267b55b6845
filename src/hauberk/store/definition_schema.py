"""What the schema of a CustomResourceDefinition may say: what `schema.conform` carries out, and nothing that it would
pass over. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from hauberk.model.kind import FieldError
from hauberk.store.schema import TYPES, PatternError, compile_pattern

SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "type": str,
    "format": str,
    "description": str,
    "title": str,
    "pattern": str,
    "nullable": bool,
    "uniqueItems": bool,
    "enum": list,
    "required": list,
    "properties": dict,
    "items": dict,
    "additionalProperties": (dict, bool),
    "allOf": list,
    "anyOf": list,
    "oneOf": list,
    "not": dict,
    "minimum": (int, float),
    "maximum": (int, float),
    "multipleOf": (int, float),
    "exclusiveMinimum": bool,
    "exclusiveMaximum": bool,
    "minLength": int,
    "maxLength": int,
    "minItems": int,
    "maxItems": int,
    "minProperties": int,
    "maxProperties": int,
    "x-kubernetes-list-type": str,
    "x-kubernetes-list-map-keys": list,
    "x-kubernetes-map-type": str,
    "x-kubernetes-preserve-unknown-fields": bool,
    "x-kubernetes-int-or-string": bool,
    "x-kubernetes-embedded-resource": bool,
}
ANYTHING = frozenset({"default", "example", "externalDocs"})
REFUSED = {
    "$ref": "references are not allowed in a structural schema: write the schema itself",
    "definitions": "references are not allowed in a structural schema: write the schema itself",
    "x-kubernetes-validations": "CEL rules are not served: remove them, or check in the controller of the kind",
}
"""Fields of which nothing could be made, and what to do."""


def schema_errors(schema: Any, path: str) -> Iterator[FieldError]:
    """Everything in `schema` that has the wrong shape, or no meaning here."""
    if not isinstance(schema, dict):
        yield _wrong(path, f"expected an object, found {_named(schema)}")
        return
    for key, value in schema.items():
        at = f"{path}.{key}"
        if key in REFUSED:
            yield FieldError(at, f"Forbidden: {REFUSED[key]}", "FieldValueForbidden")
        elif key in SHAPES:
            yield from _field_errors(key, value, at)
        elif key not in ANYTHING:
            yield _wrong(at, "expected a field of a structural schema")


def _field_errors(key: str, value: Any, at: str) -> Iterator[FieldError]:
    shape = SHAPES[key]
    fits = isinstance(value, shape)  # apart: a checker would take the value for a mere object below
    if not fits or (isinstance(value, bool) and not _takes_truth(shape)):
        yield _wrong(at, f"expected {_named(shape)}, found {_named(value)}")
        return
    match key:
        case "type" if value and value not in TYPES:
            yield _wrong(at, f"expected one of {', '.join(TYPES)}, found {value[:100]!r}")
        case "pattern":
            try:
                compile_pattern(value)
            except PatternError as error:
                yield _wrong(at, f"expected a regular expression of RE2: {error}")
        case "multipleOf" if value <= 0:
            yield _wrong(at, f"expected more than 0, found {value}")
        case "required" | "x-kubernetes-list-map-keys":
            if not all(isinstance(name, str) for name in value):
                yield _wrong(at, "expected names")
        case "properties":
            for name, part in value.items():
                yield from schema_errors(part, f"{at}[{name}]")
        case "items" | "not":
            yield from schema_errors(value, at)
        case "additionalProperties" if isinstance(value, dict):
            yield from schema_errors(value, at)
        case "allOf" | "anyOf" | "oneOf":
            for index, part in enumerate(value):
                yield from schema_errors(part, f"{at}[{index}]")


def _takes_truth(shape: type | tuple[type, ...]) -> bool:
    return shape is bool or (isinstance(shape, tuple) and bool in shape)


def _named(value: Any) -> str:
    if isinstance(value, tuple):
        return " or ".join(each.__name__ for each in value)
    return value.__name__ if isinstance(value, type) else type(value).__name__


def _wrong(path: str, message: str) -> FieldError:
    return FieldError(path, f"Invalid value: {message}")
