"""StatefulSet: pods with stable names and storage, brought up and down in order.

One choice of ours: in a rolling update an unhealthy pod of an old revision is replaced at once instead of being
waited for, so that a bad revision can be rolled back without deleting pods by hand.
"""

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Again, Create, Delete, Emit, Update
from hauberk.workloads.ownership import claim, controller_of, is_controlled_by, is_deleting, owner_reference
from hauberk.workloads.pod import BURST, available_in, from_template, is_ready, is_terminal, template_hash

REVISION_LABEL = "controller-revision-hash"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_DEFAULT_HISTORY = 10


@dataclass(frozen=True, slots=True)
class Observed:
    stateful_set: Object
    pods: list[Object]
    """All pods of the namespace that it controls or that nobody does."""
    claims: frozenset[str]
    """Names of the namespace's PersistentVolumeClaims."""
    revisions: list[Object]
    """ControllerRevisions that it controls."""


def reconcile(seen: Observed, now: datetime) -> list[Action]:
    owner = seen.stateful_set
    if is_deleting(owner):
        return []
    claimed = claim(owner, owner["spec"].get("selector"), "Pod", seen.pods)
    if claimed.changes:
        return claimed.changes
    revisions = sorted((r for r in seen.revisions if is_controlled_by(r, owner)), key=lambda r: r["revision"])
    update = f"{owner['metadata']['name']}-{template_hash(owner['spec']['template'])}"
    history = _record(owner, revisions, update)
    by_ordinal = {o: pod for pod in claimed.owned if (o := _ordinal(owner, pod)) is not None}
    plan = _Plan(seen, now, update, revisions)
    actions = plan.run(by_ordinal)
    status, wait = _status(plan, by_ordinal)
    if not actions and not history:
        history = _forget(owner, revisions, {update, status["currentRevision"]})
    if status != owner.get("status"):
        actions.append(Update("StatefulSet", {**owner, "status": status}, "status"))
    return [*history, *actions, *([Again(wait)] if wait else [])]


class _Plan:
    """One pass over the ordinals; stops where the order says to wait."""

    def __init__(self, seen: Observed, now: datetime, update: str, revisions: list[Object]) -> None:
        self.owner = seen.stateful_set
        self.seen = seen
        self.now = now
        self.update = update
        self.templates = {r["metadata"]["name"]: _recorded(r) for r in revisions}
        spec = self.owner["spec"]
        self.replicas = spec.get("replicas", 1)
        self.first = (spec.get("ordinals") or {}).get("start", 0)
        self.ordered = spec.get("podManagementPolicy", "OrderedReady") != "Parallel"
        strategy = spec.get("updateStrategy") or {}
        self.rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        self.partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
        self.min_ready = spec.get("minReadySeconds", 0)
        self.current = (self.owner.get("status") or {}).get("currentRevision") or update

    @property
    def wanted(self) -> range:
        return range(self.first, self.first + self.replicas)

    def run(self, pods: dict[int, Object]) -> list[Action]:
        actions, blocked = self._bring_up(pods)
        if blocked and self.ordered:
            return actions
        down, blocked = self._take_down(pods)
        actions += down
        if blocked and self.ordered:
            return actions
        return actions if actions or not self.rolling else self._roll(pods)

    def _bring_up(self, pods: dict[int, Object]) -> tuple[list[Action], bool]:
        actions: list[Action] = []
        blocked = False
        for ordinal in self.wanted:
            pod = pods.get(ordinal)
            if pod is None:
                actions += self._create(ordinal)
            elif is_terminal(pod) and not is_deleting(pod):
                actions += self._delete(pod, "it ended")
            elif self._is_healthy(pod):
                continue
            elif self.rolling and self._is_outdated(ordinal, pod) and not is_deleting(pod):
                actions += self._delete(pod, "it is unhealthy and of an old revision")
            blocked = True
            if self.ordered or len(actions) >= BURST:
                break
        return actions, blocked

    def _take_down(self, pods: dict[int, Object]) -> tuple[list[Action], bool]:
        actions: list[Action] = []
        condemned = sorted((o for o in pods if o not in self.wanted), reverse=True)
        for ordinal in condemned:
            if not is_deleting(pods[ordinal]):
                actions += self._delete(pods[ordinal], "fewer replicas are wanted")
            if self.ordered:
                break
        return actions, bool(condemned)

    def _roll(self, pods: dict[int, Object]) -> list[Action]:
        for ordinal in sorted((o for o in pods if o in self.wanted), reverse=True):
            pod = pods[ordinal]
            if self._is_outdated(ordinal, pod) and not is_deleting(pod):
                return self._delete(pod, "its template changed")
            if not self._is_healthy(pod):
                return []
        return []

    def _is_outdated(self, ordinal: int, pod: Object) -> bool:
        return ordinal >= self.first + self.partition and revision_of(pod) != self.update

    def _is_healthy(self, pod: Object) -> bool:
        return is_ready(pod) and not is_deleting(pod) and available_in(pod, self.min_ready, self.now) == 0.0

    def _delete(self, pod: Object, why: str) -> list[Action]:
        name = pod["metadata"]["name"]
        message = f"delete Pod {name} in StatefulSet {self.owner['metadata']['name']}: {why}"
        return [Delete("Pod", pod), Emit(self.owner, "Normal", "SuccessfulDelete", message)]

    def _create(self, ordinal: int) -> list[Action]:
        name = f"{self.owner['metadata']['name']}-{ordinal}"
        held_back = ordinal < self.first + self.partition or not self.rolling
        revision = self.current if held_back and self.current in self.templates else self.update
        template = self.templates.get(revision, self.owner["spec"]["template"])
        pod = from_template(template, self.owner, name)
        labels = pod["metadata"].setdefault("labels", {})
        labels.update({NAME_LABEL: name, INDEX_LABEL: str(ordinal), REVISION_LABEL: revision})
        pod["spec"]["hostname"] = name
        if service := self.owner["spec"].get("serviceName"):
            pod["spec"]["subdomain"] = service
        actions = self._storage(pod)
        message = f"create Pod {name} in StatefulSet {self.owner['metadata']['name']} successful"
        return [*actions, Create("Pod", pod), Emit(self.owner, "Normal", "SuccessfulCreate", message)]

    def _storage(self, pod: Object) -> list[Action]:
        """The claims of this pod, made where missing and mounted; they outlive the pod."""
        actions: list[Action] = []
        volumes = {v["name"]: v for v in pod["spec"].get("volumes") or ()}
        for template in self.owner["spec"].get("volumeClaimTemplates") or ():
            volume = template["metadata"]["name"]
            name = f"{volume}-{pod['metadata']['name']}"
            volumes[volume] = {"name": volume, "persistentVolumeClaim": {"claimName": name}}
            if name not in self.seen.claims:
                actions.append(Create("PersistentVolumeClaim", self._claim(template, name)))
        if volumes:
            pod["spec"]["volumes"] = list(volumes.values())
        return actions

    def _claim(self, template: Object, name: str) -> Object:
        meta = copy.deepcopy(template["metadata"])
        meta |= {"name": name, "namespace": self.owner["metadata"]["namespace"]}
        matched = (self.owner["spec"].get("selector") or {}).get("matchLabels") or {}
        meta["labels"] = {**(meta.get("labels") or {}), **matched}
        meta.pop("creationTimestamp", None)
        spec = copy.deepcopy(template["spec"])
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def revision_of(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _ordinal(owner: Object, pod: Object) -> int | None:
    stem, _, tail = pod["metadata"]["name"].rpartition("-")
    return int(tail) if stem == owner["metadata"]["name"] and tail.isdecimal() else None


def _record(owner: Object, revisions: list[Object], update: str) -> list[Action]:
    """The template as a ControllerRevision, so that `kubectl rollout history` and `undo` find it."""
    newest = max((r["revision"] for r in revisions), default=0)
    for revision in revisions:
        if revision["metadata"]["name"] == update:
            if revision["revision"] == newest:
                return []
            return [Update("ControllerRevision", {**revision, "revision": newest + 1})]
    template = {**copy.deepcopy(owner["spec"]["template"]), "$patch": "replace"}
    made: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": update,
            "namespace": owner["metadata"]["namespace"],
            "labels": dict((owner["spec"].get("selector") or {}).get("matchLabels") or {}),
            "ownerReferences": [owner_reference(owner)],
        },
        "data": {"spec": {"template": template}},
        "revision": newest + 1,
    }
    return [Create("ControllerRevision", made)]


def _recorded(revision: Object) -> Object:
    template: Object = revision["data"]["spec"]["template"]
    return {name: value for name, value in template.items() if name != "$patch"}


def _forget(owner: Object, revisions: list[Object], live: set[str]) -> list[Action]:
    limit = owner["spec"].get("revisionHistoryLimit", _DEFAULT_HISTORY)
    idle = [r for r in revisions if r["metadata"]["name"] not in live and not is_deleting(r)]
    return [Delete("ControllerRevision", revision) for revision in idle[: max(0, len(idle) - limit)]]


def _status(plan: _Plan, pods: dict[int, Object]) -> tuple[dict[str, Any], float]:
    owner = plan.owner
    live = [pod for pod in pods.values() if controller_of(pod) and not is_terminal(pod)]
    waits = [available_in(pod, plan.min_ready, plan.now) for pod in live]
    updated = [pod for pod in live if revision_of(pod) == plan.update and not is_deleting(pod)]
    done = len(updated) == plan.replicas == len(live) == sum(map(is_ready, live))
    current = plan.update if done and plan.rolling and not plan.partition else plan.current
    status: dict[str, Any] = {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(live),
        "readyReplicas": sum(map(is_ready, live)),
        "availableReplicas": waits.count(0.0),
        "currentReplicas": sum(revision_of(pod) == current for pod in live),
        "updatedReplicas": len(updated),
        "currentRevision": current,
        "updateRevision": plan.update,
        "collisionCount": 0,
    }
    return status, min((wait for wait in waits if wait), default=0.0)
