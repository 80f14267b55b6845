"""Scheduler: gives each pod to a node that can take it, and says of each that cannot go anywhere why."""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from hauberk.model.kind import Object
from hauberk.model.quantity import parse_quantity
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Bind, Emit, Update
from hauberk.workloads.ownership import is_deleting, matches
from hauberk.workloads.pod import is_terminal

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_KEEPS_OUT = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Object
    nodes: list[Object]
    placed: list[Object]
    """All pods that have a node."""
    claims: Mapping[str, Object]
    """The namespace's PersistentVolumeClaims by name."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    pod = seen.pod
    if not _is_ours(pod):
        return []
    if refusal := _missing_claim(pod, seen.claims):
        return _unschedulable(pod, f"0/{len(seen.nodes)} nodes are available: {refusal}.", now)
    if used := _used_alone(pod, seen):
        return _unschedulable(pod, f"0/{len(seen.nodes)} nodes are available: {used}.", now)
    refusals: Counter[str] = Counter()
    fitting: list[Object] = []
    for node in seen.nodes:
        on_it = [p for p in seen.placed if _node_of(p) == node["metadata"]["name"] and not is_terminal(p)]
        if refusal := _refusal(pod, node, on_it):
            refusals[refusal] += 1
        else:
            fitting.append(node)
    if not fitting:
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items()))
        reasons = said or "there is no node; is hauberk-node running?"
        return _unschedulable(pod, f"0/{len(seen.nodes)} nodes are available: {reasons}.", now)
    load = Counter(_node_of(p) for p in seen.placed if not is_terminal(p))
    chosen = min((str(node["metadata"]["name"]) for node in fitting), key=lambda name: (load[name], name))
    return [*_prepare_claims(pod, seen.claims, chosen), Bind(pod, chosen), _scheduled(pod, chosen)]


def _is_ours(pod: Object) -> bool:
    spec = pod["spec"]
    ours = spec.get("schedulerName", "default-scheduler") == "default-scheduler"
    return (
        ours
        and not _node_of(pod)
        and not is_deleting(pod)
        and not is_terminal(pod)
        and not spec.get("schedulingGates")
    )


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")


def _scheduled(pod: Object, node: str) -> Emit:
    meta = pod["metadata"]
    return Emit(
        pod, "Normal", "Scheduled", f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
    )


def _unschedulable(pod: Object, message: str, now: datetime) -> list[Action]:
    status = copy.deepcopy(pod.get("status") or {})
    status.setdefault("phase", "Pending")
    before = status.get("conditions")
    status["conditions"] = condition.put(before, "PodScheduled", "False", "Unschedulable", message, now)
    if status["conditions"] == before:
        return []
    return [
        Update("Pod", {**pod, "status": status}, "status"),
        Emit(pod, "Warning", "FailedScheduling", message),
    ]


def _claims_of(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    ]


def _missing_claim(pod: Object, claims: Mapping[str, Object]) -> str:
    for name in _claims_of(pod):
        if name not in claims:
            return f'persistentvolumeclaim "{name}" not found'
        if is_deleting(claims[name]):
            return f'persistentvolumeclaim "{name}" is being deleted'
    return ""


def _used_alone(pod: Object, seen: Observed) -> str:
    """A claim for one pod (`ReadWriteOncePod`) that another pod has already."""
    namespace = pod["metadata"]["namespace"]
    for name in _claims_of(pod):
        if "ReadWriteOncePod" not in (seen.claims[name]["spec"].get("accessModes") or ()):
            continue
        for other in seen.placed:
            if (
                other["metadata"]["namespace"] == namespace
                and not is_terminal(other)
                and name in _claims_of(other)
            ):
                return (
                    f'pod "{other["metadata"]["name"]}" uses PersistentVolumeClaim "{name}", whose access mode is '
                    "ReadWriteOncePod"
                )
    return ""


def _prepare_claims(pod: Object, claims: Mapping[str, Object], node: str) -> list[Action]:
    """Tell the provisioner, which is the node, where each waiting claim's first pod goes."""
    actions: list[Action] = []
    for name in _claims_of(pod):
        found = claims[name]
        bound = bool(found["spec"].get("volumeName")) or (found.get("status") or {}).get("phase") == "Bound"
        if not bound and SELECTED_NODE not in (found["metadata"].get("annotations") or {}):
            annotated = copy.deepcopy(found)
            annotated["metadata"].setdefault("annotations", {})[SELECTED_NODE] = node
            actions.append(Update("PersistentVolumeClaim", annotated))
    return actions


def _refusal(pod: Object, node: Object, on_it: list[Object]) -> str:
    """Why this node cannot take the pod; empty if it can."""
    spec = node.get("spec") or {}
    if not condition.holds((node.get("status") or {}).get("conditions"), "Ready"):
        return "node(s) were not ready"
    if condition.holds((node.get("status") or {}).get("conditions"), "DiskPressure"):
        return "node(s) had disk pressure"
    if spec.get("unschedulable"):
        return "node(s) were unschedulable"
    for taint in spec.get("taints") or ():
        tolerations = pod["spec"].get("tolerations") or ()
        if taint["effect"] in _KEEPS_OUT and not any(_tolerates(t, taint) for t in tolerations):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _selects(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return _shortage(pod, node, on_it)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator") == "Exists":
        return not toleration.get("key") or toleration["key"] == taint["key"]
    same_value = str(toleration.get("value", "")) == str(taint.get("value", ""))
    return bool(toleration.get("key") == taint["key"]) and same_value


def _selects(pod: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    if not (pod["spec"].get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    name = {"metadata.name": node["metadata"]["name"]}
    return any(_term(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    by_label, by_field = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not by_label and not by_field:
        return False
    return all(_expression(e, labels) for e in by_label) and all(_expression(e, fields) for e in by_field)


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    operator = expression["operator"]
    if operator not in ("Gt", "Lt"):
        return matches({"matchExpressions": [expression]}, labels)
    value, bound = labels.get(expression["key"], ""), str((expression.get("values") or [""])[0])
    if not value.lstrip("-").isdecimal() or not bound.lstrip("-").isdecimal():
        return False
    return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)


def _shortage(pod: Object, node: Object, on_it: list[Object]) -> str:
    status = node.get("status") or {}
    room = status.get("allocatable") or status.get("capacity") or {}
    if "pods" in room and len(on_it) + 1 > parse_quantity(room["pods"]):
        return "Too many pods"
    for resource, wanted in requests(pod).items():
        if resource not in room:
            if resource in ("cpu", "memory", "ephemeral-storage") or not wanted:
                continue  # a node that does not say how much it has is not short of it
            return f"Insufficient {resource}"
        used = sum((requests(p).get(resource, Decimal(0)) for p in on_it), Decimal(0))
        if used + wanted > parse_quantity(room[resource]):
            return f"Insufficient {resource}"
    return ""


def requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks for: the sum of its containers, or its largest init container where that is more."""
    total: dict[str, Decimal] = {}
    for container in pod["spec"].get("containers") or ():
        for resource, amount in _asked(container).items():
            total[resource] = total.get(resource, Decimal(0)) + amount
    for container in pod["spec"].get("initContainers") or ():
        for resource, amount in _asked(container).items():
            total[resource] = max(total.get(resource, Decimal(0)), amount)
    return total


def _asked(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {resource: parse_quantity(amount) for resource, amount in asked.items()}
