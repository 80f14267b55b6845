"""Which objects each controller looks at, and what it is woken by."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hauberk.mesh.gateway_listeners import GATEWAY_NAME_LABEL
from hauberk.mesh.gateway_status import CONTROLLER
from hauberk.model.kind import Object
from hauberk.workloads import (
    deployment,
    endpointslice,
    gateway,
    job,
    namespace,
    node_lifecycle,
    orphan,
    replicaset,
    scheduler,
    statefulset,
)
from hauberk.workloads.action import Action, Key
from hauberk.workloads.ownership import controller_of, is_deleting
from hauberk.workloads.view import View, names

KINDS = (
    ("", "Namespace"),
    ("", "Node"),
    ("", "Pod"),
    ("", "Service"),
    ("", "ConfigMap"),
    ("", "PersistentVolumeClaim"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("apps", "ControllerRevision"),
    ("batch", "Job"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("coordination.k8s.io", "Lease"),
    ("", "ServiceAccount"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("gateway.networking.k8s.io", "Gateway"),
)
"""Group and name of every kind that some controller watches."""


class Controller(Protocol):
    """Names what it is woken by and decides; it does no I/O."""

    @property
    def name(self) -> str:
        """As events name their source."""

    @property
    def kind(self) -> str:
        """The kind of the objects that its keys name."""

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        """What to look at when this object has changed."""

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        """What to do about `key`; `failure` is why the last attempt failed, if it did."""


def every(root_certificates: Callable[[], str]) -> list[Controller]:
    """All of them; `root_certificates` are the PEM certificates that a client of the API trusts."""
    return [
        DeploymentController(),
        ReplicaSetController(),
        StatefulSetController(),
        JobController(),
        EndpointSliceController(),
        Scheduler(),
        RootCertificatePublisher(root_certificates),
        OrphanController(),
        NodeLifecycleController(),
        GatewayController(),
    ]


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _owner_key(obj: Object, kind: str) -> list[Key]:
    owner = controller_of(obj)
    if owner is None or owner["kind"] != kind:
        return []
    return [(obj["metadata"].get("namespace", ""), owner["name"])]


def _candidates(view: View, kind: str, obj: Object) -> list[Key]:
    """An object that nobody controls may be adopted by any owner of this kind in its namespace."""
    if controller_of(obj) is not None or is_deleting(obj):
        return []
    labels = (obj["metadata"].get("labels") or {}).items()
    owners = view.all(kind, obj["metadata"].get("namespace", ""))
    return [
        _key(o)
        for o in owners
        if ((o["spec"].get("selector") or {}).get("matchLabels") or {}).items() <= labels
    ]


@dataclass(frozen=True, slots=True)
class DeploymentController:
    name: str = "deployment-controller"
    kind: str = "Deployment"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Deployment":
                return [_key(obj)]
            case "ReplicaSet":
                return _owner_key(obj, "Deployment") or _candidates(view, "Deployment", obj)
            case "Pod":  # the last old pod that goes lets a Recreate go on
                for namespace_name, name in _owner_key(obj, "ReplicaSet"):
                    if owner := view.get("ReplicaSet", namespace_name, name):
                        return _owner_key(owner, "Deployment")
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Deployment", *key)
        if found is None:
            return []
        sets = [*view.owned("ReplicaSet", found["metadata"]["uid"]), *view.unowned("ReplicaSet", key[0])]
        pods = [pod for r in sets for pod in view.owned("Pod", r["metadata"]["uid"])]
        return deployment.reconcile(deployment.Observed(found, sets, pods, failure), now)


@dataclass(frozen=True, slots=True)
class ReplicaSetController:
    name: str = "replicaset-controller"
    kind: str = "ReplicaSet"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "ReplicaSet":
                return [_key(obj)]
            case "Pod":
                return _owner_key(obj, "ReplicaSet") or _candidates(view, "ReplicaSet", obj)
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("ReplicaSet", *key)
        if found is None:
            return []
        pods = [*view.owned("Pod", found["metadata"]["uid"]), *view.unowned("Pod", key[0])]
        return replicaset.reconcile(replicaset.Observed(found, pods, view.seen_at("Pod"), failure), now)


@dataclass(frozen=True, slots=True)
class StatefulSetController:
    name: str = "statefulset-controller"
    kind: str = "StatefulSet"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "StatefulSet":
                return [_key(obj)]
            case "Pod" | "ControllerRevision":
                return _owner_key(obj, "StatefulSet") or _candidates(view, "StatefulSet", obj)
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("StatefulSet", *key)
        if found is None:
            return []
        uid = found["metadata"]["uid"]
        pods = [*view.owned("Pod", uid), *view.unowned("Pod", key[0])]
        claims = names(view.all("PersistentVolumeClaim", key[0]))
        revisions = view.owned("ControllerRevision", uid)
        return statefulset.reconcile(statefulset.Observed(found, pods, claims, revisions), now)


@dataclass(frozen=True, slots=True)
class JobController:
    name: str = "job-controller"
    kind: str = "Job"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Job":
                return [_key(obj)]
            case "Pod":
                return _owner_key(obj, "Job")
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Job", *key)
        uid = found["metadata"]["uid"] if found else ""
        named = view.selected("Pod", key[0], {job.NAME_LABEL: key[1]})
        left = [
            p for p in named if (owner := controller_of(p)) and owner["kind"] == "Job" and owner["uid"] != uid
        ]
        actions = job.strip(left)
        if found is not None:
            observed = job.Observed(found, view.owned("Pod", uid), view.seen_at("Pod"))
            actions += job.reconcile(observed, now)
        return actions


@dataclass(frozen=True, slots=True)
class EndpointSliceController:
    name: str = "endpoint-slice-controller"
    kind: str = "Service"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Service":
                return [_key(obj)]
            case "EndpointSlice":
                return _owner_key(obj, "Service")
            case "Pod":
                return self._selecting(view, obj)
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Service", *key)
        if found is None:
            return []
        slices = view.owned("EndpointSlice", found["metadata"]["uid"])
        selector = found["spec"].get("selector")
        pods = view.selected("Pod", key[0], selector) if selector else []
        return endpointslice.reconcile(endpointslice.Observed(found, pods, slices))

    def _selecting(self, view: View, pod: Object) -> list[Key]:
        labels = (pod["metadata"].get("labels") or {}).items()
        services = view.all("Service", pod["metadata"]["namespace"])
        return [
            _key(s) for s in services if (chosen := s["spec"].get("selector")) and chosen.items() <= labels
        ]


@dataclass(frozen=True, slots=True)
class Scheduler:
    name: str = "default-scheduler"
    kind: str = "Pod"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        if kind == "Pod" and not obj["spec"].get("nodeName"):
            return [_key(obj)]
        room_may_have_come = kind in ("Node", "PersistentVolumeClaim") or (
            kind == "Pod"
            and (is_deleting(obj) or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"))
        )
        return (
            [_key(p) for p in view.all("Pod") if not p["spec"].get("nodeName")] if room_may_have_come else []
        )

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Pod", *key)
        if found is None or found["spec"].get("nodeName"):
            return []
        placed = [pod for pod in view.all("Pod") if pod["spec"].get("nodeName")]
        claims: Mapping[str, Object] = {
            c["metadata"]["name"]: c for c in view.all("PersistentVolumeClaim", key[0])
        }
        return scheduler.reconcile(scheduler.Observed(found, view.all("Node"), placed, claims), now)


@dataclass(frozen=True, slots=True)
class RootCertificatePublisher:
    root_certificates: Callable[[], str]
    name: str = "root-certificate-publisher"
    kind: str = "Namespace"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Namespace":
                return [_key(obj)]
            case "ConfigMap" if obj["metadata"]["name"] == namespace.ROOT_CONFIG_MAP:
                return [("", obj["metadata"]["namespace"])]
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Namespace", *key)
        if found is None:
            return []
        root = view.get("ConfigMap", key[1], namespace.ROOT_CONFIG_MAP)
        return namespace.reconcile(namespace.Observed(found, root), self.root_certificates())


@dataclass(frozen=True, slots=True)
class OrphanController:
    name: str = "pod-garbage-collector"
    kind: str = "Pod"
    clock: Callable[[], float] = time.monotonic
    missing: dict[str, float] = field(default_factory=dict)
    """Since when a node has been missing, by its name; forgotten when it comes back."""

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Pod":
                return [_key(obj)]
            case "Node":
                node = obj["metadata"]["name"]
                return [_key(pod) for pod in view.all("Pod") if pod["spec"].get("nodeName") == node]
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Pod", *key)
        if found is None:
            return []
        node = found["spec"].get("nodeName") or ""
        exists = not node or view.get("Node", "", node) is not None
        if exists:
            self.missing.pop(node, None)
        moment = self.clock()
        missing = 0.0 if exists else moment - self.missing.setdefault(node, moment)
        return orphan.reconcile(orphan.Observed(found, exists, missing), now)


@dataclass(frozen=True, slots=True)
class NodeLifecycleController:
    name: str = "node-controller"
    kind: str = "Node"
    clock: Callable[[], float] = time.monotonic
    heard: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The newest sign of life of each node, and when it was first seen."""

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Node":
                return [_key(obj)]
            case "Lease" if obj["metadata"]["namespace"] == node_lifecycle.LEASES:
                return [("", obj["metadata"]["name"])]
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        name = key[1]
        found = view.get("Node", *key)
        if found is None:
            self.heard.pop(name, None)
            return []
        lease = view.get("Lease", node_lifecycle.LEASES, name)
        sign, moment = node_lifecycle.sign_of_life(found, lease), self.clock()
        if self.heard.get(name, ("", 0.0))[0] != sign:
            self.heard[name] = sign, moment
        pods = [pod for pod in view.all("Pod") if pod["spec"].get("nodeName") == name]
        silent = moment - self.heard[name][1]
        return node_lifecycle.reconcile(node_lifecycle.Observed(found, lease, pods, silent), now)


@dataclass(frozen=True, slots=True)
class GatewayController:
    name: str = "gateway-controller"
    kind: str = "Gateway"

    def keys(self, view: View, kind: str, obj: Object) -> Iterable[Key]:
        match kind:
            case "Gateway":
                return [_key(obj)]
            case "GatewayClass":
                name = obj["metadata"]["name"]
                return [_key(one) for one in view.all("Gateway") if one["spec"]["gatewayClassName"] == name]
            case "Deployment":
                labels = (obj["spec"]["template"].get("metadata") or {}).get("labels") or {}
                return _owner_key(obj, "Gateway") or self._named(obj, labels)
            case "Pod":
                return self._named(obj, obj["metadata"].get("labels") or {})
            case "ServiceAccount":
                return _owner_key(obj, "Gateway")
        return []

    def decide(self, view: View, key: Key, failure: str, now: datetime) -> list[Action]:
        found = view.get("Gateway", *key)
        if found is None:
            return []
        served_by = view.get("GatewayClass", "", found["spec"]["gatewayClassName"])
        ours = served_by is not None and served_by["spec"].get("controllerName") == CONTROLLER
        account = view.get("ServiceAccount", key[0], gateway.resource_name(found))
        pods = view.selected("Pod", key[0], {GATEWAY_NAME_LABEL: key[1]})
        return gateway.reconcile(gateway.Observed(found, ours, account, view.all("Deployment", key[0]), pods))

    def _named(self, obj: Object, labels: Mapping[str, str]) -> list[Key]:
        name = labels.get(GATEWAY_NAME_LABEL)
        return [(obj["metadata"]["namespace"], name)] if name else []
