"""The three ways to patch an object: RFC 7386, RFC 6902 and Kubernetes' strategic merge. Pure.

None of them changes its arguments; the result may share parts with them.
"""

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointerException, resolve_pointer

DIRECTIVES = ("$patch", "$retainKeys")
LIST_DIRECTIVES = ("$setElementOrder/", "$deleteFromPrimitiveList/")
MOST_OPERATIONS = 10_000
COPIED_BYTES = 3 * 1024 * 1024
"""What the copies of a JSON patch may add in all: a few of them could otherwise fill the memory."""

Schema = Mapping[str, Any]


_UNFIT = (
    jsonpatch.JsonPatchException,
    JsonPointerException,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    RecursionError,
)
"""What the library raises of operations that are malformed or meet something else than they expect."""


class PatchError(ValueError):
    """A patch that is malformed, or does not fit the object."""


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """JSON patch (RFC 6902). Raises `PatchError`; nothing is applied unless everything is."""
    if not isinstance(operations, list):
        raise PatchError(f"expected a list of operations, found {type(operations).__name__}")
    if len(operations) > MOST_OPERATIONS:
        raise PatchError(f"expected at most {MOST_OPERATIONS} operations, found {len(operations)}")
    left = COPIED_BYTES
    result = copy.deepcopy(target)
    for number, operation in enumerate(operations):
        try:
            if isinstance(operation, dict) and operation.get("op") == "copy":
                left -= len(msgspec.json.encode(resolve_pointer(result, operation["from"])))
                if left < 0:
                    raise PatchError(f"expected copies of at most {COPIED_BYTES} bytes in all, found more")
            result = jsonpatch.apply_patch(result, [operation], in_place=True)
        except PatchError:
            raise
        except jsonpatch.JsonPatchTestFailed as error:
            path = operation.get("path")
            raise PatchError(f"testing path {path} failed: the value is not the one expected") from error
        except _UNFIT as error:
            said = type(error).__name__ if isinstance(error, LookupError | TypeError) else error
            raise PatchError(f"operation {number} does not fit the object: {said}") from error
    return result


def strategic_merge_patch(target: Any, patch: Any, schema: Schema) -> Any:
    """Kubernetes' strategic merge: lists are merged by `x-kubernetes-patch-merge-key`. Raises `PatchError`."""
    if not isinstance(patch, dict) or not isinstance(target, dict):
        raise PatchError("expected a JSON object")
    return _merge_map(target, patch, schema)


def _merge_map(target: Any, patch: dict[str, Any], schema: Schema) -> Any:
    directive = patch.get("$patch")
    if directive == "replace":
        return _without_directives({k: v for k, v in patch.items() if k != "$patch"})
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"expected $patch to be replace, merge or delete, found {directive!r}")
    result = dict(target) if isinstance(target, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        if not isinstance(retained, list):
            raise PatchError(f"expected $retainKeys to be a list, found {type(retained).__name__}")
        result = {key: value for key, value in result.items() if key in retained}
    orders, deletions = (
        _directives(patch, "$setElementOrder/"),
        _directives(patch, "$deleteFromPrimitiveList/"),
    )
    for key in deletions:
        if isinstance(result.get(key), list):
            gone = {_hashable(item) for item in deletions[key]}
            result[key] = [item for item in result[key] if _hashable(item) not in gone]
    for key, value in patch.items():
        if key in DIRECTIVES or key.startswith(LIST_DIRECTIVES):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(result.get(key), value, _property(schema, key))
    for key, order in orders.items():
        if isinstance(result.get(key), list):
            base = target.get(key) if isinstance(target, dict) else None
            result[key] = _ordered(result[key], order, base or [], _merge_key(_property(schema, key)))
    return result


def _merge_value(target: Any, value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        return _merge_map(target, value, schema)
    if isinstance(value, list):
        return _merge_list(target, value, schema)
    return value


def _merge_list(target: Any, patch: list[Any], schema: Schema) -> list[Any]:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" and len(item) == 1 for item in patch):
        return [_without_directives(item) for item in patch if not _is_replacement(item)]
    if "merge" not in str(schema.get("x-kubernetes-patch-strategy", "")).split(","):
        return [_without_directives(item) for item in patch]
    existing = target if isinstance(target, list) else []
    key = _merge_key(schema)
    if key is None or not any(isinstance(item, dict) for item in patch):
        merged = {_hashable(item): item for item in reversed([*existing, *patch])}
        added = [key for key in merged if key not in {_hashable(item) for item in existing}]
        return [*existing, *(merged[key] for key in reversed(added))]
    return _merge_keyed(existing, patch, key, schema.get("items") or {})


def _merge_keyed(existing: list[Any], patch: list[Any], key: str, items: Schema) -> list[Any]:
    result = dict(enumerate(existing))
    end = len(existing)
    places: dict[Any, list[int]] = {}
    for place, old in result.items():
        if isinstance(old, dict):
            places.setdefault(_hashable(old.get(key)), []).append(place)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"expected each element of a list to have the merge key {key!r}")
        found = places.get(_hashable(item[key]))
        if item.get("$patch") == "delete":
            for place in places.pop(_hashable(item[key]), ()):
                del result[place]
        elif found:
            result[found[0]] = _merge_map(result[found[0]], item, items)
        else:
            places[_hashable(item[key])] = [end]
            result[end] = _merge_map({}, item, items)
            end += 1
    return list(result.values())


def _ordered(merged: list[Any], order: list[Any], base: list[Any], key: str | None) -> list[Any]:
    """`merged` with the elements of `order` in that order; the others keep their place before
    the element that they stood before.

    Raises `PatchError` if the order does not name its elements.
    """

    def identity(item: Any) -> Any:
        if key is None or not isinstance(item, dict):
            return _hashable(item)
        if key not in item:
            raise PatchError(f"expected each element of a list to have the merge key {key!r}")
        return _hashable(item[key])

    rank = {identity(item): place for place, item in reversed(list(enumerate(order)))}
    position = {identity(item): place for place, item in reversed(list(enumerate(base)))}
    ordered = sorted((i for i in merged if identity(i) in rank), key=lambda item: rank[identity(item)])
    others = deque(item for item in merged if identity(item) not in rank)
    result: list[Any] = []
    for item in ordered:
        at = position.get(identity(item))
        while others and at is not None and position.get(identity(others[0]), len(base)) < at:
            result.append(others.popleft())
        result.append(item)
    return [*result, *others]


def _hashable(value: Any) -> Any:
    """What compares as the value does; 1 and true are not the same in JSON."""
    return (type(value), value) if isinstance(value, str | int | float | bool | None) else repr(value)


def _directives(patch: Mapping[str, Any], prefix: str) -> dict[str, list[Any]]:
    found = {key.removeprefix(prefix): value for key, value in patch.items() if key.startswith(prefix)}
    for key, value in found.items():
        if not isinstance(value, list):
            raise PatchError(f"expected a list at {prefix}{key}, found {type(value).__name__}")
    return found


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and key not in DIRECTIVES and not key.startswith(LIST_DIRECTIVES)
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value


def _is_replacement(item: Any) -> bool:
    return isinstance(item, dict) and item.get("$patch") == "replace" and len(item) == 1


def _merge_key(schema: Schema) -> str | None:
    key = schema.get("x-kubernetes-patch-merge-key")
    return str(key) if key else None


def _property(schema: Schema, key: str) -> Schema:
    found = (schema.get("properties") or {}).get(key)
    if found is None:
        additional = schema.get("additionalProperties")
        found = additional if isinstance(additional, dict) else {}
    return found if isinstance(found, dict) else {}
