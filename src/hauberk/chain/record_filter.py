"""Which call records are wanted, by any of their fields: `status>=500`, `path=/pay/*`, `duration>250ms`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args

import msgspec

from hauberk.chain.record import Connection, Request

DURATION = "duration"
"""Stands for `duration_us`, with a unit in its value."""

_EXPRESSION = re.compile(r"\s*([a-z_.]+)\s*(>=|<=|!=|=|>|<)\s*(.*?)\s*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)")
_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000}
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


class MalformedFilterError(Exception):
    """An expression is none; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. A record without the field meets `!=` alone."""

    path: tuple[str, ...]
    holds: Callable[[Any], bool]

    def matches(self, record: Mapping[str, Any]) -> bool:
        value: Any = record
        for name in self.path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return self.holds(value)


def parse_filter(text: str) -> Filter:
    """`FIELD OPERATOR VALUE`: `=`, `!=` compare texts, where `*` stands for anything, `<`, `<=`, `>`, `>=` numbers.

    Raises:
        MalformedFilterError: it is none, or no record has such a field.
    """
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise MalformedFilterError(f"expected FIELD=VALUE, or with one of != > >= < <=, found {text!r}")
    field, sign, wanted = found.groups()
    if field != DURATION and field not in FIELDS:
        raise MalformedFilterError(
            f"expected one of {', '.join((DURATION, *sorted(FIELDS)))}, found {field!r}"
        )
    path = ("duration_us",) if field == DURATION else tuple(field.split("."))
    if field == DURATION or sign in _ORDER:
        return Filter(path, _numeric(field, sign, wanted))
    matches = _pattern(wanted)
    if sign == "!=":
        return Filter(path, lambda value: value is None or not matches(_text(value)))
    return Filter(path, lambda value: value is not None and matches(_text(value)))


def _numeric(field: str, sign: str, wanted: str) -> Callable[[Any], bool]:
    if field == DURATION:
        parts = _DURATION.fullmatch(wanted)
        if parts is None or sign not in _ORDER:
            raise MalformedFilterError(
                f"{field}: expected for example {field}>250ms (us, ms or s), found {wanted!r}"
            )
        number = float(parts[1]) * _MICROSECONDS[parts[2]]
    else:
        try:
            number = float(wanted)
        except ValueError:
            raise MalformedFilterError(f"{field}: expected a number after {sign}, found {wanted!r}") from None
    compare = _ORDER[sign]
    return lambda value: isinstance(value, int | float) and compare(value, number)


def _pattern(wanted: str) -> Callable[[str], bool]:
    """By its parts in order, so that no pattern takes long, whatever the text."""
    first, *rest = wanted.split("*")
    if not rest:
        return lambda text: text == wanted
    *middle, last = rest

    def matches(text: str) -> bool:
        if not text.startswith(first) or len(text) < len(first) + len(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return text.endswith(last)

    return matches


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _fields(struct: type[msgspec.Struct], prefix: str = "") -> frozenset[str]:
    found: set[str] = set()
    for field in msgspec.structs.fields(struct):
        kinds = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
        below = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
        name = prefix + field.encode_name
        found |= _fields(below[0], f"{name}.") if below else {name}
    return frozenset(found)


FIELDS = _fields(Connection) | _fields(Request) | {"type"}
"""Every field of a call record, those of its parts behind a dot."""
