"""Facts about pods that controllers decide on, and pods made from templates."""

import copy
import hashlib
import json
from datetime import datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.clock import parse, seconds_since
from hauberk.workloads.ownership import is_deleting, owner_reference

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes: names spell no words and can be read aloud."""

BURST = 100
"""Pods made or deleted in one pass; the next pass follows at once, other keys get their turn between."""


def is_ready(pod: Object) -> bool:
    return condition.holds(pod.get("status", {}).get("conditions"), "Ready")


def is_terminal(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """It counts as a replica: neither ended nor on its way out."""
    return not is_terminal(pod) and not is_deleting(pod)


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase") or "Pending")


def available_in(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the pod counts as available: 0 if it is, None if it is not ready."""
    ready = condition.find(pod.get("status", {}).get("conditions"), "Ready")
    if ready is None or ready["status"] != "True" or is_deleting(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    return max(0.0, min_ready_seconds - seconds_since(ready.get("lastTransitionTime"), now))


def template_hash(template: Any) -> str:
    """A short name for a pod template; equal templates have equal hashes."""
    canonical = json.dumps(_without_nulls(template), sort_keys=True, separators=(",", ":"))
    return short_hash(canonical, 10)


def short_hash(text: str, length: int) -> str:
    """`length` characters that depend on all of `text`."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def from_template(template: Object, owner: Object, name: str) -> Object:
    """A pod of this template, controlled by `owner`."""
    meta = template.get("metadata") or {}
    made: dict[str, Any] = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    if owner["kind"] != "StatefulSet":
        made["generateName"] = f"{owner['metadata']['name']}-"
    for part in ("labels", "annotations", "finalizers"):
        if meta.get(part):
            made[part] = copy.deepcopy(meta[part])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": copy.deepcopy(template["spec"])}


def deletion_rank(pod: Object) -> tuple[Any, ...]:
    """Sort key: the pod whose loss costs least comes first.

    Unplaced before placed, pending before running, not ready before ready, cheaper by
    `controller.kubernetes.io/pod-deletion-cost`, more restarts first, younger first.
    """
    status = pod.get("status", {})
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    ready = condition.find(status.get("conditions"), "Ready") or {}
    restarts = max((c.get("restartCount", 0) for c in status.get("containerStatuses") or ()), default=0)
    return (
        bool(pod["spec"].get("nodeName")),
        phases.get(phase(pod), 2),
        is_ready(pod),
        _deletion_cost(pod),
        -_timestamp(ready.get("lastTransitionTime") if is_ready(pod) else None),
        -restarts,
        -_timestamp(pod["metadata"].get("creationTimestamp")),
        pod["metadata"]["name"],
    )


def _deletion_cost(pod: Object) -> int:
    cost = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    return int(cost) if cost.lstrip("-").isdecimal() else 0


def _timestamp(text: str | None) -> float:
    return parse(text).timestamp() if text else 0.0
