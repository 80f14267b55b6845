"""The facts that the mesh is derived from: immutable, typed, compared by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.protocol import Protocol

Key = tuple[str, str]
"""Namespace and name."""

ObjectKey = tuple[str, str, str, str]
"""API group, kind, namespace and name."""

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
GATEWAY_API = "gateway.networking.k8s.io"
TELEMETRY = "telemetry.istio.io"
HAUBERK = "hauberk.io"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What holds for the whole mesh."""

    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    """Policies in this namespace without a selector apply everywhere."""
    ipv6: bool = False
    """Whether pods have IPv6 addresses too, at which their proxies listen as well."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service. `target` is the number or the name of the container's port."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True)
class ServiceEntryFacts:
    """What a ServiceEntry says beyond what a Service does."""

    more_addresses: tuple[str, ...] = ()
    follows_caller: bool = False
    """Resolution NONE."""
    subject_alt_names: tuple[str, ...] = ()
    """SPIFFE IDs that its endpoints may show, instead of those of their accounts."""


@dataclass(frozen=True, slots=True)
class Service:
    """A Kubernetes Service or a host of a ServiceEntry. `address` is empty for a headless one."""

    namespace: str
    name: str
    host: str
    address: str
    ports: tuple[ServicePort, ...]
    selector: Labels
    export_to: frozenset[str]
    publish_not_ready: bool = False
    entry: ServiceEntryFacts | None = None
    """What only a ServiceEntry says; None for a Kubernetes Service."""
    alias: str = ""
    """Another name whose addresses it has, and nothing else (`ExternalName`)."""
    other_addresses: tuple[str, ...] = ()
    """Of a Service of both versions of IP: the address in the second one."""
    families: tuple[str, ...] = ("IPv4",)
    """`ipFamilies`. Endpoints are those of the first, whichever address is called; of a headless one, those of all."""

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def headless(self) -> bool:
        """Named by its endpoints' addresses, not by one of its own."""
        return not self.address

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own addresses, at which it can be called."""
        more = self.entry.more_addresses if self.entry else ()
        return (self.address, *self.other_addresses, *more) if self.address else ()

    @property
    def follows_caller(self) -> bool:
        """A connection goes on to the very address that the caller meant."""
        return self.headless or (self.entry is not None and self.entry.follows_caller)

    def serves_at(self, address: str) -> bool:
        """Whether an endpoint's address is of a version of IP in which the service has endpoints."""
        family = "IPv6" if ":" in address else "IPv4"
        return family in self.families if self.headless else family == self.families[0]

    def port(self, number: int) -> ServicePort | None:
        return next((port for port in self.ports if port.number == number), None)

    def visible_to(self, namespace: str) -> bool:
        """Whether `exportTo` lets that namespace see it; everybody does unless it is said."""
        return exported(self.export_to, self.namespace, namespace)


@dataclass(frozen=True, slots=True)
class Labels:
    """A set of labels that can be hashed and compared."""

    items: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, labels: Mapping[str, str] | None) -> Labels:
        return cls(frozenset((labels or {}).items()))

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` has all of these."""
        return self.items <= labels.items

    def get(self, key: str, default: str = "") -> str:
        return next((value for name, value in self.items if name == key), default)

    def __bool__(self) -> bool:
        return bool(self.items)


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container declares."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, as far as the mesh cares."""

    namespace: str
    name: str
    address: str
    labels: Labels
    service_account: str
    ports: tuple[ContainerPort, ...]
    gateway: bool
    meshed: bool
    """Has a proxy, hence proves its identity and can be reached with mutual TLS."""
    ready: bool = True
    other_addresses: tuple[str, ...] = ()
    """In the other version of IP."""

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them; none while the pod has none."""
        return (self.address, *self.other_addresses) if self.address else ()

    def spiffe_id(self, mesh: Mesh) -> str:
        return f"spiffe://{mesh.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that serves a service; `ports` maps the service port's name to the number listened on."""

    address: str
    ports: tuple[tuple[str, int], ...]
    ready: bool
    hostname: str
    zone: str
    workload: Workload | None = None
    weight: int = 1

    def port(self, name: str) -> int | None:
        return next((number for port, number in self.ports if port == name), None)


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A parsed `discovery.k8s.io/v1` EndpointSlice."""

    service: Key
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service with its endpoints, each with the workload behind it: all that its resources derive from."""

    service: Service
    endpoints: tuple[Endpoint, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it can be called: at its own addresses or, headless, at those of the pods behind it.

        Of those only pods of its own namespace count. Whoever may write EndpointSlices writes any address into them,
        and would have the calls to another's Service or pod.
        """
        if not self.service.headless:
            return self.service.addresses
        own = (
            one.address
            for one in self.endpoints
            if one.workload and one.workload.namespace == self.service.namespace
        )
        return tuple(dict.fromkeys(own))

    def identities(self, mesh: Mesh) -> tuple[str, ...]:
        """The SPIFFE IDs that may answer for this service; none if no endpoint proves its own."""
        workloads = (endpoint.workload for endpoint in self.endpoints)
        found = sorted({workload.spiffe_id(mesh) for workload in workloads if workload and workload.meshed})
        told = self.service.entry.subject_alt_names if self.service.entry else ()
        return told if found and told else tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """An object of Istio or the Gateway API: where it is, and what it says. Compared by identity."""

    group: str
    kind: str
    namespace: str
    name: str
    labels: Labels
    created: str
    generation: int
    spec: Mapping[str, Any]
    dry_run: bool = False
    """A policy that decides nothing and whose results are reported (annotation `istio.io/dry-run`)."""

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    def same(self, other: Configuration) -> bool:
        return (self.spec, self.labels, self.generation, self.dry_run) == (
            other.spec, other.labels, other.generation, other.dry_run
        )  # fmt: skip


def host_of(name: str, namespace: str, mesh: Mesh) -> str:
    """The fully qualified name of a service."""
    return f"{name}.{namespace}.svc.{mesh.cluster_domain}"


def exported(export_to: frozenset[str], own: str, namespace: str) -> bool:
    """Whether `exportTo` (`*`, `.`, `~`, namespaces) reaches a namespace; an empty one reaches all."""
    return (
        not export_to or "*" in export_to or namespace in export_to or ("." in export_to and own == namespace)
    )
