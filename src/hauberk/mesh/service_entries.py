"""ServiceEntry and WorkloadEntry → services with endpoints, as Kubernetes' own (Istio, "Service Entry").

Names are resolved here and not in the proxies: a gate reaches nothing but other gates, hence no name server. A name
that is a service of the mesh has that service's endpoints; any other has none.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hauberk.mesh.facts import (
    NETWORKING,
    Configuration,
    Endpoint,
    Key,
    Labels,
    Mesh,
    Service,
    ServiceEntryFacts,
    ServicePort,
    ServiceView,
    Workload,
)
from hauberk.mesh.protocol import select_protocol

Spec = Mapping[str, Any]
Placed = TypeVar("Placed", Workload, Configuration)

OWN_ADDRESSES = ipaddress.ip_network("240.240.0.0/16")
"""Where hosts without an address get one, as Istio gives them: no network routes it."""
TLS_MODE_LABEL = "security.istio.io/tlsMode"

_log = logging.getLogger(__name__)


def entry_views(
    configurations: Iterable[Configuration],
    services: Mapping[str, ServiceView],
    workloads: Mapping[Key, Workload],
    workload_at: Mapping[str, Workload],
    mesh: Mesh,
) -> dict[str, ServiceView]:
    """A view for each host of the ServiceEntries that no Kubernetes Service has; of several the oldest counts.

    One that makes no sense (the API admits none) is left out and disturbs no other.
    """
    told = sorted(
        (one for one in configurations if one.group == NETWORKING),
        key=lambda one: (one.created, one.namespace, one.name),
    )
    entries = [one for one in told if one.kind == "ServiceEntry"]
    if not entries:
        return {}
    workload_entries = [one for one in told if one.kind == "WorkloadEntry"]
    context = _Context(services, workloads, workload_at, workload_entries, mesh)
    found: dict[str, ServiceView] = {}
    names = {_folded(host) for host in services}
    for entry in entries:
        try:
            check_hosts(entry, mesh)
            made = list(context.views(entry))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _log.error("mesh: ServiceEntry %s/%s has no effect: %r", entry.namespace, entry.name, error)
            continue
        for view in made:
            name = _folded(view.service.host)
            if name not in names:
                names.add(name)
                found[view.service.host] = view
    return found


def check_hosts(entry: Configuration, mesh: Mesh) -> None:
    """Raises ValueError if an entry names what only another namespace may have under the mesh's domain.

    Programs try every name under their namespace's domain and the mesh's first (`search` of resolv.conf), and names
    of pods come and go: an entry there would stand in the place of others' names.
    """
    for host in entry.spec["hosts"]:
        name = f".{_folded(host)}"
        own = name.endswith(f".{entry.namespace}.svc.{mesh.cluster_domain}")
        if name.endswith(f".{mesh.cluster_domain}") and not own:
            raise ValueError(
                f"expected hosts outside {mesh.cluster_domain} or under {entry.namespace}.svc.{mesh.cluster_domain}, "
                f"found {host}: name it otherwise, or in the namespace whose name it is"
            )


class _Context:
    """What is around the entries, and which addresses they have taken."""

    def __init__(
        self,
        services: Mapping[str, ServiceView],
        workloads: Mapping[Key, Workload],
        workload_at: Mapping[str, Workload],
        workload_entries: Sequence[Configuration],
        mesh: Mesh,
    ) -> None:
        self._services = services
        self._pods = _by_namespace(workloads.values())
        self._at = workload_at
        self._workload_entries = _by_namespace(workload_entries)
        self._mesh = mesh
        self._of_services = {view.service.address for view in services.values() if view.service.address}
        self._owners: dict[str, str] = {}
        """Addresses of entries → the namespace that has it, which is that of the oldest."""

    def views(self, entry: Configuration) -> Iterator[ServiceView]:
        """The hosts of one entry, wildcards left out: they have no address to be called at."""
        spec = entry.spec
        ports = tuple(_port(one) for one in spec.get("ports") or ())
        told = [_single_address(one) for one in spec.get("addresses") or ()]
        addresses = [one for one in told if one and self._may_have(entry.namespace, one)]
        follows = (spec.get("resolution") or "NONE") == "NONE"
        for host in spec["hosts"]:
            if "*" in host or (follows and not addresses):
                continue
            own = addresses or [self._allocate(entry, host)]
            self._owners.update(dict.fromkeys(own, entry.namespace))
            service = Service(
                namespace=entry.namespace,
                name=entry.name,
                host=host,
                address=own[0],
                ports=ports,
                selector=Labels.of((spec.get("workloadSelector") or {}).get("labels")),
                export_to=frozenset(spec.get("exportTo") or ()),
                entry=ServiceEntryFacts(
                    tuple(own[1:]), follows, tuple(sorted(spec.get("subjectAltNames") or ()))
                ),
            )
            found = (one for one in self._endpoints(entry, service, own) if one.ready)
            endpoints = {(one.address, one.ports): one for one in found}
            yield ServiceView(service, tuple(endpoints[key] for key in sorted(endpoints)))

    def _may_have(self, namespace: str, address: str) -> bool:
        """Whether it is neither a Service's, nor that of another namespace's pod or older entry."""
        pod = self._at.get(address)
        return (
            address not in self._of_services
            and (pod is None or pod.namespace == namespace)
            and self._owners.get(address, namespace) == namespace
        )

    def _allocate(self, entry: Configuration, host: str) -> str:
        """An address that follows from the names, so that it stays; the next free one if two meet."""
        name = f"{entry.namespace}/{entry.name}/{host}"
        size = OWN_ADDRESSES.num_addresses
        first = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % size
        for step in range(size):
            number = (first + step) % size
            address = str(OWN_ADDRESSES[number])
            free = address not in self._owners and address not in self._of_services
            if 0 < number < size - 1 and free:
                return address
        raise ValueError(f"{OWN_ADDRESSES}: expected a free address, found all of them taken")

    def _endpoints(self, entry: Configuration, service: Service, own: Sequence[str]) -> Iterator[Endpoint]:
        spec = entry.spec
        internal = spec.get("location") == "MESH_INTERNAL"
        if service.follows_caller:
            for address in own:
                ports = tuple((port.name, port.number) for port in service.ports)
                yield Endpoint(address, ports, True, "", "", self._at.get(address) if internal else None)
            return
        if service.selector:
            yield from self._selected(entry.namespace, service, internal)
            return
        told = spec.get("endpoints") or ([{"address": host} for host in spec["hosts"]])
        for one in told:
            yield from self._endpoint(entry, one, service, internal)

    def _selected(self, namespace: str, service: Service, internal: bool) -> Iterator[Endpoint]:
        """Pods and WorkloadEntries of the entry's namespace that have the labels."""
        for pod in self._pods.get(namespace, ()):
            if pod.address and service.selector.matches(pod.labels):
                ports = tuple((port.name, _pod_port(port, pod)) for port in service.ports)
                yield Endpoint(pod.address, ports, pod.ready, "", "", pod if internal else None)
        for one in self._workload_entries.get(namespace, ()):
            try:
                if service.selector.matches(Labels.of(one.spec.get("labels"))):
                    yield from list(self._endpoint(one, one.spec, service, internal))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                _log.error("mesh: WorkloadEntry %s/%s has no effect: %r", one.namespace, one.name, error)

    def _endpoint(
        self, source: Configuration, told: Spec, service: Service, internal: bool
    ) -> Iterator[Endpoint]:
        address = str(told.get("address") or "")
        numbers = told.get("ports") or {}
        ports = tuple((port.name, int(numbers.get(port.name) or port.target)) for port in service.ports)
        endpoint = Endpoint(
            address, ports, True, "", told.get("locality") or "", None, int(told.get("weight") or 1)
        )
        if not _is_ipv4(address):
            for one in self._resolve(address, endpoint):
                yield one if internal else replace(one, workload=None)
            return
        yield replace(endpoint, workload=self._workload(source, told, address, internal))

    def _workload(self, source: Configuration, told: Spec, address: str, internal: bool) -> Workload | None:
        """What proves its identity at an address: a pod, or what a WorkloadEntry says to have a proxy."""
        labels = Labels.of(told.get("labels"))
        pod = self._at.get(address) if internal else None
        if pod is not None:
            return replace(pod, labels=Labels(pod.labels.items | labels.items))
        return Workload(
            namespace=source.namespace,
            name=source.name,
            address=address,
            labels=labels,
            service_account=told.get("serviceAccount") or "default",
            ports=(),
            gateway=False,
            meshed=internal and labels.get(TLS_MODE_LABEL) == "istio",
        )

    def _resolve(self, name: str, told: Endpoint) -> Iterator[Endpoint]:
        """The endpoints of the service that a name is, at the ports that the service has for the numbers told."""
        view = self._services.get(name)
        if view is None:
            return
        for endpoint in view.endpoints:
            ports = []
            for port_name, number in told.ports:
                port = view.service.port(number)
                target = endpoint.port(port.name) if port else None
                if target is not None:
                    ports.append((port_name, target))
            if ports:
                yield replace(endpoint, ports=tuple(ports), weight=told.weight)


def _port(told: Spec) -> ServicePort:
    number, name = int(told["number"]), str(told.get("name") or "")
    protocol = str(told.get("protocol") or "")
    transport = "UDP" if protocol.upper() == "UDP" else "TCP"
    return ServicePort(
        number,
        name,
        select_protocol(number, name, protocol, transport),
        int(told.get("targetPort") or number),
    )


def _pod_port(port: ServicePort, pod: Workload) -> int:
    """A pod's own port of the same name, else the number told."""
    named = (one.number for one in pod.ports if one.name and one.name == port.name)
    return next(named, int(port.target))


def _single_address(told: str) -> str:
    """The address of `10.0.0.1` or `10.0.0.1/32`; empty for IPv6, for more than one, and for those of no one host."""
    network = ipaddress.ip_network(told, strict=False)
    if network.version != 4 or network.num_addresses != 1:
        return ""
    address = network.network_address
    nobody = address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast
    return "" if nobody else str(address)


def _folded(host: str) -> str:
    """A name as resolvers compare names (RFC 4343)."""
    return host.rstrip(".").lower()


def _by_namespace(found: Iterable[Placed]) -> dict[str, list[Placed]]:
    grouped: dict[str, list[Placed]] = {}
    for one in found:
        grouped.setdefault(one.namespace, []).append(one)
    return grouped


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False
