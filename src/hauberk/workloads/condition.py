"""Conditions in a status: found, and changed only when they say something new."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hauberk.workloads.clock import rfc3339


def find(conditions: Iterable[dict[str, Any]] | None, kind: str) -> dict[str, Any] | None:
    return next((condition for condition in conditions or () if condition["type"] == kind), None)


def holds(conditions: Iterable[dict[str, Any]] | None, kind: str) -> bool:
    condition = find(conditions, kind)
    return condition is not None and condition.get("status") == "True"


def put(
    conditions: Iterable[dict[str, Any]] | None,
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    time_field: str = "",
) -> list[dict[str, Any]]:
    """The conditions with this one in them.

    `lastTransitionTime` moves with the status, `time_field` (`lastUpdateTime`, `lastProbeTime`) with any change;
    where nothing is new, nothing moves, so that a status is written only when it differs.
    """
    rest = list(conditions or ())
    old = find(rest, kind)
    new = {"type": kind, "status": status, "reason": reason, "message": message}
    if old is not None and all(old.get(name) == value for name, value in new.items()):
        return rest
    same_status = old is not None and old["status"] == status
    new["lastTransitionTime"] = (old or {}).get("lastTransitionTime", "") if same_status else rfc3339(now)
    if time_field:
        new[time_field] = rfc3339(now)
    if old is None:
        return [*rest, new]
    return [new if condition is old else condition for condition in rest]


def without(conditions: Iterable[dict[str, Any]] | None, kind: str) -> list[dict[str, Any]]:
    return [condition for condition in conditions or () if condition["type"] != kind]
