"""All that decides on one pod's calls, found by the same functions that its proxy's configuration is derived with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hauberk.mesh.authorization import select_authorization_policies
from hauberk.mesh.destination_rules import DestinationRule, merge_rules
from hauberk.mesh.inbound import InboundPort, inbound_ports, services_of
from hauberk.mesh.peer_authentication import (
    PeerAuthentication,
    merge_peer_authentications,
    select_peer_authentications,
)
from hauberk.mesh.policy_targets import applies
from hauberk.mesh.proxy import NodeId, Proxy, ProxyKind, proxy_of
from hauberk.mesh.registry import (
    SECURITY,
    TELEMETRY,
    Configuration,
    Labels,
    Registry,
    Service,
    ServiceView,
    Workload,
)
from hauberk.mesh.routing import routing
from hauberk.mesh.scope import ScopeIndex
from hauberk.mesh.telemetry import select_telemetries
from hauberk.mesh.unit import UnitIndex
from hauberk.mesh.virtual_services import destination_hosts


@dataclass(frozen=True, slots=True)
class ServedHost:
    """A service that leads to the pod, as callers of its own namespace find it."""

    service: Service
    virtual_service: Configuration | None
    rules: tuple[Configuration, ...]
    rule: DestinationRule
    gateways: tuple[tuple[str, Configuration], ...]
    """Gateways that bring it calls from outside (`NAMESPACE/NAME`), each with its VirtualService."""


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """What traffic policy does to a pod."""

    workload: Workload
    spiffe_id: str
    ports: tuple[InboundPort, ...]
    peers: PeerAuthentication
    peer_policies: tuple[Configuration, ...]
    """The narrowest last."""
    authorization: tuple[Configuration, ...]
    request_authentications: tuple[Configuration, ...]
    hosts: tuple[ServedHost, ...]
    sidecar: Configuration | None
    telemetries: tuple[Configuration, ...]


def pod_traffic(registry: Registry, workload: Workload) -> PodTraffic:
    """What applies to a pod; `registry` need not know endpoints."""
    mesh, namespace, labels = registry.mesh, workload.namespace, workload.labels
    routes = routing(registry, None)
    units, scopes = UnitIndex(registry, routes), ScopeIndex(registry, routes)
    kind = ProxyKind.ROUTER if workload.gateway else ProxyKind.SIDECAR
    proxy = proxy_of(NodeId(kind, workload.address, workload.name, namespace), workload)
    entries = (registry.views[host].service for host in registry.entry_hosts)
    services = services_of(namespace, labels, (*registry.services.values(), *entries))
    peer_policies = select_peer_authentications(
        registry.of_kind(SECURITY, "PeerAuthentication"), namespace, labels, mesh
    )
    policies = registry.of_kind(SECURITY, "AuthorizationPolicy")
    issuers = registry.of_kind(SECURITY, "RequestAuthentication")
    virtuals = {virtual: destination_hosts(virtual, mesh) for virtual in routes.virtual_services}
    return PodTraffic(
        workload=workload,
        spiffe_id=workload.spiffe_id(mesh),
        ports=inbound_ports(workload, services),
        peers=merge_peer_authentications(peer_policies),
        peer_policies=peer_policies,
        authorization=tuple(select_authorization_policies(policies, namespace, labels, mesh)),
        request_authentications=tuple(one for one in issuers if applies(one, namespace, labels, mesh)),
        hosts=tuple(_served(service, units, scopes, proxy, virtuals) for service in services),
        sidecar=scopes.scope_of(proxy).sidecar,
        telemetries=select_telemetries(registry.of_kind(TELEMETRY, "Telemetry"), namespace, labels, mesh),
    )


def _served(
    service: Service,
    units: UnitIndex,
    scopes: ScopeIndex,
    proxy: Proxy,
    virtuals: Mapping[Configuration, tuple[str, ...]],
) -> ServedHost:
    inputs = units.inputs(scopes.scope_of(proxy), ServiceView(service, ()))
    rules = units.rules(service, (service.namespace, Labels()))
    return ServedHost(
        service,
        inputs.virtual_service if inputs else None,
        rules,
        merge_rules(rules),
        tuple(
            (gateway, virtual)
            for virtual, hosts in virtuals.items()
            if service.host in hosts
            for gateway in virtual.spec.get("gateways") or ()
            if gateway != "mesh"
        ),
    )
