"""What the mesh knows: Kubernetes and Istio objects parsed into immutable, typed facts. No I/O.

A `Registry` is never changed: `update` gives a new one that shares with the old whatever did not change.
An object that changed in ways that do not matter here (a pod's status, a heartbeat) leaves its fact
identical (`is`), so that all that is derived from it stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from immutables import Map, MapMutation

from hauberk import fault
from hauberk.mesh.facts import (
    GATEWAY_API,
    HAUBERK,
    NETWORKING,
    SECURITY,
    TELEMETRY,
    Configuration,
    ContainerPort,
    Endpoint,
    EndpointSlice,
    Key,
    Labels,
    Mesh,
    ObjectKey,
    Service,
    ServicePort,
    ServiceView,
    Workload,
    exported,
    host_of,
)
from hauberk.mesh.protocol import select_protocol
from hauberk.mesh.service_entries import entry_views
from hauberk.model.credential import Credential, parse_secret
from hauberk.model.kind import Object

__all__ = [
    "CONFIGURATION_KINDS",
    "GATEWAY_ANNOTATION",
    "GATEWAY_API",
    "HAUBERK",
    "NETWORKING",
    "SECURITY",
    "TELEMETRY",
    "Configuration",
    "ContainerPort",
    "Endpoint",
    "EndpointSlice",
    "Key",
    "Labels",
    "Mesh",
    "ObjectKey",
    "Registry",
    "Service",
    "ServicePort",
    "ServiceView",
    "Workload",
    "exported",
    "host_of",
    "object_key",
    "parse_endpoint_slice",
    "parse_service",
    "parse_workload",
]
"""The facts are found here too, beside what holds them."""

CONFIGURATION_KINDS = frozenset(
    {
        (NETWORKING, "VirtualService"),
        (NETWORKING, "DestinationRule"),
        (NETWORKING, "Gateway"),
        (NETWORKING, "Sidecar"),
        (NETWORKING, "ServiceEntry"),
        (NETWORKING, "WorkloadEntry"),
        (SECURITY, "PeerAuthentication"),
        (SECURITY, "AuthorizationPolicy"),
        (SECURITY, "RequestAuthentication"),
        (TELEMETRY, "Telemetry"),
        (HAUBERK, "MeshConfig"),
        (HAUBERK, "RateLimit"),
        (HAUBERK, "ExternalProcessor"),
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

_log = logging.getLogger(__name__)

GATEWAY_ANNOTATION = "hauberk.io/gateway"
DRY_RUN_ANNOTATION = "istio.io/dry-run"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class Registry:
    """All facts at one moment."""

    mesh: Mesh = field(default_factory=Mesh)
    services: Mapping[Key, Service] = field(default_factory=dict)
    slices: Mapping[Key, EndpointSlice] = field(default_factory=dict)
    workloads: Mapping[Key, Workload] = field(default_factory=dict)
    configurations: Mapping[ObjectKey, Configuration] = field(default_factory=dict)
    key_sets: Mapping[str, str] = field(default_factory=dict)
    """Key sets of tokens' issuers that have been fetched, by address."""
    credentials: Mapping[Key, Credential | str] = field(default_factory=dict)
    """Secrets that hold certificates, or what is wrong with them."""
    views: Mapping[str, ServiceView] = field(default_factory=dict)
    """By the service's host, in order; Kubernetes Services come before ServiceEntries of the same host."""
    entry_hosts: frozenset[str] = frozenset()
    """Hosts of ServiceEntries in `views`."""
    slices_of: Mapping[Key, frozenset[Key]] = field(default_factory=dict)
    served_at: Map[str, frozenset[Key]] = field(default_factory=Map)
    """The services that an address is an endpoint of."""
    workload_at: Map[str, Workload] = field(default_factory=Map)

    def update(self, upserted: Iterable[Object], deleted: Iterable[ObjectKey] = ()) -> Registry:
        """The registry with these objects put in and those taken out; itself if that changes nothing."""
        return _Update(self).run(upserted, deleted)

    def with_key_sets(self, key_sets: Mapping[str, str]) -> Registry:
        """The registry with these fetched key sets; itself if they are the same."""
        return self if key_sets == self.key_sets else replace(self, key_sets=dict(key_sets))

    def of_kind(self, group: str, kind: str) -> list[Configuration]:
        """All objects of a kind: the oldest first, as Istio orders them; ties by namespace and name."""
        found = [
            entry for entry in self.configurations.values() if (entry.group, entry.kind) == (group, kind)
        ]
        return sorted(found, key=lambda entry: (entry.created, entry.namespace, entry.name))

    def view(self, host: str) -> ServiceView | None:
        return self.views.get(host)


_BY_ADDRESS = frozenset({"served_at", "workload_at"})


class _Update:
    """One update under way: each mapping is copied when it is first written to.

    Those by address have an entry for each of 100,000 pods, and each pod that comes or goes changes them: they are
    persistent maps, of which a change copies next to nothing.
    """

    def __init__(self, registry: Registry) -> None:
        self._old = registry
        self._copied: dict[str, dict[Any, Any]] = {}
        self._mutations: dict[str, MapMutation[Any, Any]] = {}
        self._touched: set[Key] = set()

    def run(self, upserted: Iterable[Object], deleted: Iterable[ObjectKey]) -> Registry:
        for group, kind, namespace, name in deleted:
            self._delete(group, kind, namespace, name)
        for obj in upserted:
            self._take(obj)
        for key in self._touched:
            self._view(key)
        self._entries()
        if not self._copied and not self._mutations:
            return self._old
        if "views" in self._copied and self._copied["views"].keys() != self._old.views.keys():
            self._copied["views"] = dict(sorted(self._copied["views"].items()))
        changed: dict[str, Any] = self._copied | {
            name: mutation.finish() for name, mutation in self._mutations.items()
        }
        return replace(self._old, **changed)

    def _entries(self) -> None:
        """Views of ServiceEntries: derived anew when anything changed, kept where they come out the same."""
        if not self._copied or ("configurations" not in self._copied and not self._old.entry_hosts):
            return
        configurations: Mapping[ObjectKey, Configuration] = self._get("configurations")
        views: Mapping[str, ServiceView] = self._get("views")
        own = {host: view for host, view in views.items() if view.service.entry is None}
        workloads, at = self._get("workloads"), self._get("workload_at")
        found = entry_views(configurations.values(), own, workloads, at, self._old.mesh)
        for host in self._old.entry_hosts - found.keys():
            if host in views and host not in own:
                self._set("views", host, None)
        for host, view in found.items():
            self._set("views", host, view)
        hosts = frozenset(found)
        if hosts != self._old.entry_hosts:
            self._copied["entry_hosts"] = hosts  # type: ignore[assignment]

    def _get(self, mapping: str) -> Any:
        """As it is by now: a mapping, of which those by address cannot be iterated while they change."""
        copied = self._copied.get(mapping, self._mutations.get(mapping))
        return copied if copied is not None else getattr(self._old, mapping)

    def _write(self, mapping: str) -> dict[Any, Any] | MapMutation[Any, Any]:
        if mapping in _BY_ADDRESS:
            if mapping not in self._mutations:
                self._mutations[mapping] = getattr(self._old, mapping).mutate()
            return self._mutations[mapping]
        if mapping not in self._copied:
            self._copied[mapping] = dict(getattr(self._old, mapping))
        return self._copied[mapping]

    def _set(self, mapping: str, key: Any, value: Any) -> None:
        if value is None or value == frozenset():
            if key in self._get(mapping):
                del self._write(mapping)[key]
        elif self._get(mapping).get(key) != value:
            self._write(mapping)[key] = value

    def _take(self, obj: Object) -> None:
        try:
            self._upsert(obj)
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            _, kind, namespace, name = object_key(obj)
            _log.error("mesh: %s %s/%s stays as it was: %s", kind, namespace, name, fault.described(error))

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
        for address in old.addresses if old else ():
            if self._get("workload_at").get(address) == old:
                self._set("workload_at", address, None)
        for address in new.addresses if new else ():
            self._set("workload_at", address, new)
        for one in (old, new):
            for address in one.addresses if one else ():
                self._touched |= self._get("served_at").get(address, frozenset())

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
            if (endpoint.ready or service.publish_not_ready) and service.serves_at(endpoint.address)
        }
        self._set("views", host, ServiceView(service, tuple(endpoints[each] for each in sorted(endpoints))))


def object_key(obj: Object) -> ObjectKey:
    metadata = obj["metadata"]
    return _group(obj), obj["kind"], metadata.get("namespace", ""), metadata["name"]


def parse_service(obj: Object, mesh: Mesh) -> Service:
    """A Service as a fact. Of one that is another name (`ExternalName`) only the names count."""
    metadata, spec = obj["metadata"], obj.get("spec", {})
    if spec.get("type") == "ExternalName":
        spec = {"externalName": spec.get("externalName")}
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
        alias=(spec.get("externalName") or "").rstrip(".").lower(),
        other_addresses=tuple(one for one in spec.get("clusterIPs") or () if one not in ("None", address)),
        families=tuple(spec.get("ipFamilies") or ("IPv4",)),
    )


def parse_endpoint_slice(obj: Object) -> EndpointSlice | None:
    """An EndpointSlice as a fact; None for one that belongs to no service or has names (`FQDN`)."""
    metadata = obj["metadata"]
    service = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
    if not service or obj.get("addressType", "IPv4") not in ("IPv4", "IPv6"):
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
    address = status.get("podIP") or ""
    return Workload(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        address=address,
        other_addresses=tuple(
            one["ip"] for one in status.get("podIPs") or () if one.get("ip") not in (None, "", address)
        ),
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
        ready=not any(
            one.get("type") == "Ready" and one.get("status") != "True"
            for one in status.get("conditions") or ()
        ),
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
        dry_run=str((metadata.get("annotations") or {}).get(DRY_RUN_ANNOTATION)) in _TRUE,
    )


def _group(obj: Object) -> str:
    group, slash, _ = obj["apiVersion"].partition("/")
    return group if slash else ""
