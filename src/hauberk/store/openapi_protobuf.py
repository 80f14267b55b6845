"""OpenAPI v2 in the protobuf form of gnostic's `openapi.v2.Document`, which older kubectl asks for. Pure.

Only what the JSON document of `openapi.document_v2` holds is written; the numbers are the fields of
gnostic's `OpenAPIv2.proto`.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import yaml

OPERATIONS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
SCHEMA_STRINGS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
SCHEMA_NUMBERS = {"multipleOf": 6, "maximum": 7, "minimum": 9}
SCHEMA_INTEGERS = {
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "maxProperties": 17,
    "minProperties": 18,
}


def encode_document(document: Mapping[str, Any]) -> bytes:
    """The whole document."""
    info = document["info"]
    return b"".join(
        (
            _text(1, document["swagger"]),
            _message(2, _text(1, info["title"]) + _text(2, info["version"])),
            _message(8, _named(2, document["paths"], _path_item)),
            _message(9, _named(1, document["definitions"], _schema)),
        )
    )


def _path_item(item: Mapping[str, Any]) -> bytes:
    return b"".join(_message(OPERATIONS[method], _operation(item[method])) for method in item)


def _operation(operation: Mapping[str, Any]) -> bytes:
    parameters = b"".join(_message(8, _parameter(parameter)) for parameter in operation["parameters"])
    responses = b"".join(
        _message(1, _text(1, code) + _message(2, _message(1, _text(1, answer["description"]))))
        for code, answer in operation["responses"].items()
    )
    return (
        _text(5, operation["operationId"]) + parameters + _message(9, responses) + _extensions(13, operation)
    )


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    query = (
        _text(2, parameter["in"])
        + _text(3, parameter["description"])
        + _text(4, parameter["name"])
        + _text(6, parameter["type"])
    )
    # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
    return _message(1, _message(2, _message(3, query)))


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [_text(number, schema[key]) for key, number in SCHEMA_STRINGS.items() if schema.get(key)]
    parts += [_double(number, schema[key]) for key, number in SCHEMA_NUMBERS.items() if key in schema]
    parts += [_varint_field(number, schema[key]) for key, number in SCHEMA_INTEGERS.items() if key in schema]
    if "default" in schema:
        parts.append(_message(5, _any(schema["default"])))
    parts += [_text(19, name) for name in schema.get("required") or ()]
    parts += [_message(20, _any(value)) for value in schema.get("enum") or ()]
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        parts.append(_message(21, _message(1, _schema(additional))))
    elif additional is not None:
        parts.append(_message(21, _varint_field(2, int(bool(additional)))))
    if isinstance(schema.get("type"), str):
        parts.append(_message(22, _text(1, schema["type"])))
    if isinstance(schema.get("items"), dict):
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if schema.get("properties"):
        parts.append(_message(25, _named(1, schema["properties"], _schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _extensions(number: int, holder: Mapping[str, Any]) -> bytes:
    found = {key: value for key, value in holder.items() if key.startswith("x-")}
    return _named(number, found, _any)


def _any(value: Any) -> bytes:
    return _text(2, yaml.safe_dump(value, default_flow_style=True, sort_keys=False))


def _named(number: int, entries: Mapping[str, Any], encode: Callable[[Any], bytes]) -> bytes:
    return b"".join(_message(number, _text(1, name) + _message(2, encode(v))) for name, v in entries.items())


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode())


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
