"""Label and field selectors: parsed once, matched often. Pure.

The grammar is that of Kubernetes' `labels.Parse` (equality and set based) and `fields.ParseSelector`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Object

LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
LABEL_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")


class SelectorError(ValueError):
    """A selector that cannot be parsed: what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `operator` is `in`, `notin`, `exists`, `absent`, `gt` or `lt`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        try:
            found, bound = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return found > bound if self.operator == "gt" else found < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements hold; without any, everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


def valid_label_key(key: str) -> bool:
    """Whether `key` is a qualified name: `[PREFIX/]NAME`."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not LABEL_PREFIX.fullmatch(prefix)):
        return False
    return LABEL_NAME.fullmatch(name) is not None


def valid_label_value(value: str) -> bool:
    return LABEL_VALUE.fullmatch(value) is not None


def parse_label_selector(text: str) -> LabelSelector:
    """`app=web,tier in (a,b),!canary`. Raises `SelectorError`."""
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    position = 0
    while position < len(tokens):
        requirement, position = _requirement(text, tokens, position)
        requirements.append(requirement)
        if position < len(tokens):
            if tokens[position] != "," or position + 1 == len(tokens):
                raise _unexpected(text, tokens, position, "',' and a further requirement")
            position += 1
    return LabelSelector(tuple(requirements))


def label_selector_of(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector that a `metav1.LabelSelector` object says; None selects nothing. Raises `SelectorError`."""
    if selector is None:
        return LabelSelector((Requirement("", "exists"),))
    requirements = [
        Requirement(k, "in", frozenset([v])) for k, v in (selector.get("matchLabels") or {}).items()
    ]
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    for expression in selector.get("matchExpressions") or ():
        operator = names.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(
                f"expected operator In, NotIn, Exists or DoesNotExist, found {expression.get('operator')!r}"
            )
        requirements.append(
            Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ()))
        )
    return LabelSelector(tuple(requirements))


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = TOKEN.match(stripped, position)
        if match is None:
            raise SelectorError(f"unable to parse requirement: unexpected text at {stripped[position:]!r}")
        tokens.append(match[1])
        position = match.end()
    return tokens


def _requirement(text: str, tokens: Sequence[str], position: int) -> tuple[Requirement, int]:
    negated = tokens[position] == "!"
    if negated:
        position += 1
    key = tokens[position] if position < len(tokens) else ""
    if not valid_label_key(key):
        raise SelectorError(
            f"unable to parse requirement: key: Invalid value: {key!r} in {text!r}: expected a label key, "
            "like app or app.kubernetes.io/name"
        )
    position += 1
    operator = tokens[position] if position < len(tokens) else ","
    if negated:
        return Requirement(key, "absent"), position
    match operator:
        case ",":
            return Requirement(key, "exists"), position
        case "=" | "==" | "!=":
            value = tokens[position + 1] if position + 1 < len(tokens) else ""
            consumed = 2
            if value in {",", ""}:
                value, consumed = "", 1
            kind = "notin" if operator == "!=" else "in"
            return Requirement(key, kind, frozenset([_value(text, value)])), position + consumed
        case "<" | ">":
            value = tokens[position + 1] if position + 1 < len(tokens) else ""
            if not re.fullmatch(r"[-+]?\d+", value):
                raise _unexpected(text, tokens, position + 1, "an integer")
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset([value])), position + 2
        case "in" | "notin":
            values, position = _values(text, tokens, position + 1)
            return Requirement(key, operator, values), position
        case _:
            raise _unexpected(text, tokens, position, "one of = == != in notin < > or ','")


def _values(text: str, tokens: Sequence[str], position: int) -> tuple[frozenset[str], int]:
    if position >= len(tokens) or tokens[position] != "(":
        raise _unexpected(text, tokens, position, "'('")
    position += 1
    values: list[str] = []
    last = ""
    while position < len(tokens) and tokens[position] != ")":
        if tokens[position] == ",":
            values.append(last)
            last = ""
        elif last:
            raise _unexpected(text, tokens, position, "',' or ')'")
        else:
            last = _value(text, tokens[position])
        position += 1
    if position >= len(tokens):
        raise _unexpected(text, tokens, position, "')'")
    values.append(last)
    return frozenset(values), position + 1


def _value(text: str, value: str) -> str:
    if not valid_label_value(value):
        raise SelectorError(
            f"unable to parse requirement: values: Invalid value: {value!r} in {text!r}: expected at most 63 "
            "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
        )
    return value


def _unexpected(text: str, tokens: Sequence[str], position: int, expected: str) -> SelectorError:
    found = repr(tokens[position]) if position < len(tokens) else "the end"
    return SelectorError(f"unable to parse requirement: found {found} in {text!r}, expected: {expected}")


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """A field of the object is, or is not, a value."""

    path: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms hold; without any, everything matches."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, obj: Object) -> bool:
        return all((_field(obj, term.path) == term.value) == term.equal for term in self.terms)

    def value_of(self, path: str) -> str | None:
        """The value that `path` must equal, if one is required."""
        return next((term.value for term in self.terms if term.path == path and term.equal), None)


def parse_field_selector(text: str, selectable: Sequence[str]) -> FieldSelector:
    """`spec.nodeName=a,status.phase!=Failed`; only `selectable` paths. Raises `SelectorError`."""
    terms = field_terms(text)
    for term in terms:
        if term.path not in {"metadata.name", "metadata.namespace", *selectable}:
            raise SelectorError(
                f'"{term.path}" is not a known field selector: only '
                f'"metadata.name", "metadata.namespace"' + "".join(f', "{s}"' for s in selectable)
            )
    return FieldSelector(terms)


def field_terms(text: str) -> tuple[FieldTerm, ...]:
    """What a field selector says, of whatever fields. Raises `SelectorError`."""
    terms = []
    for part in re.split(r"(?<!\\),", text):
        if not part.strip():
            continue
        match = re.match(r"\s*([^=!]+?)\s*(==|!=|=)(.*)", part, re.DOTALL)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = match.groups()
        value = re.sub(r"\\([\\,=])", r"\1", value.strip())
        terms.append(FieldTerm(path, value, operator != "!="))
    return tuple(terms)


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
