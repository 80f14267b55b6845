"""An AuthorizationPolicy in words. Pure."""

from typing import Any

from hauberk.model.kind import Object


def rows(policy: Object) -> list[tuple[str, str, str, str]]:
    """Name, action, callers and calls: a row for each rule."""
    metadata, spec = policy["metadata"], policy.get("spec") or {}
    name, action = f"{metadata['namespace']}/{metadata['name']}", spec.get("action", "ALLOW")
    rules = spec.get("rules")
    if not rules:
        return [(name, action, "nobody" if action == "ALLOW" else "-", "-")]
    return [(name, action, _sources(rule), _operations(rule)) for rule in rules]


def _sources(rule: dict[str, Any]) -> str:
    return " or ".join(_fields(entry["source"]) for entry in rule.get("from") or ()) or "anybody"


def _operations(rule: dict[str, Any]) -> str:
    told = " or ".join(_fields(entry["operation"]) for entry in rule.get("to") or ()) or "anything"
    conditions = " and ".join(
        f"{when['key']} {verb} {','.join(when[field])}"
        for when in rule.get("when") or ()
        for field, verb in (("values", "in"), ("notValues", "not in"))
        if when.get(field)
    )
    return f"{told} when {conditions}" if conditions else told


def _fields(told: dict[str, Any]) -> str:
    return " and ".join(f"{field} {','.join(values)}" for field, values in told.items())
