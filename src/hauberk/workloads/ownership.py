"""Who owns an object, and which objects a controller may take or must let go."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Update


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with `controller: true`, if there is one."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == owner["metadata"]["uid"]


def owner_reference(owner: Object) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a `metav1.LabelSelector` selects these labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    found = labels or {}
    if any(found.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_satisfies(expression, found) for expression in selector.get("matchExpressions") or ())


def _satisfies(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case operator:
            raise ValueError(
                f"label selector: expected In, NotIn, Exists or DoesNotExist, found {operator!r}"
            )


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner controls, and the updates that make it so (adoptions and releases)."""

    owned: list[Object] = field(default_factory=list)
    changes: list[Action] = field(default_factory=list)


def claim(owner: Object, selector: Mapping[str, Any] | None, kind: str, objects: Iterable[Object]) -> Claim:
    """Keep what is ours and matches, release what no longer matches, adopt orphans that match."""
    result = Claim()
    for obj in objects:
        selected = matches(selector, obj["metadata"].get("labels"))
        if is_controlled_by(obj, owner):
            if selected:
                result.owned.append(obj)
            elif not is_deleting(obj):
                result.changes.append(Update(kind, _released(obj, owner)))
        elif selected and controller_of(obj) is None and not is_deleting(obj) and not is_deleting(owner):
            adopted = copy.deepcopy(obj)
            adopted["metadata"].setdefault("ownerReferences", []).append(owner_reference(owner))
            result.changes.append(Update(kind, adopted))
            result.owned.append(adopted)
    return result


def _released(obj: Object, owner: Object) -> Object:
    released = copy.deepcopy(obj)
    references = released["metadata"]["ownerReferences"]
    released["metadata"]["ownerReferences"] = [r for r in references if r["uid"] != owner["metadata"]["uid"]]
    return released
