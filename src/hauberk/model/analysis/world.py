"""The objects under analysis, typed and indexed."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import msgspec

from hauberk.model.analysis.finding import Finding
from hauberk.model.credential import Credential, parse_secret
from hauberk.model.gateway_api.gateway import Gateway as ApiGateway
from hauberk.model.gateway_api.reference import ReferenceGrant
from hauberk.model.gateway_api.route import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute
from hauberk.model.hauberk.mesh_config import MeshConfig
from hauberk.model.istio.destination import DestinationRule
from hauberk.model.istio.gateway import Gateway
from hauberk.model.istio.security import AuthorizationPolicy, PeerAuthentication, RequestAuthentication
from hauberk.model.istio.service_entry import ServiceEntry
from hauberk.model.istio.telemetry import Telemetry
from hauberk.model.istio.virtual_service import VirtualService
from hauberk.model.kubernetes.apps import Deployment, ReplicaSet, StatefulSet
from hauberk.model.kubernetes.batch import Job
from hauberk.model.kubernetes.pod import Pod, PodSpec, PodTemplateSpec
from hauberk.model.kubernetes.service import Service
from hauberk.model.manifest import Located
from hauberk.model.selector import contains
from hauberk.model.struct import parse

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Context:
    """What is true of the mesh beyond its objects."""

    trust_domain: str = "cluster.local"
    images: frozenset[str] | None = frozenset({"host", "auto"})
    """Images that can be run; None for any."""


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """A typed object and where it was written."""

    located: Located
    value: T

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return self.located.namespace

    @property
    def name(self) -> str:
        """The object's name."""
        return self.located.name

    def finding(self, code: str, field: str, message: str) -> Finding:
        """Something found at `field` of this object."""
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return Finding(code, self.located.place(field), message, f"{self.located.kind.name} {where}", field)


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods of one template, or one pod."""

    item: Item[msgspec.Struct]
    labels: Mapping[str, str]
    spec: PodSpec
    path: str
    """Where the pod's spec is in the object."""

    @property
    def namespace(self) -> str:
        """The namespace of the pods."""
        return self.item.namespace

    @property
    def service_account(self) -> str:
        """The account that the pods run as."""
        return self.spec.service_account_name or self.spec.service_account or "default"

    def port_names(self) -> set[str]:
        """Names of the containers' ports."""
        return {port.name for container in self.spec.containers for port in container.ports if port.name}


@dataclass(slots=True)
class World:
    """All objects, by what the rules look for."""

    context: Context
    names: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """`(namespace, name)` of every object, by kind."""
    typed: dict[type[msgspec.Struct], list[Item[msgspec.Struct]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    workloads: list[Workload] = field(default_factory=list)
    services: dict[tuple[str, str], Item[Service]] = field(default_factory=dict)
    credentials: dict[tuple[str, str], Credential | str] = field(default_factory=dict)
    """Secrets that hold certificates, or what is wrong with them."""

    def all(self, type_: type[T]) -> Iterator[Item[T]]:
        """Objects of a type, in the order in which they were given."""
        return iter(cast(list[Item[T]], self.typed[type_]))

    def has(self, kind: str, namespace: str, name: str) -> bool:
        """Whether there is such an object."""
        return (namespace, name) in self.names[kind]

    def pods(self, namespace: str | None, labels: Mapping[str, str]) -> list[Workload]:
        """Workloads whose pods have all of `labels`, in one namespace or in any."""
        return [
            workload
            for workload in self.workloads
            if namespace in {None, workload.namespace} and contains(workload.labels, labels)
        ]

    def service(self, host: str, namespace: str) -> Item[Service] | None:
        """The service that `host` means to objects in `namespace`."""
        parts = host.rstrip(".").split(".")
        if len(parts) == 1:
            return self.services.get((namespace, parts[0]))
        if len(parts) == 2 or parts[2] == "svc":
            return self.services.get((parts[1], parts[0]))
        return None

    def knows(self, host: str, namespace: str) -> bool:
        """Whether `host` is a service, or covered by a ServiceEntry."""
        if self.service(host, namespace) is not None:
            return True
        entries = (name for entry in self.all(ServiceEntry) for name in entry.value.spec.hosts)
        return any(name == host or (name.startswith("*.") and host.endswith(name[1:])) for name in entries)

    def full_name(self, host: str, namespace: str) -> str:
        """`host` in full if it is a service, else as it is."""
        service = self.service(host, namespace)
        return host if service is None else f"{service.name}.{service.namespace}.svc.cluster.local"


_TYPES: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("", "Service"): Service,
    ("networking.istio.io", "VirtualService"): VirtualService,
    ("networking.istio.io", "DestinationRule"): DestinationRule,
    ("networking.istio.io", "Gateway"): Gateway,
    ("networking.istio.io", "ServiceEntry"): ServiceEntry,
    ("security.istio.io", "AuthorizationPolicy"): AuthorizationPolicy,
    ("security.istio.io", "PeerAuthentication"): PeerAuthentication,
    ("security.istio.io", "RequestAuthentication"): RequestAuthentication,
    ("telemetry.istio.io", "Telemetry"): Telemetry,
    ("hauberk.io", "MeshConfig"): MeshConfig,
    ("gateway.networking.k8s.io", "Gateway"): ApiGateway,
    ("gateway.networking.k8s.io", "HTTPRoute"): HTTPRoute,
    ("gateway.networking.k8s.io", "GRPCRoute"): GRPCRoute,
    ("gateway.networking.k8s.io", "TLSRoute"): TLSRoute,
    ("gateway.networking.k8s.io", "TCPRoute"): TCPRoute,
    ("gateway.networking.k8s.io", "ReferenceGrant"): ReferenceGrant,
}
_CONTROLLERS: dict[tuple[str, str], type[Deployment | ReplicaSet | StatefulSet | Job]] = {
    ("apps", "Deployment"): Deployment,
    ("apps", "ReplicaSet"): ReplicaSet,
    ("apps", "StatefulSet"): StatefulSet,
    ("batch", "Job"): Job,
}


def build(objects: Iterable[Located], context: Context) -> World:
    """The world of `objects`, with defaults filled in."""
    world = World(context)
    for located in objects:
        obj = copy.deepcopy(located.object)
        located.kind.default(obj)
        world.names[located.kind.name].add((located.namespace, located.name))
        identity = (located.kind.group, located.kind.name)
        owned = bool((obj.get("metadata") or {}).get("ownerReferences"))
        if identity == ("", "Secret"):
            if (credential := parse_secret(obj)) is not None:
                world.credentials[located.namespace, located.name] = credential
        elif identity in _TYPES:
            item = Item(located, parse(_TYPES[identity], obj))
            world.typed[_TYPES[identity]].append(item)
            if isinstance(item.value, Service):
                world.services[located.namespace, located.name] = Item(located, item.value)
        elif identity == ("", "Pod") and not owned:
            pod = Item(located, parse(Pod, obj))
            if pod.value.spec is not None:
                labels = pod.value.metadata.labels
                world.workloads.append(Workload(Item(located, pod.value), labels, pod.value.spec, "spec"))
        elif identity in _CONTROLLERS and not owned:
            _add_controller(world, Item(located, parse(_CONTROLLERS[identity], obj)))
    return world


def _add_controller(world: World, item: Item[Deployment | ReplicaSet | StatefulSet | Job]) -> None:
    spec = item.value.spec
    template: PodTemplateSpec | None = spec.template if spec is not None else None
    if template is None or template.spec is None:
        return
    labels = template.metadata.labels if template.metadata is not None else {}
    world.workloads.append(
        Workload(Item(item.located, item.value), labels, template.spec, "spec.template.spec")
    )
