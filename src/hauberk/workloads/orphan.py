"""Pods whose node is gone: nobody else will ever say that they ended."""

import copy
from dataclasses import dataclass
from datetime import datetime

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Delete, Emit, Update
from hauberk.workloads.ownership import is_deleting
from hauberk.workloads.pod import is_terminal

PATIENCE = 40.0
"""Seconds that a missing node has to come back."""


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Object
    node_exists: bool
    missing: float
    """Seconds since the node was first not found, by a clock that nobody sets."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    pod = seen.pod
    node = pod["spec"].get("nodeName")
    if not node:
        return [Delete("Pod", pod, grace_period_seconds=0)] if is_deleting(pod) else []
    if seen.node_exists:
        return []
    left = PATIENCE - seen.missing
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
