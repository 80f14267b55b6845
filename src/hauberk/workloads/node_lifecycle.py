"""Nodes that give no sign of life: their conditions become Unknown, and their pods not ready.

Nothing is evicted: a pod's containers outlive the node's agent, and there is no other machine to move them to.
"""

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Emit, Update
from hauberk.workloads.clock import rfc3339
from hauberk.workloads.pod import is_ready, is_terminal

LEASES = "kube-node-lease"
"""Namespace of the nodes' Leases, each of its node's name."""
GRACE = 40.0
"""Seconds of silence that a node has whose Lease does not say how long it holds."""
LONGEST_GRACE = 300.0
"""However long a Lease says that it holds: a node that is gone must be seen to be."""
_TOLD_BY_THE_NODE = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Observed:
    node: Object
    lease: Object | None
    pods: list[Object]
    """All pods that are bound to it."""
    silent: float
    """Seconds since a new sign of life was seen, by a clock that nobody sets."""


def sign_of_life(node: Object, lease: Object | None) -> str:
    """Differs from the last one whenever the node has said something."""
    ready = condition.find((node.get("status") or {}).get("conditions"), "Ready") or {}
    renewed = ((lease or {}).get("spec") or {}).get("renewTime")
    return f"{renewed} {ready.get('lastHeartbeatTime')}"


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    left = _grace(seen.lease) - seen.silent
    if left > 0:
        return [Again(left)]
    node, name = seen.node, seen.node["metadata"]["name"]
    actions: list[Action] = []
    status = copy.deepcopy(node.get("status") or {})
    status["conditions"] = _unknown(status.get("conditions") or [], now)
    if status != node.get("status"):
        actions.append(Update("Node", {**node, "status": status}, "status"))
        actions.append(
            Emit(
                node,
                "Warning",
                "NodeNotReady",
                f"Node {name} status is now: NodeNotReady; nothing is evicted",
            )
        )
    for pod in seen.pods:
        if is_ready(pod) and not is_terminal(pod):
            actions += _not_ready(pod, name, now)
    # A pod that becomes ready without its node being heard of is looked at then.
    return [*actions, Again(_grace(seen.lease))]


def _grace(lease: Object | None) -> float:
    told = float(((lease or {}).get("spec") or {}).get("leaseDurationSeconds") or GRACE)
    return min(max(1.0, told), LONGEST_GRACE)


def _unknown(conditions: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """As Kubernetes' node controller says it; `lastHeartbeatTime` stays, since the node has said nothing."""
    found = {each["type"]: each for each in conditions}
    for kind in _TOLD_BY_THE_NODE:
        old = found.get(kind, {})
        if old.get("status") == "Unknown" or (kind != "Ready" and not old):
            continue
        reason = "NodeStatusUnknown" if old else "NodeStatusNeverUpdated"
        message = "Kubelet stopped posting node status." if old else "Kubelet never posted node status."
        found[kind] = old | {
            "type": kind, "status": "Unknown", "reason": reason, "message": message,
            "lastTransitionTime": rfc3339(now),
        }  # fmt: skip
    return list(found.values())


def _not_ready(pod: Object, node: str, now: datetime) -> list[Action]:
    status = copy.deepcopy(pod["status"])
    message = f"node {node} has given no sign of life; the pod may well run"
    status["conditions"] = condition.put(
        status.get("conditions"), "Ready", "False", "NodeNotReady", message, now
    )
    return [
        Update("Pod", {**pod, "status": status}, "status"),
        Emit(pod, "Warning", "NodeNotReady", "Node is not ready"),
    ]
