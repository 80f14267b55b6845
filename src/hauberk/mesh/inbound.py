"""The inbound listener of a sidecar: who may come in, by mutual TLS or in plain text, at each port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from google.protobuf import duration_pb2

from hauberk.mesh import filters, tls
from hauberk.mesh.addresses import everywhere
from hauberk.mesh.authorization import Authorization
from hauberk.mesh.clusters import INBOUND_PASSTHROUGH, inbound_cluster, inbound_name
from hauberk.mesh.external_processors import ExternalProcessors
from hauberk.mesh.listeners import detect, metadata
from hauberk.mesh.peer_authentication import Mode, PeerAuthentication
from hauberk.mesh.protocol import Protocol, select_protocol
from hauberk.mesh.rate_limits import RateLimits
from hauberk.mesh.registry import ContainerPort, Labels, Mesh, Service, Workload
from hauberk.mesh.request_authentication import Issuer, http_filters
from hauberk.mesh.telemetry import Observation

INBOUND_PORT = 15006

_PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port that the program listens on."""

    number: int
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Inbound:
    """All that a sidecar's inbound listener derives from."""

    ports: tuple[InboundPort, ...]
    service: str
    """The host of a service that the workload belongs to, empty if none."""
    peers: PeerAuthentication
    authorization: Authorization
    issuers: tuple[Issuer, ...]
    """Whose tokens it accepts."""
    observation: Observation
    rate_limits: RateLimits = field(default_factory=RateLimits)
    processors: ExternalProcessors = field(default_factory=ExternalProcessors)


def services_of(namespace: str, labels: Labels, services: Iterable[Service]) -> list[Service]:
    """The services that select a workload, in order of their hosts."""
    selecting = [
        service
        for service in services
        if service.namespace == namespace and service.selector and service.selector.matches(labels)
    ]
    return sorted(selecting, key=lambda service: service.host)


def inbound_ports(workload: Workload | None, services: Iterable[Service]) -> tuple[InboundPort, ...]:
    """The ports that services lead to or containers name; a service's word on the protocol comes first."""
    declared = workload.ports if workload else ()
    found: dict[int, InboundPort] = {}
    for service in services:
        for port in service.ports:
            if port.protocol is Protocol.UDP:
                continue
            for number in _numbers(port.target, declared):
                found.setdefault(number, InboundPort(number, port.protocol))
    for one in declared:
        found.setdefault(one.number, InboundPort(one.number, select_protocol(one.number, one.name, "")))
    return tuple(found[number] for number in sorted(found))


def _numbers(target: int | str, declared: Iterable[ContainerPort]) -> list[int]:
    return [one.number for one in declared if one.name == target] if isinstance(target, str) else [target]


def inbound_listener(inbound: Inbound, mesh: Mesh) -> listener_pb2.Listener:
    """`virtualInbound`: chains for each port, then those for ports that nobody named."""
    listener = listener_pb2.Listener(
        name="virtualInbound",
        transparent={"value": True},
        traffic_direction="INBOUND",
        listener_filters=[filters.original_dst(), filters.original_src(), filters.tls_inspector()],
        metadata={
            "filter_metadata": {"hauberk.io": metadata(inbound.authorization.revision, inbound.service)}
        },
    )
    everywhere(listener, INBOUND_PORT, ipv6=mesh.ipv6)
    if any(inbound.peers.at(port.number) is not Mode.STRICT for port in inbound.ports):
        listener.listener_filters.append(filters.http_inspector())
    if not inbound.peers.always_strict:
        # Where only mutual TLS may come in, the caller speaks first: there is time for a slow one.
        detect(listener)
    for port in inbound.ports:
        listener.filter_chains.extend(_Port(port, inbound, mesh).chains())
    named = {port.number for port in inbound.ports}
    for number, mode in inbound.peers.ports:
        if number not in named and mode is not inbound.peers.mode:
            listener.filter_chains.extend(_Port(InboundPort(number, Protocol.TCP), inbound, mesh).chains())
    listener.filter_chains.extend(_Port(None, inbound, mesh).chains())
    return listener


def inbound_clusters(inbound: Inbound) -> Iterator[cluster_pb2.Cluster]:
    """One for each port, and one for the ports that nobody named."""
    named = {port.number for port in inbound.ports}
    for port in inbound.ports:
        yield inbound_cluster(inbound_name(port.number), port.protocol)
    for number, mode in inbound.peers.ports:
        if number not in named and mode is not inbound.peers.mode:
            yield inbound_cluster(inbound_name(number), Protocol.TCP)
    yield inbound_cluster(INBOUND_PASSTHROUGH, Protocol.TCP)


class _Port:
    """The filter chains of one port; `port` is None for all that have none of their own."""

    def __init__(self, port: InboundPort | None, inbound: Inbound, mesh: Mesh) -> None:
        self._number = port.number if port else None
        self._protocol = port.protocol if port else Protocol.TCP
        self._mode = inbound.peers.at(port.number) if port else inbound.peers.mode
        self._authorization = inbound.authorization
        self._issuers = inbound.issuers
        self._observation = inbound.observation
        self._rate_limits = inbound.rate_limits
        self._processors = inbound.processors
        self._mesh = mesh
        self._cluster = inbound_name(port.number) if port else INBOUND_PASSTHROUGH
        self._name = str(self._number) if port else "default"

    def chains(self) -> Iterator[listener_components_pb2.FilterChain]:
        if self._mode is not Mode.DISABLE:
            yield from self._mutual_tls()
        if self._mode is not Mode.STRICT:
            yield from self._plain()

    def _mutual_tls(self) -> Iterator[listener_components_pb2.FilterChain]:
        if self._protocol.is_http:
            yield self._chain("mtls", ["istio-http", "istio"], self._http(), "tls", secure=True)
        elif self._protocol is Protocol.DETECT:
            yield self._chain("mtls-http", ["istio-http"], self._http(), "tls", secure=True)
            yield self._chain("mtls-tcp", ["istio"], self._tcp(), "tls", secure=True)
        else:
            yield self._chain("mtls", ["istio-http", "istio"], self._tcp(), "tls", secure=True)

    def _plain(self) -> Iterator[listener_components_pb2.FilterChain]:
        if self._protocol.is_http:
            yield self._chain("plain", [], self._http(), "raw_buffer")
        elif self._protocol is Protocol.DETECT:
            yield self._chain("plain-http", _PLAIN_HTTP, self._http(), "raw_buffer")
            yield self._chain("plain-tcp", [], self._tcp(), "raw_buffer")
        else:
            yield self._chain("plain", [], self._tcp(), "raw_buffer")
        yield self._chain("tls", [], self._tcp(), "tls")

    def _chain(
        self,
        suffix: str,
        protocols: Sequence[str],
        network_filters: Sequence[listener_components_pb2.Filter],
        transport: str,
        *,
        secure: bool = False,
    ) -> listener_components_pb2.FilterChain:
        match = listener_components_pb2.FilterChainMatch(
            transport_protocol=transport, application_protocols=protocols
        )
        if self._number is not None:
            match.destination_port.value = self._number
        chain = listener_components_pb2.FilterChain(
            name=f"{self._name}-{suffix}", filter_chain_match=match, filters=network_filters
        )
        if secure:
            chain.transport_socket.CopyFrom(tls.downstream_socket(self._mesh))
            chain.transport_socket_connect_timeout.CopyFrom(duration_pb2.Duration(seconds=10))
        return chain

    def _tcp(self) -> list[listener_components_pb2.Filter]:
        proxy = filters.tcp_proxy(self._cluster, self._cluster, self._observation)
        return [*self._authorization.network_filters(), proxy]

    def _http(self) -> list[listener_components_pb2.Filter]:
        route = route_components_pb2.Route(
            name="default",
            match=route_components_pb2.RouteMatch(prefix="/"),
            route=route_components_pb2.RouteAction(cluster=self._cluster, timeout=duration_pb2.Duration()),
        )
        tunnel = route_components_pb2.Route(
            name="connect",
            match=route_components_pb2.RouteMatch(connect_matcher={}),
            route=route_components_pb2.RouteAction(cluster=self._cluster, timeout=duration_pb2.Duration()),
        )
        routes = route_pb2.RouteConfiguration(
            name=self._cluster,
            virtual_hosts=[
                route_components_pb2.VirtualHost(name=self._cluster, domains=["*"], routes=[route, tunnel])
            ],
            validate_clusters={"value": False},
        )
        manager = filters.http_connection_manager(
            self._cluster,
            route_config=routes,
            http_filters=[
                *http_filters(self._issuers),
                *self._authorization.http_filters(),
                *self._rate_limits.http_filters(),
                *self._processors.http_filters(),
            ],
            observation=self._observation,
            inbound=True,
        )
        return [manager]
