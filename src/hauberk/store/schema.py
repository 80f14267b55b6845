"""Structural schemas at work: one walk over an object fills defaults, drops what is unknown, and says
everything that is wrong. A schema is compiled once; an object is checked often. Pure.

The schemas are OpenAPI v3 with Kubernetes' extensions (`x-kubernetes-preserve-unknown-fields`,
`x-kubernetes-int-or-string`, `x-kubernetes-embedded-resource`).
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import re2

from hauberk.model.kind import FieldError

Schema = Mapping[str, Any]
Check = Callable[[Any, str, list[FieldError]], None]

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
MOST_SHOWN = 200
"""Characters of a value that an error repeats."""
_QUIET = re2.Options()
_QUIET.log_errors = False
ALWAYS_KNOWN = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(slots=True)
class Findings:
    """What a walk found."""

    errors: list[FieldError] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Paths of fields that the schema does not know; they are dropped."""
    secret: bool = False
    """Whether values may not be told."""

    def shown(self, value: Any) -> str:
        """A value in an error, short, or hidden."""
        if self.secret:
            return "(hidden)"
        if isinstance(value, str):
            return f'"{value[:MOST_SHOWN]}{"…" if len(value) > MOST_SHOWN else ""}"'
        return str(value).lower() if isinstance(value, bool) else str(value)[:MOST_SHOWN]

    def wrong(self, path: str, value: Any, why: str) -> FieldError:
        """A value that is not what the schema wants."""
        return FieldError(path, f"Invalid value: {self.shown(value)}: {path} {why}")


def conform(value: dict[str, Any], schema: Schema, *, secret: bool = False) -> Findings:
    """Fill defaults and drop unknown fields of a whole object, in place, and check the rest.

    `apiVersion`, `kind` and `metadata` are the API's own and are left alone. Of a `secret` object no value is told.
    """
    findings = Findings(secret=secret)
    _walk(value, schema, "", findings, root=True)
    return findings


def _walk(value: Any, schema: Schema, path: str, findings: Findings, *, root: bool = False) -> None:
    if value is None and schema.get("nullable"):
        return
    if not _typed(value, schema, path, findings):
        return
    if isinstance(value, dict):
        _walk_object(value, schema, path, findings, root=root)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(value):
                _walk(item, items, f"{path}[{index}]", findings)
        _list_constraints(value, schema, path, findings)
    _constraints(value, schema, path, findings)


def _typed(value: Any, schema: Schema, path: str, findings: Findings) -> bool:
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        if isinstance(value, int | str) and not isinstance(value, bool):
            return True
        findings.errors.append(_mistyped(path, value, "integer or string"))
        return False
    expected = schema.get("type")
    if expected is None:
        return True
    fits = isinstance(value, TYPES[expected]) and (expected == "boolean" or not isinstance(value, bool))
    if expected == "integer" and isinstance(value, float) and value.is_integer():
        fits = True
    if not fits:
        findings.errors.append(_mistyped(path, value, expected))
    return fits


def _walk_object(value: dict[str, Any], schema: Schema, path: str, findings: Findings, *, root: bool) -> None:
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    keeps = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or (
        not properties and additional is None
    )
    own = root or bool(schema.get("x-kubernetes-embedded-resource"))
    for key, known in properties.items():
        if key not in value and "default" in known:
            value[key] = copy.deepcopy(known["default"])
    for key in list(value):
        if own and key in ALWAYS_KNOWN:
            continue
        at = f"{path}.{key}" if path else key
        if key in properties:
            known = properties[key]
            if value[key] is None and not known.get("nullable"):
                # A null stands for an absent field, and takes its default.
                del value[key]
                if "default" in known:
                    value[key] = copy.deepcopy(known["default"])
                continue
            _walk(value[key], known, at, findings)
        elif isinstance(additional, dict):
            if value[key] is None and additional.get("type") == "string":
                value[key] = ""
            _walk(value[key], additional, f"{path}[{key}]", findings)
        elif additional is not True and not keeps:
            findings.unknown.append(at)
            del value[key]
    for key in schema.get("required") or ():
        if key not in value and not (own and key in ALWAYS_KNOWN):
            at = f"{path}.{key}" if path else key
            findings.errors.append(FieldError(at, "Required value", "FieldValueRequired"))
    if (least := schema.get("minProperties")) is not None and len(value) < least:
        findings.errors.append(findings.wrong(path, value, f"should have at least {least} properties"))
    if (most := schema.get("maxProperties")) is not None and len(value) > most:
        findings.errors.append(
            FieldError(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany")
        )


def _list_constraints(value: list[Any], schema: Schema, path: str, findings: Findings) -> None:
    if (least := schema.get("minItems")) is not None and len(value) < least:
        findings.errors.append(findings.wrong(path, len(value), f"should have at least {least} items"))
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        findings.errors.append(
            FieldError(path, f"Too many: {len(value)}: must have at most {most} items", "FieldValueTooMany")
        )
    if schema.get("x-kubernetes-list-type") == "map":
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        identities = [[i.get(key) for key in keys] if isinstance(i, dict) else i for i in value]
    elif schema.get("x-kubernetes-list-type") == "set" or schema.get("uniqueItems"):
        identities = value
    else:
        return
    seen: set[bytes] = set()
    for index, identity in enumerate(map(msgspec.json.encode, identities)):
        if identity in seen:
            at = f"{path}[{index}]"
            message = f"Duplicate value: {findings.shown(value[index])}"
            findings.errors.append(FieldError(at, message, "FieldValueDuplicate"))
        seen.add(identity)


def _constraints(value: Any, schema: Schema, path: str, findings: Findings) -> None:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(Findings().shown(item) for item in allowed)
        findings.errors.append(
            FieldError(
                path,
                f"Unsupported value: {findings.shown(value)}: supported values: {listed}",
                "FieldValueNotSupported",
            )
        )
    if isinstance(value, str):
        _string_constraints(value, schema, path, findings)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _number_constraints(value, schema, path, findings)
    _combinations(value, schema, path, findings)


def _string_constraints(value: str, schema: Schema, path: str, findings: Findings) -> None:
    if (least := schema.get("minLength")) is not None and len(value) < least:
        findings.errors.append(findings.wrong(path, value, f"should be at least {least} chars long"))
    if (most := schema.get("maxLength")) is not None and len(value) > most:
        findings.errors.append(
            FieldError(path, f"Too long: may not be more than {most} bytes", "FieldValueTooLong")
        )
    if (pattern := schema.get("pattern")) is not None and not compile_pattern(pattern).search(value):
        findings.errors.append(findings.wrong(path, value, f"should match '{pattern}'"))


def _number_constraints(value: float, schema: Schema, path: str, findings: Findings) -> None:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") is True and value == least)):
        findings.errors.append(findings.wrong(path, value, f"should be greater than or equal to {least}"))
    if most is not None and (value > most or (schema.get("exclusiveMaximum") is True and value == most)):
        findings.errors.append(findings.wrong(path, value, f"should be less than or equal to {most}"))
    if (step := schema.get("multipleOf")) is not None and value % step:
        findings.errors.append(findings.wrong(path, value, f"should be a multiple of {step}"))
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and not -(2**bits) <= value < 2**bits:
        findings.errors.append(findings.wrong(path, value, f"must be a {schema['format']}"))


def _combinations(value: Any, schema: Schema, path: str, findings: Findings) -> None:
    for part in schema.get("allOf") or ():
        findings.errors += _errors_of(value, part, path)
    if (parts := schema.get("anyOf")) and not any(not _errors_of(value, part, path) for part in parts):
        findings.errors.append(findings.wrong(path, value, "must validate at least one schema (anyOf)"))
    if (parts := schema.get("oneOf")) and sum(not _errors_of(value, part, path) for part in parts) != 1:
        findings.errors.append(findings.wrong(path, value, "must validate one and only one schema (oneOf)"))
    if (part := schema.get("not")) and not _errors_of(value, part, path):
        findings.errors.append(findings.wrong(path, value, "must not validate the schema (not)"))


def _errors_of(value: Any, schema: Schema, path: str) -> list[FieldError]:
    """What is wrong by a part of `allOf`, `anyOf`, `oneOf` or `not`, which neither prunes nor defaults."""
    findings = Findings(secret=True)  # only whether it fits is asked
    _walk(copy.deepcopy(value), {"x-kubernetes-preserve-unknown-fields": True, **schema}, path, findings)
    return findings.errors


def _mistyped(path: str, value: Any, expected: str) -> FieldError:
    found = next((name for name, types in TYPES.items() if isinstance(value, types)), "null")
    if isinstance(value, bool):
        found = "boolean"
    message = f'Invalid value: "{found}": {path or "the object"} must be of type {expected}: "{found}"'
    return FieldError(path, message, "FieldValueTypeInvalid")


class PatternError(ValueError):
    """A regular expression that RE2 does not take."""


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Any:
    """By RE2, as an API server in Go does: in time linear in the value, whoever wrote the pattern.

    Raises `PatternError`.
    """
    try:
        return re2.compile(pattern, _QUIET)
    except re2.error as error:
        raise PatternError(str(error.args[0] if error.args else error)) from error
