"""Deployment: one ReplicaSet for each pod template, and the step from the old ones to the new.

Revision bookkeeping is where `kubectl rollout history`, `undo` and `status` look for it: annotations on the
ReplicaSets, and the conditions Available, Progressing and ReplicaFailure.
"""

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads import condition
from hauberk.workloads.action import Action, Again, Create, Delete, Emit, Update
from hauberk.workloads.clock import rfc3339, seconds_since
from hauberk.workloads.ownership import claim, is_deleting, owner_reference
from hauberk.workloads.pod import is_terminal, template_hash
from hauberk.workloads.share import Limits, apportion, limits

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "kubectl.kubernetes.io/last-applied-configuration",
}
_DEFAULT_DEADLINE = 600
_DEFAULT_HISTORY = 10


@dataclass(frozen=True, slots=True)
class Observed:
    deployment: Object
    replica_sets: list[Object]
    """All of the namespace that it controls or that nobody does."""
    pods: list[Object]
    """Pods of those ReplicaSets."""
    failure: str = ""
    """Why the last attempt to carry out the actions failed."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    deployment = seen.deployment
    if is_deleting(deployment):
        return []
    claimed = claim(deployment, deployment["spec"].get("selector"), "ReplicaSet", seen.replica_sets)
    if claimed.changes:
        return claimed.changes
    live = sorted((r for r in claimed.owned if not is_deleting(r)), key=_age)
    new = _current(deployment, live)
    old = [replica_set for replica_set in live if replica_set is not new]
    actions = _advance(deployment, new, old, seen.pods)
    if not actions:
        actions = _forget(deployment, new, old)
    revision = _revision(new) if new is not None else 0
    if revision and _annotation(deployment, REVISION) != str(revision):
        annotated = copy.deepcopy(deployment)
        annotated["metadata"].setdefault("annotations", {})[REVISION] = str(revision)
        return [Update("Deployment", annotated), *actions]
    status, wait = _status(deployment, new, old, seen.failure, now)
    if status != deployment.get("status"):
        actions.append(Update("Deployment", {**deployment, "status": status}, "status"))
    if wait:
        actions.append(Again(wait))
    return actions


def _advance(deployment: Object, new: Object | None, old: list[Object], pods: list[Object]) -> list[Action]:
    """The next step towards the wanted state; nothing when it is reached or something is awaited."""
    spec = deployment["spec"]
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    replicas = _replicas(deployment)
    bounds = limits(deployment)
    if new is None:
        if spec.get("paused"):
            return _share(deployment, old, bounds)
        if recreate and (stopping := _stop(deployment, old, pods)) is not None:
            return stopping
        total = sum(map(_replicas, old))
        first = replicas if recreate else min(replicas, max(0, replicas + bounds.surge - total))
        return _create(deployment, old, first)
    if (marked := _mark(deployment, new, old)) is not None:
        return [marked]
    if spec.get("paused"):
        return _share(deployment, [*old, new], bounds)
    if recreate:
        stopping = _stop(deployment, old, pods)
        return _scale(deployment, new, replicas) if stopping is None else stopping
    return _roll(deployment, new, old, replicas, bounds)


def _roll(deployment: Object, new: Object, old: list[Object], replicas: int, bounds: Limits) -> list[Action]:
    total = _replicas(new) + sum(map(_replicas, old))
    if _replicas(new) > replicas:
        return _scale(deployment, new, replicas)
    room = replicas + bounds.surge - total
    if _replicas(new) < replicas and room > 0:
        return _scale(deployment, new, min(replicas, _replicas(new) + room))
    least_available = replicas - bounds.unavailable
    new_unavailable = max(0, _replicas(new) - _available(new))
    removable = total - least_available - new_unavailable
    if removable <= 0:
        return []
    targets = {r["metadata"]["name"]: _replicas(r) for r in old}
    for replica_set in old:  # those that serve nobody go first: their loss costs nothing
        name = replica_set["metadata"]["name"]
        sick = min(removable, max(0, targets[name] - _available(replica_set)))
        targets[name] -= sick
        removable -= sick
    surplus = _available(new) + sum(min(_available(r), targets[r["metadata"]["name"]]) for r in old)
    spare = surplus - least_available
    for replica_set in old:
        name = replica_set["metadata"]["name"]
        healthy = max(0, min(spare, targets[name]))
        targets[name] -= healthy
        spare -= healthy
    return [action for r in old for action in _scale(deployment, r, targets[r["metadata"]["name"]])]


def _stop(deployment: Object, old: list[Object], pods: list[Object]) -> list[Action] | None:
    """For Recreate: what stops the old pods; None once none of them is left."""
    uids = {replica_set["metadata"]["uid"] for replica_set in old}
    down = [action for replica_set in old for action in _scale(deployment, replica_set, 0)]
    running = any(
        reference.get("uid") in uids
        for pod in pods
        if not is_terminal(pod)
        for reference in pod["metadata"].get("ownerReferences") or ()
    )
    waiting = running or any((r.get("status") or {}).get("replicas") for r in old)
    return down if down or waiting else None


def _share(deployment: Object, replica_sets: list[Object], bounds: Limits) -> list[Action]:
    """While paused: a changed size is shared out in the proportion that stands."""
    active = [r for r in replica_sets if _replicas(r) > 0]
    replicas = _replicas(deployment)
    if not active:
        return _scale(deployment, replica_sets[-1], replicas) if replica_sets and replicas else []
    if all(_annotation(r, DESIRED) == str(replicas) for r in active):
        return []
    wanted = replicas + (bounds.surge if len(active) > 1 and replicas else 0)
    shares = apportion(wanted, [_replicas(r) for r in active])
    return [a for r, share in zip(active, shares, strict=True) for a in _scale(deployment, r, share)]


def _scale(deployment: Object, replica_set: Object, target: int) -> list[Action]:
    sized = _sized(deployment)
    annotations = replica_set["metadata"].get("annotations") or {}
    before = _replicas(replica_set)
    if before == target and sized.items() <= annotations.items():
        return []
    changed = copy.deepcopy(replica_set)
    changed["spec"]["replicas"] = target
    changed["metadata"].setdefault("annotations", {}).update(sized)
    actions: list[Action] = [Update("ReplicaSet", changed)]
    if before != target:
        actions.append(_scaled_event(deployment, replica_set["metadata"]["name"], before, target))
    return actions


def _scaled_event(deployment: Object, name: str, before: int, after: int) -> Emit:
    way = "up" if after > before else "down"
    message = f"Scaled {way} replica set {name} from {before} to {after}"
    return Emit(deployment, "Normal", "ScalingReplicaSet", message)


def _create(deployment: Object, old: list[Object], replicas: int) -> list[Action]:
    meta, spec = deployment["metadata"], deployment["spec"]
    digest = template_hash(spec["template"])
    template = copy.deepcopy(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = digest
    selector = copy.deepcopy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
    annotations = _copied(deployment) | _sized(deployment) | {REVISION: str(_last_revision(old) + 1)}
    name = f"{meta['name']}-{digest}"
    replica_set: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if "minReadySeconds" in spec:
        replica_set["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    actions: list[Action] = [Create("ReplicaSet", replica_set)]
    if replicas:
        actions.append(_scaled_event(deployment, name, 0, replicas))
    return actions


def _mark(deployment: Object, new: Object, old: list[Object]) -> Action | None:
    """The new ReplicaSet carries the newest revision, the user's annotations and `minReadySeconds`."""
    wanted = copy.deepcopy(new)
    annotations = wanted["metadata"].setdefault("annotations", {})
    annotations.update(_copied(deployment))
    if _revision(new) <= _last_revision(old):
        history = [n for n in annotations.get(REVISION_HISTORY, "").split(",") if n]
        if before := annotations.get(REVISION):
            annotations[REVISION_HISTORY] = ",".join([*history, before])
        annotations[REVISION] = str(_last_revision(old) + 1)
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if min_ready != new["spec"].get("minReadySeconds", 0):
        wanted["spec"]["minReadySeconds"] = min_ready
    return Update("ReplicaSet", wanted) if wanted != new else None


def _forget(deployment: Object, new: Object | None, old: list[Object]) -> list[Action]:
    """Delete the oldest empty ReplicaSets beyond `revisionHistoryLimit`, once the rollout is complete."""
    if new is None or not _is_complete(deployment, new, old):
        return []
    limit = deployment["spec"].get("revisionHistoryLimit", _DEFAULT_HISTORY)
    empty = sorted(
        (r for r in old if not _replicas(r) and not (r.get("status") or {}).get("replicas")), key=_revision
    )
    return [Delete("ReplicaSet", r) for r in empty[: max(0, len(old) - limit)]]


def _status(
    deployment: Object, new: Object | None, old: list[Object], failure: str, now: datetime
) -> tuple[dict[str, Any], float]:
    """The status, and seconds until the progress deadline passes (0: none runs)."""
    every = [*old, *([new] if new else [])]
    before = deployment.get("status") or {}
    replicas = _replicas(deployment)
    available = sum(map(_available, every))
    status: dict[str, Any] = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": sum((r.get("status") or {}).get("replicas", 0) for r in every),
        "updatedReplicas": ((new or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": sum((r.get("status") or {}).get("readyReplicas", 0) for r in every),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(_replicas, every)) - available),
    }
    if "collisionCount" in before:
        status["collisionCount"] = before["collisionCount"]
    conditions = copy.deepcopy(before.get("conditions") or [])
    conditions = _availability(
        deployment, conditions, available >= replicas - limits(deployment).unavailable, now
    )
    conditions, wait = _progress(deployment, new, old, status, conditions, failure, now)
    failed = failure or next(
        (
            found["message"]
            for r in every
            if (found := condition.find((r.get("status") or {}).get("conditions"), "ReplicaFailure"))
        ),
        "",
    )
    if failed:
        conditions = _put(conditions, "ReplicaFailure", "True", "FailedCreate", failed, now)
    else:
        conditions = condition.without(conditions, "ReplicaFailure")
    return {**status, "conditions": conditions}, wait


def _availability(
    deployment: Object, conditions: list[dict[str, Any]], enough: bool, now: datetime
) -> list[dict[str, Any]]:
    if enough:
        message = "Deployment has minimum availability."
        return _put(conditions, "Available", "True", "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return _put(conditions, "Available", "False", "MinimumReplicasUnavailable", message, now)


def _progress(
    deployment: Object,
    new: Object | None,
    old: list[Object],
    status: dict[str, Any],
    conditions: list[dict[str, Any]],
    failure: str,
    now: datetime,
) -> tuple[list[dict[str, Any]], float]:
    name = deployment["metadata"]["name"]
    found = condition.find(conditions, "Progressing")
    if deployment["spec"].get("paused"):
        if found is not None and found["reason"] == "DeploymentPaused":
            return conditions, 0.0
        return _put(
            conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now
        ), 0.0
    if new is None:
        reason, message = "FoundNewReplicaSet", f"Deployment {name!r} is making its replica set"
        if failure:
            return _put(conditions, "Progressing", "False", "ReplicaSetCreateError", failure, now), 0.0
        return _put(conditions, "Progressing", "True", reason, message, now), 0.0
    set_name = new["metadata"]["name"]
    if _is_complete(deployment, new, old):
        message = f'ReplicaSet "{set_name}" has successfully progressed.'
        return _put(conditions, "Progressing", "True", "NewReplicaSetAvailable", message, now), 0.0
    deadline = deployment["spec"].get("progressDeadlineSeconds", _DEFAULT_DEADLINE)
    message = f'ReplicaSet "{set_name}" is progressing.'
    moved = (
        found is None
        or found["reason"] == "DeploymentPaused"
        or set_name not in found["message"]
        or _progressed(deployment.get("status") or {}, status)
    )
    if found is None or moved:
        conditions = condition.without(conditions, "Progressing")
        entry = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": message}
        since = found["lastTransitionTime"] if found and found["status"] == "True" else rfc3339(now)
        times = {"lastUpdateTime": rfc3339(now), "lastTransitionTime": since}
        return [*conditions, {**entry, **times}], float(deadline)
    if found["reason"] in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return conditions, 0.0
    left = deadline - seconds_since(found.get("lastUpdateTime"), now)
    if left > 0:
        return conditions, left
    message = f'ReplicaSet "{set_name}" has timed out progressing.'
    return _put(conditions, "Progressing", "False", "ProgressDeadlineExceeded", message, now), 0.0


def _progressed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if before.get("observedGeneration") != after["observedGeneration"]:
        return True
    older = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    grew = any(
        after[name] > before.get(name, 0)
        for name in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return grew or bool(after["replicas"] - after["updatedReplicas"] < older)


def _put(
    conditions: list[dict[str, Any]], kind: str, status: str, reason: str, message: str, now: datetime
) -> list[dict[str, Any]]:
    return condition.put(conditions, kind, status, reason, message, now, time_field="lastUpdateTime")


def _is_complete(deployment: Object, new: Object, old: list[Object]) -> bool:
    replicas = _replicas(deployment)
    status = new.get("status") or {}
    return (
        _replicas(new) == replicas
        and status.get("observedGeneration", 0) >= new["metadata"].get("generation", 1)
        and status.get("replicas", 0) == replicas
        and status.get("availableReplicas", 0) == replicas
        and not any(_replicas(r) or (r.get("status") or {}).get("replicas") for r in old)
    )


def _current(deployment: Object, replica_sets: list[Object]) -> Object | None:
    """The ReplicaSet of the deployment's template as it is now, the oldest if there are several."""
    digest = template_hash(deployment["spec"]["template"])
    for replica_set in replica_sets:
        if (replica_set["metadata"].get("labels") or {}).get(HASH_LABEL) == digest:
            return replica_set
        template = copy.deepcopy(replica_set["spec"]["template"])
        labels = template.get("metadata", {}).get("labels", {})
        labels.pop(HASH_LABEL, None)
        if template_hash(template) == digest:
            return replica_set
    return None


def _sized(deployment: Object) -> dict[str, str]:
    replicas = _replicas(deployment)
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + limits(deployment).surge)}


def _copied(deployment: Object) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {name: value for name, value in annotations.items() if name not in _NOT_COPIED}


def _annotation(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))


def _revision(replica_set: Object) -> int:
    text = _annotation(replica_set, REVISION)
    return int(text) if text.isdecimal() else 0


def _last_revision(replica_sets: list[Object]) -> int:
    return max(map(_revision, replica_sets), default=0)


def _age(replica_set: Object) -> tuple[str, str]:
    return replica_set["metadata"].get("creationTimestamp", ""), replica_set["metadata"]["name"]


def _replicas(obj: Object) -> int:
    found = obj["spec"].get("replicas")
    return 1 if found is None else int(found)


def _available(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas", 0))
