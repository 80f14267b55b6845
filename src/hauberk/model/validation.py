"""Checks an object against its OpenAPI schema and lists everything that is wrong with it at once."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.model.quantity import QUANTITY

Schema = Mapping[str, Any]

MOST_ERRORS = 100
"""More than these are of no use to anyone."""

_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("an object", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "string": ("a string", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
}


def validate_object(kind: Kind, obj: Object) -> list[FieldError]:
    """What is wrong with `obj` by the schema of its kind, unknown fields included."""
    return validate(kind.schema, obj)


def validate(schema: Schema, value: Any, path: str = "") -> list[FieldError]:
    """What is wrong with `value`, which stands at `path`. A null counts as absent."""
    errors: list[FieldError] = []
    for error in _check(schema, value, path):
        errors.append(error)
        if len(errors) == MOST_ERRORS:
            break
    return errors


def _check(schema: Schema, value: Any, path: str) -> Iterator[FieldError]:
    if schema.get("x-kubernetes-int-or-string"):
        yield from _check_int_or_string(schema, value, path)
        return
    kind = schema.get("type")
    if kind is not None:
        expected, is_right = _TYPES[kind]
        if not is_right(value):
            yield FieldError(path, f"expected {expected}, found {describe(value)}", "FieldValueTypeInvalid")
            return
    if isinstance(value, dict):
        yield from _check_properties(schema, value, path)
    elif isinstance(value, list):
        yield from _check_items(schema, value, path)
    else:
        yield from _check_scalar(schema, value, path)


def _check_int_or_string(schema: Schema, value: Any, path: str) -> Iterator[FieldError]:
    quantity = schema.get("format") == "quantity"
    allowed = int | float | str if quantity else int | str
    if isinstance(value, bool) or not isinstance(value, allowed):
        yield FieldError(
            path, f"expected a number or a string, found {describe(value)}", "FieldValueTypeInvalid"
        )
    elif quantity and not QUANTITY.fullmatch(str(value)):
        yield FieldError(path, f"expected a quantity such as 500m or 1Gi, found {describe(value)}")


def _check_properties(schema: Schema, value: dict[Any, Any], path: str) -> Iterator[FieldError]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield FieldError(join(path, name), "is required: add it", "FieldValueRequired")
    for name, item in value.items():
        if not isinstance(name, str):
            yield FieldError(path, f"expected keys to be strings, found {describe(name)}: put it in quotes")
        elif item is None:
            continue
        elif name in properties:
            yield from _check(properties[name], item, join(path, name))
        elif isinstance(schema.get("additionalProperties"), Mapping):
            yield from _check(schema["additionalProperties"], item, f"{path}[{name}]")
        elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield FieldError(join(path, name), f"is no known field{_suggestion(name, properties)}")
    yield from _check_size(schema, value, path, "Properties", "entries")


def _suggestion(name: str, known: Mapping[str, Schema]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f": do you mean {close[0]}?"
    return (
        f" here: {', '.join(sorted(known))} are"
        if 0 < len(known) <= 8
        else "; remove it or correct its place"
    )


def _check_items(schema: Schema, value: list[Any], path: str) -> Iterator[FieldError]:
    items = schema.get("items", {})
    for index, item in enumerate(value):
        yield from _check(items, item, f"{path}[{index}]")
    yield from _check_size(schema, value, path, "Items", "items")
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys:
        yield from _check_distinct(keys, value, path)


def _check_distinct(keys: Sequence[str], value: list[Any], path: str) -> Iterator[FieldError]:
    """Items of a map-like list must differ in their keys, if they have them all."""
    seen: set[tuple[str, ...]] = set()
    for index, item in enumerate(value):
        if not isinstance(item, dict) or any(key not in item for key in keys):
            continue
        identity = tuple(str(item[key]) for key in keys)
        if identity in seen:
            named = ", ".join(f"{key} {part}" for key, part in zip(keys, identity, strict=True))
            yield FieldError(f"{path}[{index}]", f"is a second item with {named}", "FieldValueDuplicate")
        seen.add(identity)


def _check_size(schema: Schema, value: Any, path: str, noun: str, word: str) -> Iterator[FieldError]:
    least, most = schema.get(f"min{noun}"), schema.get(f"max{noun}")
    if least is not None and len(value) < least:
        yield FieldError(path, f"expected at least {least} {word}, found {len(value)}")
    if most is not None and len(value) > most:
        yield FieldError(path, f"expected at most {most} {word}, found {len(value)}")


def _check_scalar(schema: Schema, value: Any, path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(str(item) or '""' for item in schema["enum"])
        yield FieldError(
            path, f"expected one of {allowed}, found {describe(value)}", "FieldValueNotSupported"
        )
    if isinstance(value, str):
        yield from _check_string(schema, value, path)
    elif not isinstance(value, bool):
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is not None and value < least:
            yield FieldError(path, f"expected at least {least}, found {value}")
        if most is not None and value > most:
            yield FieldError(path, f"expected at most {most}, found {value}")


def _check_string(schema: Schema, value: str, path: str) -> Iterator[FieldError]:
    if len(value) < schema.get("minLength", 0):
        yield FieldError(path, f"expected at least {schema['minLength']} characters, found {describe(value)}")
    if len(value) > schema.get("maxLength", len(value)):
        yield FieldError(path, f"expected at most {schema['maxLength']} characters, found {len(value)}")
    pattern = schema.get("pattern")
    if pattern and not _compiled(pattern).search(value):
        yield FieldError(path, f"expected text of the form {pattern}, found {describe(value)}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def join(path: str, name: str) -> str:
    """`spec` and `ports` → `spec.ports`."""
    return f"{path}.{name}" if path else name


def describe(value: Any) -> str:
    """`value` as an error message shows it: its type, and itself if short."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
        case dict():
            return "an object"
        case list():
            return "a list"
    return f"a {type(value).__name__}"
