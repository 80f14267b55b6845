"""Bodies in Kubernetes' protobuf form, which Go's typed clients send: an object's JSON out of them.

Answers are JSON, which every client takes. Pure.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from hauberk.store import status
from hauberk.store.client import ApiError
from hauberk.store.protobuf_messages import Field, Messages, messages

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE = {1: Field("apiVersion", "string"), 2: Field("kind", "string")}
_ENVELOPE = {1: Field("type", "#type"), 2: Field("raw", "#data")}
_NUMBER_OR_TEXT = {1: Field("type", "int"), 2: Field("number", "int"), 3: Field("text", "string")}
_MOMENT = {1: Field("seconds", "int"), 2: Field("nanoseconds", "int")}
_TEXTS = {1: Field("items", "string", repeated=True)}


def decode_body(body: bytes) -> dict[str, Any]:
    """The object as its JSON. Raises `ApiError` 400 if it is malformed, 415 for a kind that has no message."""
    if not body.startswith(MAGIC):
        raise status.bad_request(f"expected a protobuf body to begin with {MAGIC!r}, found {body[:4]!r}")
    table = messages()
    known = Messages(table.kinds, {**table.fields, "#type": _TYPE})
    envelope = _decode(body[len(MAGIC) :], _ENVELOPE, known)
    named = envelope.get("type") or {}
    api_version, kind = named.get("apiVersion", ""), named.get("kind", "")
    # DeleteOptions belong to every group and version.
    message = known.kinds.get(("meta/v1" if kind == "DeleteOptions" else api_version, kind))
    if message is None:
        raise ApiError(
            415,
            "UnsupportedMediaType",
            f"{kind} of {api_version} is not taken as {MEDIA_TYPE}; send application/json or application/yaml",
        )
    found = _decode(envelope.get("raw", b""), known.fields[message], known)
    return {"apiVersion": api_version, "kind": kind, **found}


def _decode(data: bytes, fields: Mapping[int, Field], known: Messages) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _numbered(data):
        # What has no entry is newer than the table; an API server too drops fields that it does not know.
        if field := fields.get(number):
            _store(found, field, value, known)
    return found


def _store(found: dict[str, Any], field: Field, value: "int | bytes", known: Messages) -> None:
    if field.mapped:
        entry = _decode(
            _bytes(value), {1: Field("key", "string"), 2: Field("value", field.type, kept=True)}, known
        )
        found.setdefault(field.name, {})[entry.get("key", "")] = entry.get("value", "")
    elif field.repeated:
        found.setdefault(field.name, []).append(_value(field.type, value, known))
    elif not field.name:
        found.update(_value(field.type, value, known))
    else:
        decoded = _value(field.type, value, known)
        if decoded is not None and (field.kept or decoded not in ("", b"", 0, False, {})):
            found[field.name] = decoded


def _value(type_: str, value: "int | bytes", known: Messages) -> Any:
    if plain := _PLAIN.get(type_):
        return plain(value, known)
    return _decode(_bytes(value), known.fields[type_], known)


def _text(value: "int | bytes", _known: Messages) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _malformed() from error


def _signed(value: "int | bytes", _known: Messages) -> int:
    if isinstance(value, bytes):
        raise _malformed()
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _wrapped_text(value: "int | bytes", known: Messages) -> str:
    found: str = _decode(_bytes(value), {1: Field("text", "string")}, known).get("text", "")
    return found


def _number_or_text(value: "int | bytes", known: Messages) -> int | str:
    found = _decode(_bytes(value), _NUMBER_OR_TEXT, known)
    chosen: int | str = found.get("text", "") if found.get("type") else found.get("number", 0)
    return chosen


def _raw(value: "int | bytes", known: Messages) -> Any:
    data = _decode(_bytes(value), {1: Field("raw", "#data")}, known).get("raw", b"")
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed() from error


def _time(value: "int | bytes", known: Messages, *, digits: int = 0) -> str | None:
    """None for Go's zero time, which JSON writes as null."""
    found = _decode(_bytes(value), _MOMENT, known)
    if not found:
        return None
    try:
        since = timedelta(seconds=found.get("seconds", 0), microseconds=found.get("nanoseconds", 0) // 1000)
        moment = EPOCH + since
    except OverflowError as error:
        raise _malformed() from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S" + (".%f" if digits else "") + "Z")


_PLAIN: Mapping[str, Callable[["int | bytes", Messages], Any]] = {
    "string": _text,
    "int": _signed,
    "bool": lambda value, known: bool(_signed(value, known)),
    "bytes": lambda value, _known: base64.b64encode(_bytes(value)).decode(),
    "#data": lambda value, _known: _bytes(value),
    "time": _time,
    "microtime": lambda value, known: _time(value, known, digits=6),
    "quantity": _wrapped_text,
    "intorstring": _number_or_text,
    "raw": _raw,
    "extra": lambda value, known: _decode(_bytes(value), _TEXTS, known).get("items", []),
}


def _numbered(data: bytes) -> "Iterator[tuple[int, int | bytes]]":
    """The fields of a message as they stand: number and value."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire in {1, 2, 5}:
            length = {1: 8, 5: 4}.get(wire)
            if length is None:
                length, position = _varint(data, position)
            if position + length > len(data):
                raise _malformed()
            yield number, data[position : position + length]
            position += length
        else:
            raise _malformed()


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise _malformed()


def _bytes(value: "int | bytes") -> bytes:
    if isinstance(value, int):
        raise _malformed()
    return value


def _malformed() -> ApiError:
    return status.bad_request("the protobuf body is malformed: expected the fields of its kind")
