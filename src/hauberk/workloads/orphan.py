"""Pods whose node is gone: nobody else will ever say that they ended."""

import copy
from dataclasses import dataclass
from datetime import datetime

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Delete, Emit, Update
from hauberk.workloads.clock import seconds_since
from hauberk.workloads.ownership import is_deleting
from hauberk.workloads.pod import is_terminal

PATIENCE = 40.0
"""Seconds that a missing node has to come back."""


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Object
    node_exists: bool
    missing_since: str
    """When the node was first not found, RFC 3339; empty if it exists."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    pod = seen.pod
    node = pod["spec"].get("nodeName")
    if not node:
        return [Delete("Pod", pod, grace_period_seconds=0)] if is_deleting(pod) else []
    if seen.node_exists:
        return []
    left = PATIENCE - seconds_since(seen.missing_since, now)
    if left > 0:
        return [Again(left)]
    message = f"node {node} no longer exists"
    actions: list[Action] = []
    if not is_terminal(pod):
        status = copy.deepcopy(pod.get("status") or {})
        status |= {"phase": "Failed", "reason": "NodeLost", "message": message}
        status["conditions"] = condition.put(
            status.get("conditions"), "DisruptionTarget", "True", "DeletionByPodGC", message, now
        )
        actions.append(Update("Pod", {**pod, "status": status}, "status"))
        actions.append(Emit(pod, "Warning", "NodeLost", message))
    return [*actions, Delete("Pod", pod, grace_period_seconds=0)]
