"""What the mesh knows: Kubernetes and Istio objects parsed into immutable, typed facts. No I/O.

A `Registry` is never changed: `update` gives a new one that shares with the old whatever did not change.
An object that changed in ways that do not matter here (a pod's status, a heartbeat) leaves its fact
identical (`is`), so that all that is derived from it stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hauberk.mesh.protocol import Protocol, select_protocol
from hauberk.model.credential import Credential, parse_secret
from hauberk.model.kind import Object

Key = tuple[str, str]
"""Namespace and name."""

ObjectKey = tuple[str, str, str, str]
"""API group, kind, namespace and name."""

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
GATEWAY_API = "gateway.networking.k8s.io"
TELEMETRY = "telemetry.istio.io"
HAUBERK = "hauberk.io"

CONFIGURATION_KINDS = frozenset(
    {
        (NETWORKING, "VirtualService"),
        (NETWORKING, "DestinationRule"),
        (NETWORKING, "Gateway"),
        (NETWORKING, "Sidecar"),
        (SECURITY, "PeerAuthentication"),
        (SECURITY, "AuthorizationPolicy"),
        (TELEMETRY, "Telemetry"),
        (HAUBERK, "MeshConfig"),
        (GATEWAY_API, "GatewayClass"),
        (GATEWAY_API, "Gateway"),
        (GATEWAY_API, "HTTPRoute"),
        (GATEWAY_API, "GRPCRoute"),
        (GATEWAY_API, "TLSRoute"),
        (GATEWAY_API, "TCPRoute"),
        (GATEWAY_API, "ReferenceGrant"),
        ("", "Namespace"),
    }
)

GATEWAY_ANNOTATION = "hauberk.io/gateway"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What holds for the whole mesh."""

    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    """Policies in this namespace without a selector apply everywhere."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service. `target` is the number or the name of the container's port."""

    number: int
    name: str
    protocol: Protocol
    target: int | str


@dataclass(frozen=True, slots=True)
class Service:
    """A Kubernetes Service. `address` is empty for a headless one."""

    namespace: str
    name: str
    host: str
    address: str
    ports: tuple[ServicePort, ...]
    selector: Labels
    export_to: frozenset[str]
    publish_not_ready: bool = False

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def headless(self) -> bool:
        """Named by its endpoints' addresses, not by one of its own."""
        return not self.address

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

    @property
    def key(self) -> Key:
        return self.namespace, self.name

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

    def identities(self, mesh: Mesh) -> tuple[str, ...]:
        """The SPIFFE IDs that may answer for this service."""
        workloads = (endpoint.workload for endpoint in self.endpoints)
        return tuple(
            sorted({workload.spiffe_id(mesh) for workload in workloads if workload and workload.meshed})
        )


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

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    def same(self, other: Configuration) -> bool:
        return self.spec == other.spec and self.labels == other.labels and self.generation == other.generation


@dataclass(frozen=True, slots=True)
class Registry:
    """All facts at one moment."""

    mesh: Mesh = field(default_factory=Mesh)
    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, EndpointSlice] = field(default_factory=dict)
    workloads: Mapping[Key, Workload] = field(default_factory=dict)
    configurations: Mapping[ObjectKey, Configuration] = field(default_factory=dict)
    credentials: Mapping[Key, Credential | str] = field(default_factory=dict)
    """Secrets that hold certificates, or what is wrong with them."""
    views: Mapping[str, ServiceView] = field(default_factory=dict)
    """By the service's host, in order."""
    slices_of: Mapping[Key, frozenset[Key]] = field(default_factory=dict)
    served_at: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    """The services that an address is an endpoint of."""
    workload_at: Mapping[str, Workload] = field(default_factory=dict)

    def update(self, upserted: Iterable[Object], deleted: Iterable[ObjectKey] = ()) -> Registry:
        """The registry with these objects put in and those taken out; itself if that changes nothing."""
        return _Update(self).run(upserted, deleted)

    def of_kind(self, group: str, kind: str) -> list[Configuration]:
        """All objects of a kind: the oldest first, as Istio orders them; ties by namespace and name."""
        found = [
            entry for entry in self.configurations.values() if (entry.group, entry.kind) == (group, kind)
        ]
        return sorted(found, key=lambda entry: (entry.created, entry.namespace, entry.name))

    def view(self, host: str) -> ServiceView | None:
        return self.views.get(host)


class _Update:
    """One update under way: each mapping is copied when it is first written to."""

    def __init__(self, registry: Registry) -> None:
        self._old = registry
        self._copied: dict[str, dict[Any, Any]] = {}
        self._touched: set[Key] = set()

    def run(self, upserted: Iterable[Object], deleted: Iterable[ObjectKey]) -> Registry:
        for group, kind, namespace, name in deleted:
            self._delete(group, kind, namespace, name)
        for obj in upserted:
            self._upsert(obj)
        for key in self._touched:
            self._view(key)
        if not self._copied:
            return self._old
        if "views" in self._copied:
            self._copied["views"] = dict(sorted(self._copied["views"].items()))
        changed: dict[str, Any] = self._copied
        return replace(self._old, **changed)

    def _get(self, mapping: str) -> Mapping[Any, Any]:
        copied = self._copied.get(mapping)
        current: Mapping[Any, Any] = copied if copied is not None else getattr(self._old, mapping)
        return current

    def _write(self, mapping: str) -> dict[Any, Any]:
        if mapping not in self._copied:
            self._copied[mapping] = dict(getattr(self._old, mapping))
        return self._copied[mapping]

    def _set(self, mapping: str, key: Any, value: Any) -> None:
        if value is None or value == frozenset():
            if key in self._get(mapping):
                del self._write(mapping)[key]
        elif self._get(mapping).get(key) != value:
            self._write(mapping)[key] = value

    def _upsert(self, obj: Object) -> None:
        group, kind = _group(obj), obj["kind"]
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if (group, kind) == ("", "Service"):
            self._put_service(key, parse_service(obj, self._old.mesh))
        elif (group, kind) == ("discovery.k8s.io", "EndpointSlice"):
            self._put_slice(key, parse_endpoint_slice(obj))
        elif (group, kind) == ("", "Pod"):
            self._put_workload(key, parse_workload(obj))
        elif (group, kind) == ("", "Secret"):
            self._set("credentials", key, parse_secret(obj))
        elif (group, kind) in CONFIGURATION_KINDS:
            configuration = _parse_configuration(group, obj)
            known = self._get("configurations").get((group, kind, *key))
            if known is None or not configuration.same(known):
                self._write("configurations")[group, kind, *key] = configuration

    def _delete(self, group: str, kind: str, namespace: str, name: str) -> None:
        key = (namespace, name)
        if (group, kind) == ("", "Service"):
            self._put_service(key, None)
        elif (group, kind) == ("discovery.k8s.io", "EndpointSlice"):
            self._put_slice(key, None)
        elif (group, kind) == ("", "Pod"):
            self._put_workload(key, None)
        elif (group, kind) == ("", "Secret"):
            self._set("credentials", key, None)
        elif (group, kind, *key) in self._get("configurations"):
            del self._write("configurations")[group, kind, *key]

    def _put_service(self, key: Key, service: Service | None) -> None:
        self._set("services", key, service)
        self._touched.add(key)

    def _put_slice(self, key: Key, new: EndpointSlice | None) -> None:
        old: EndpointSlice | None = self._get("slices").get(key)
        if old == new:
            return
        self._set("slices", key, new)
        if old:
            self._set("slices_of", old.service, self._get("slices_of")[old.service] - {key})
        if new:
            self._set("slices_of", new.service, self._get("slices_of").get(new.service, frozenset()) | {key})
        for one in (old, new):
            if one:
                self._touched.add(one.service)
        before = {endpoint.address for endpoint in old.endpoints} if old else set()
        after = {endpoint.address for endpoint in new.endpoints} if new else set()
        for address in (before ^ after) if old and new and old.service == new.service else (before | after):
            self._index_address(address, (old or new).service if address in before else None, new, after)  # type: ignore[union-attr]

    def _index_address(
        self, address: str, left: Key | None, new: EndpointSlice | None, after: set[str]
    ) -> None:
        served = self._get("served_at").get(address, frozenset())
        if left and not self._still_served(address, left):
            served -= {left}
        if new and address in after:
            served |= {new.service}
        self._set("served_at", address, served)

    def _still_served(self, address: str, service: Key) -> bool:
        slices = self._get("slices")
        return any(
            endpoint.address == address
            for key in self._get("slices_of").get(service, ())
            for endpoint in slices[key].endpoints
        )

    def _put_workload(self, key: Key, new: Workload | None) -> None:
        old: Workload | None = self._get("workloads").get(key)
        if old == new:
            return
        self._set("workloads", key, new)
        at = self._get("workload_at")
        if old and old.address and at.get(old.address) == old:
            self._set("workload_at", old.address, None)
        if new and new.address:
            self._set("workload_at", new.address, new)
        for one in (old, new):
            if one and one.address:
                self._touched |= self._get("served_at").get(one.address, frozenset())

    def _view(self, key: Key) -> None:
        service: Service | None = self._get("services").get(key)
        host = host_of(key[1], key[0], self._old.mesh)
        if service is None:
            self._set("views", host, None)
            return
        slices, at = self._get("slices"), self._get("workload_at")
        endpoints = {
            (endpoint.address, endpoint.ports): replace(endpoint, workload=at.get(endpoint.address))
            for slice_key in sorted(self._get("slices_of").get(key, ()))
            for endpoint in slices[slice_key].endpoints
            if endpoint.ready or service.publish_not_ready
        }
        self._set("views", host, ServiceView(service, tuple(endpoints[each] for each in sorted(endpoints))))


def host_of(name: str, namespace: str, mesh: Mesh) -> str:
    """The fully qualified name of a service."""
    return f"{name}.{namespace}.svc.{mesh.cluster_domain}"


def exported(export_to: frozenset[str], own: str, namespace: str) -> bool:
    """Whether `exportTo` (`*`, `.`, `~`, namespaces) reaches a namespace; an empty one reaches all."""
    return (
        not export_to or "*" in export_to or namespace in export_to or ("." in export_to and own == namespace)
    )


def object_key(obj: Object) -> ObjectKey:
    metadata = obj["metadata"]
    return _group(obj), obj["kind"], metadata.get("namespace", ""), metadata["name"]


def parse_service(obj: Object, mesh: Mesh) -> Service | None:
    """A Service as a fact; None for one that names something outside (`ExternalName`)."""
    metadata, spec = obj["metadata"], obj.get("spec", {})
    if spec.get("type") == "ExternalName":
        return None
    address = spec.get("clusterIP") or ""
    namespace = metadata.get("namespace", "default")
    annotations = metadata.get("annotations") or {}
    export_to = annotations.get("networking.istio.io/exportTo", "")
    return Service(
        namespace=namespace,
        name=metadata["name"],
        host=host_of(metadata["name"], namespace, mesh),
        address="" if address == "None" else address,
        ports=tuple(
            ServicePort(
                number=port["port"],
                name=port.get("name") or "",
                protocol=select_protocol(
                    port["port"],
                    port.get("name") or "",
                    port.get("appProtocol") or "",
                    port.get("protocol") or "TCP",
                ),
                target=port.get("targetPort") or port["port"],
            )
            for port in spec.get("ports") or ()
        ),
        selector=Labels.of(spec.get("selector")),
        export_to=frozenset(part.strip() for part in export_to.split(",") if part.strip()),
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
    )


def parse_endpoint_slice(obj: Object) -> EndpointSlice | None:
    """An EndpointSlice as a fact; None for one that belongs to no service or is not IPv4."""
    metadata = obj["metadata"]
    service = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
    if not service or obj.get("addressType", "IPv4") != "IPv4":
        return None
    ports = tuple(
        (port.get("name") or "", port["port"])
        for port in obj.get("ports") or ()
        if port.get("port") is not None
    )
    return EndpointSlice(
        service=(metadata.get("namespace", "default"), service),
        endpoints=tuple(
            Endpoint(
                address=address,
                ports=ports,
                ready=(endpoint.get("conditions") or {}).get("ready") is not False,
                hostname=endpoint.get("hostname") or "",
                zone=endpoint.get("zone") or "",
            )
            for endpoint in obj.get("endpoints") or ()
            for address in endpoint.get("addresses") or ()
        ),
    )


def parse_workload(obj: Object) -> Workload | None:
    """A Pod as a fact; None once it has ended."""
    metadata, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return Workload(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        address=status.get("podIP") or "",
        labels=Labels.of(metadata.get("labels")),
        service_account=spec.get("serviceAccountName") or "default",
        ports=tuple(
            ContainerPort(port["containerPort"], port.get("name") or "")
            for container in containers
            for port in container.get("ports") or ()
            if (port.get("protocol") or "TCP") == "TCP"
        ),
        gateway=(metadata.get("annotations") or {}).get(GATEWAY_ANNOTATION) == "true",
        meshed=not spec.get("hostNetwork"),
    )


def _parse_configuration(group: str, obj: Object) -> Configuration:
    metadata = obj["metadata"]
    return Configuration(
        group=group,
        kind=obj["kind"],
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        labels=Labels.of(metadata.get("labels")),
        created=str(metadata.get("creationTimestamp") or ""),
        generation=metadata.get("generation") or 0,
        spec=obj.get("spec") or {},
    )


def _group(obj: Object) -> str:
    group, slash, _ = obj["apiVersion"].partition("/")
    return group if slash else ""
