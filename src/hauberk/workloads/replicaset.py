"""ReplicaSet: as many pods of one template as were asked for."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Create, Delete, Emit, Update
from hauberk.workloads.ownership import claim, is_deleting
from hauberk.workloads.pod import (
    BURST,
    available_in,
    deletion_rank,
    from_template,
    is_active,
    is_ready,
    short_hash,
)


@dataclass(frozen=True, slots=True)
class Observed:
    replica_set: Object
    pods: list[Object]
    """All pods of the namespace that it controls or that nobody does."""
    seen_at: str
    """The resource version up to which pods were seen: part of new pods' names, so that a repeated attempt
    from the same sight makes the same names, and a later replacement gets a new one."""
    failure: str = ""
    """Why the last attempt to create or delete a pod failed."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    replica_set = seen.replica_set
    claimed = claim(replica_set, replica_set["spec"].get("selector"), "Pod", seen.pods)
    if is_deleting(replica_set):
        return []
    active = [pod for pod in claimed.owned if is_active(pod)]
    status, again = _status(replica_set, active, seen.failure, now)
    actions = list(claimed.changes)
    if status != replica_set.get("status"):
        actions.append(Update("ReplicaSet", {**replica_set, "status": status}, "status"))
    actions += _scale(replica_set, claimed.owned, active, seen.seen_at)
    if again:
        actions.append(Again(again))
    return actions


def _scale(replica_set: Object, owned: list[Object], active: list[Object], seen_at: str) -> list[Action]:
    wanted = replica_set["spec"].get("replicas", 1)
    missing = wanted - len(active)
    actions: list[Action] = []
    if missing > 0:
        for name in _fresh_names(replica_set, owned, seen_at, min(missing, BURST)):
            actions.append(Create("Pod", from_template(replica_set["spec"]["template"], replica_set, name)))
            actions.append(Emit(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {name}"))
    elif missing < 0:
        for pod in sorted(active, key=deletion_rank)[: min(-missing, BURST)]:
            actions.append(Delete("Pod", pod))
            name = pod["metadata"]["name"]
            actions.append(Emit(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name}"))
    if abs(missing) > BURST:
        actions.append(Again(0.05))
    return actions


def _fresh_names(replica_set: Object, owned: Iterable[Object], seen_at: str, count: int) -> list[str]:
    taken = {pod["metadata"]["name"] for pod in owned}
    names: list[str] = []
    index = 0
    while len(names) < count:
        seed = f"{replica_set['metadata']['uid']}/{seen_at}/{index}"
        name = f"{replica_set['metadata']['name'][:57]}-{short_hash(seed, 5)}"
        if name not in taken:
            taken.add(name)
            names.append(name)
        index += 1
    return names


def _status(
    replica_set: Object, active: list[Object], failure: str, now: datetime
) -> tuple[dict[str, Any], float]:
    """The status, and seconds until a pod now ready becomes available (0: none is waiting)."""
    old = replica_set.get("status") or {}
    min_ready = replica_set["spec"].get("minReadySeconds", 0)
    waits = [available_in(pod, min_ready, now) for pod in active]
    labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    status: dict[str, Any] = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(
            labels.items() <= (p["metadata"].get("labels") or {}).items() for p in active
        ),
        "readyReplicas": sum(map(is_ready, active)),
        "availableReplicas": waits.count(0.0),
        "observedGeneration": replica_set["metadata"].get("generation", 1),
    }
    conditions = copy.deepcopy(old.get("conditions") or [])
    if failure:
        conditions = condition.put(conditions, "ReplicaFailure", "True", "FailedCreate", failure, now)
    else:
        conditions = condition.without(conditions, "ReplicaFailure")
    if conditions:
        status["conditions"] = conditions
    return status, min((wait for wait in waits if wait), default=0.0)
