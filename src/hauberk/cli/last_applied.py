"""The patch of a client-side apply: what is wanted, and the end of what was applied before and is wanted no more. Pure.

What others have set beside it (defaults, controllers) stays.
"""

from collections.abc import Mapping
from typing import Any

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's own, so that both can apply the same object in turn."""

Schema = Mapping[str, Any]


def with_deletions(last: Any, wanted: Any, schema: Schema | None) -> Any:
    """A patch that makes an object, applied before as `last`, as it is `wanted`.

    With the kind's `schema` it is a strategic merge patch; without one, a JSON merge patch (RFC 7386).
    """
    if isinstance(wanted, dict):
        return _of_map(last if isinstance(last, dict) else {}, wanted, schema)
    if isinstance(wanted, list) and schema is not None:
        return _of_list(last if isinstance(last, list) else [], wanted, schema)
    return wanted


def _of_map(last: dict[str, Any], wanted: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in last if key not in wanted}
    for key, value in wanted.items():
        below = _property(schema, key)
        patch[key] = with_deletions(last.get(key), value, below)
        if below is not None and isinstance(value, list) and _merges(below) and not _merge_key(below):
            gone = [item for item in last.get(key) or () if item not in value]
            if gone:
                patch[f"$deleteFromPrimitiveList/{key}"] = gone
    return patch


def _of_list(last: list[Any], wanted: list[Any], schema: Schema) -> list[Any]:
    key = _merge_key(schema)
    if not _merges(schema) or key is None:
        return wanted
    items = schema.get("items") or {}
    before = {item.get(key): item for item in last if isinstance(item, dict)}
    patch = [with_deletions(before.get(item[key]), item, items) if key in item else item for item in wanted]
    kept = {item.get(key) for item in wanted}
    patch += [{key: name, "$patch": "delete"} for name in before if name is not None and name not in kept]
    return patch


def _property(schema: Schema | None, key: str) -> Schema | None:
    if schema is None:
        return None
    found: Schema = (schema.get("properties") or {}).get(key) or {}
    if not found and isinstance(schema.get("additionalProperties"), dict):
        found = schema["additionalProperties"]
    return found


def _merges(schema: Schema) -> bool:
    return "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(",")


def _merge_key(schema: Schema) -> str | None:
    found = schema.get("x-kubernetes-patch-merge-key")
    return str(found) if found else None
