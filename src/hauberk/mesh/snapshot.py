"""From the registry to the resources of each proxy: immutable, derived lazily, sharing whatever did not change.

Proxies with the same *scope* (namespace, what their Sidecar lets them see, the labels that routes look at) share
one outbound view. A view is made of *units*, one for each service; a unit is derived again only when one of
its inputs is another object than before, and is shared between scopes whose inputs are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from hauberk.mesh.authorization import Authorization, authorize, select_authorization_policies
from hauberk.mesh.clusters import black_hole_cluster
from hauberk.mesh.destination_rules import DestinationRule, merge_rules
from hauberk.mesh.external_processors import ExternalProcessors, select_external_processors
from hauberk.mesh.gateway_status import Status
from hauberk.mesh.gateways import GatewayInputs, credentials_of, gateway_resources
from hauberk.mesh.inbound import Inbound, inbound_clusters, inbound_listener, inbound_ports, services_of
from hauberk.mesh.listeners import virtual_outbound
from hauberk.mesh.mesh_config import mesh_config
from hauberk.mesh.names import dns_listener, dns_names
from hauberk.mesh.peer_authentication import merge_peer_authentications, select_peer_authentications
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.rate_limits import RateLimits, select_rate_limits
from hauberk.mesh.registry import (
    HAUBERK,
    SECURITY,
    Configuration,
    Labels,
    Registry,
    Service,
    ServiceView,
    Workload,
    exported,
)
from hauberk.mesh.request_authentication import Issuer, select_issuers
from hauberk.mesh.resource_set import EMPTY, NO_CHANGES, LayeredSet, ResourceSet
from hauberk.mesh.routing import Routing, routing, statuses
from hauberk.mesh.scope import Scope, ScopeIndex
from hauberk.mesh.serialization import CLUSTER, LISTENER, TYPES, Resource, serialize
from hauberk.mesh.soundness import UNTRANSLATABLE, Refused, Sound, only_sound
from hauberk.mesh.unit import Inputs, UnitIndex, translate
from hauberk.mesh.virtual_services import destination_hosts

Message = Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unit:
    """The resources of one service for some scopes."""

    inputs: Inputs
    resources: Mapping[str, tuple[Resource, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class OutboundView:
    """What the proxies of one scope have in common."""

    registry: Registry
    units: Mapping[str, Unit]
    names: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, ResourceSet]


@dataclass(frozen=True, slots=True)
class ProxyResources:
    """All resources of one proxy, by type."""

    sets: Mapping[str, LayeredSet]

    def of(self, type_url: str) -> LayeredSet:
        return self.sets.get(type_url) or _NOTHING


_NOTHING = LayeredSet()

ProxyKey = tuple[str, str, Labels]


@dataclass(frozen=True, slots=True)
class Own:
    """What one proxy has for itself, and what it was derived from."""

    routing: Routing
    """Stands for all configurations and services: it is another object when one of them changes."""
    workload: Workload | None
    inputs: Inbound | GatewayInputs
    sets: Mapping[str, ResourceSet]

    def fits(self, routing: Routing, workload: Workload | None) -> bool:
        return self.routing is routing and self.workload == workload


class Interning:
    """Equal resources are one object, however often and for whomever they are derived."""

    def __init__(self) -> None:
        self._resources: WeakValueDictionary[tuple[str, str, str], Resource] = WeakValueDictionary()
        self._units: WeakValueDictionary[tuple[Any, ...], Unit] = WeakValueDictionary()

    def resource(self, name: str, message: Message) -> Resource:
        made = serialize(name, message)
        return self._resources.setdefault((made.type_url, name, made.version), made)

    def unit(self, inputs: Inputs) -> Unit:
        key = inputs.identity
        known = self._units.get(key)
        if known is None:
            known = Unit(inputs, self._translate(inputs))
            self._units[key] = known
        return known

    def _translate(self, inputs: Inputs) -> dict[str, tuple[Resource, ...]]:
        made: dict[str, list[Resource]] = {}
        for name, message in translate(inputs):
            resource = self.resource(name, message)
            made.setdefault(resource.type_url, []).append(resource)
        return {type_url: tuple(resources) for type_url, resources in made.items()}


class Snapshot:
    """The resources of every proxy at one moment. Derived when first asked for, then kept."""

    def __init__(
        self,
        registry: Registry,
        interning: Interning | None = None,
        before: Routing | None = None,
        sound: Sound | None = None,
    ) -> None:
        self._given = registry
        self._sound = only_sound(registry, sound)
        self.registry = registry = self._sound.registry
        self._interning = interning or Interning()
        self._outbound: dict[Scope, OutboundView] = {}
        self._before: dict[Scope, OutboundView] = {}
        self._proxies: dict[ProxyKey, Own] = {}
        self._changed: dict[int, tuple[Registry, tuple[str, ...]]] = {}
        self._routing = routing(registry, before)
        self._units = UnitIndex(registry, self._routing)
        self._scopes = ScopeIndex(registry, self._routing)
        self._peer_authentications = registry.of_kind(SECURITY, "PeerAuthentication")
        self._authorization_policies = registry.of_kind(SECURITY, "AuthorizationPolicy")
        self._all_processors = registry.of_kind(HAUBERK, "ExternalProcessor")
        self._all_rate_limits = registry.of_kind(HAUBERK, "RateLimit")
        self._authorizers = mesh_config(registry).authorizers
        self._request_authentications = registry.of_kind(SECURITY, "RequestAuthentication")
        self._services_by_namespace: dict[str, list[Service]] = {}
        entries = (registry.views[host].service for host in registry.entry_hosts)
        for service in (*registry.services.values(), *entries):
            self._services_by_namespace.setdefault(service.namespace, []).append(service)

    def successor(self, registry: Registry) -> Snapshot:
        """The snapshot of a later registry; this very one if nothing changed."""
        if registry is self._given:
            return self
        later = Snapshot(registry, self._interning, self._routing, self._sound)
        later._before = {**self._before, **self._outbound}
        later._proxies = dict(self._proxies)
        return later

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Objects that cannot be translated and have no effect."""
        return self._sound.refused

    def statuses(self) -> Iterator[Status]:
        """What the status of every object of the Gateway API is to say."""
        return statuses(self.registry, self._routing)

    def forget_scopes(self, keep: Iterable[Scope]) -> None:
        """Let go of views from earlier moments that no proxy asks for any more."""
        kept = set(keep)
        self._before = {scope: view for scope, view in self._before.items() if scope in kept}

    def scope_of(self, proxy: Proxy) -> Scope:
        return self._scopes.scope_of(proxy)

    def resources(self, proxy: Proxy) -> ProxyResources:
        """Everything that a proxy is to have."""
        scope = self.scope_of(proxy)
        outbound = self._view(scope)
        own = self._own(proxy)
        return ProxyResources(
            {
                type_url: LayeredSet(outbound.sets.get(type_url, EMPTY), own.get(type_url, EMPTY))
                for type_url in TYPES
            }
        )

    def _view(self, scope: Scope) -> OutboundView:
        view = self._outbound.get(scope)
        if view is None:
            view = self._derive(scope, self._before.get(scope))
            self._outbound[scope] = view
        return view

    def _derive(self, scope: Scope, before: OutboundView | None) -> OutboundView:
        if before is not None and self._units.same_configuration(before.registry):
            adjusted = self._adjusted(scope, before)
            if adjusted is not None:
                return adjusted
        units = dict(self._changed_units(scope, before))
        visible = [self.registry.views[host] for host in units]
        names = before.names if before and _same_services(before, units) else dns_names(visible)
        common = self._common(scope, names, before)
        sets = {type_url: _collect(type_url, units, common.get(type_url, ()), before) for type_url in TYPES}
        return OutboundView(self.registry, units, names, sets)

    def _adjusted(self, scope: Scope, before: OutboundView) -> OutboundView | None:
        """The view after a change of endpoints alone, by the services concerned; None where more follows from it."""
        units, pairs = dict(before.units), []
        for host in self._changed_hosts(before.registry):
            old = before.units.get(host)
            new = self._unit(scope, self.registry.views[host], old)
            if old is new:
                continue
            if old is None or new is None or new.inputs.view.service.headless:
                return None  # names come or go
            units[host] = new
            pairs.append((old, new))
        sets: dict[str, ResourceSet] = {}
        for type_url, known in before.sets.items():
            updates = _replacements(type_url, known, pairs)
            if updates is None:
                return None
            sets[type_url] = known.replacing(updates)
        return OutboundView(self.registry, units, before.names, sets)

    def _changed_hosts(self, earlier: Registry) -> tuple[str, ...]:
        """Hosts that have other endpoints than in `earlier`; found once for all scopes."""
        known = self._changed.get(id(earlier))
        if known is None:
            views = earlier.views
            changed = tuple(host for host, view in self.registry.views.items() if views.get(host) is not view)
            # Kept with the registry, so that no other one gets its number.
            known = self._changed[id(earlier)] = (earlier, changed)
        return known[1]

    def _changed_units(self, scope: Scope, before: OutboundView | None) -> Iterator[tuple[str, Unit]]:
        """Every unit in order of hosts; where only endpoints changed, the others are taken over unlooked."""
        only_endpoints = before is not None and self._units.same_configuration(before.registry)
        for host, view in self.registry.views.items():
            if only_endpoints and before is not None:
                known = before.units.get(host)
                if known is not None and known.inputs.view is view:
                    yield host, known
                    continue
                if known is None and before.registry.views.get(host) is view:
                    continue
            unit = self._unit(scope, view, before.units.get(host) if before else None)
            if unit is not None:
                yield host, unit

    def _unit(self, scope: Scope, view: ServiceView, earlier: Unit | None) -> Unit | None:
        """A service whose objects make no sense together keeps what it had and disturbs no other."""
        try:
            inputs = self._units.inputs(scope, view)
            return None if inputs is None else self._interning.unit(inputs)
        except UNTRANSLATABLE as error:
            _log.error("mesh: %s stays as it was: %s", view.service.host, error)
            return earlier

    def _common(
        self, scope: Scope, names: Mapping[str, tuple[str, ...]], before: OutboundView | None
    ) -> dict[str, list[Resource]]:
        """What is not of one service."""
        resource = self._interning.resource
        clusters = [resource("BlackHoleCluster", black_hole_cluster())]
        if scope.gateway:
            return {CLUSTER: clusters}
        dns = before.sets[LISTENER].get("dns") if before and before.names is names else None
        listeners = [
            dns or resource("dns", dns_listener(dict(names), ipv6=self.registry.mesh.ipv6)),
            resource(
                "virtualOutbound", virtual_outbound(scope.telemetry.client, ipv6=self.registry.mesh.ipv6)
            ),
        ]
        return {CLUSTER: clusters, LISTENER: listeners}

    def _own(self, proxy: Proxy) -> Mapping[str, ResourceSet]:
        """The resources of this proxy alone, derived again only if something of theirs changed."""
        key = (proxy.namespace, proxy.name, proxy.labels)
        workload = self.registry.workloads.get((proxy.namespace, proxy.name))
        known = self._proxies.get(key)
        if known is not None and known.fits(self._routing, workload):
            return known.sets
        inputs: Inbound | GatewayInputs
        try:
            inputs = self._gateway(proxy) if proxy.is_gateway else self._inbound(proxy, workload)
            sets = self._own_sets(inputs, known)
        except UNTRANSLATABLE as error:
            _log.error("mesh: the listeners of %s stay as they were: %s", proxy.id, error)
            return known.sets if known is not None else {}
        self._proxies[key] = Own(self._routing, workload, inputs, sets)
        return sets

    def _own_sets(self, inputs: Inbound | GatewayInputs, known: Own | None) -> Mapping[str, ResourceSet]:
        if known is not None and known.inputs == inputs:
            return known.sets
        if isinstance(inputs, Inbound):
            mesh = self.registry.mesh
            return self._sets([inbound_listener(inputs, mesh), *inbound_clusters(inputs)])
        return self._sets(gateway_resources(inputs))

    def _sets(self, messages: Iterable[Message]) -> dict[str, ResourceSet]:
        made: dict[str, dict[str, Resource]] = {}
        for message in messages:
            resource = self._interning.resource(message.name, message)
            made.setdefault(resource.type_url, {})[resource.name] = resource
        return {type_url: ResourceSet(resources) for type_url, resources in made.items()}

    def _inbound(self, proxy: Proxy, workload: Workload | None) -> Inbound:
        mesh = self.registry.mesh
        services = self._services_of(proxy)
        peers = select_peer_authentications(self._peer_authentications, proxy.namespace, proxy.labels, mesh)
        return Inbound(
            ports=inbound_ports(workload, services),
            service=services[0].host if services else "",
            peers=merge_peer_authentications(peers),
            authorization=self._authorization(proxy),
            observation=self._scopes.telemetry_of(proxy).server,
            issuers=self._issuers(proxy),
            rate_limits=self._rate_limits(proxy),
            processors=self._processors(proxy),
        )

    def _gateway(self, proxy: Proxy) -> GatewayInputs:
        visible = [
            virtual
            for virtual in self._routing.virtual_services
            if exported(frozenset(virtual.spec.get("exportTo") or ()), virtual.namespace, proxy.namespace)
        ]
        return GatewayInputs(
            proxy=proxy,
            gateways=self._routing.gateways,
            virtual_services=visible,
            hosts={host: view.service for host, view in self.registry.views.items()},
            rules=self._rules_of(visible, proxy),
            services=self._services_of(proxy),
            authorization=self._authorization(proxy),
            observation=self._scopes.telemetry_of(proxy).client,
            mesh=self.registry.mesh,
            issuers=self._issuers(proxy),
            credentials=credentials_of(self._routing.gateways, proxy, self.registry),
            rate_limits=self._rate_limits(proxy),
            processors=self._processors(proxy),
        )

    def _rules_of(self, virtuals: Iterable[Configuration], proxy: Proxy) -> dict[str, DestinationRule]:
        """The DestinationRules of what virtual services lead to, by host."""
        found = {}
        for host in {host for virtual in virtuals for host in destination_hosts(virtual, self.registry.mesh)}:
            view = self.registry.views.get(host)
            if view is not None and (
                rules := self._units.rules(view.service, (proxy.namespace, proxy.labels))
            ):
                found[host] = merge_rules(rules)
        return found

    def _services_of(self, proxy: Proxy) -> list[Service]:
        candidates = self._services_by_namespace.get(proxy.namespace, ())
        return services_of(proxy.namespace, proxy.labels, candidates)

    def _authorization(self, proxy: Proxy) -> Authorization:
        policies = select_authorization_policies(
            self._authorization_policies, proxy.namespace, proxy.labels, self.registry.mesh
        )
        return authorize(policies, self.registry.mesh, self._authorizers)

    def _rate_limits(self, proxy: Proxy) -> RateLimits:
        return select_rate_limits(self._all_rate_limits, proxy.namespace, proxy.labels, self.registry.mesh)

    def _processors(self, proxy: Proxy) -> ExternalProcessors:
        return select_external_processors(
            self._all_processors, proxy.namespace, proxy.labels, self.registry.mesh
        )

    def _issuers(self, proxy: Proxy) -> tuple[Issuer, ...]:
        return select_issuers(
            self._request_authentications,
            proxy.namespace,
            proxy.labels,
            self.registry.mesh,
            self.registry.key_sets,
        )


def _collect(
    type_url: str, units: Mapping[str, Unit], common: Iterable[Resource], before: OutboundView | None
) -> ResourceSet:
    """All resources of a type. A name belongs to the first that claims it: Services before ServiceEntries, by host."""
    found = {resource.name: resource for resource in common}
    for unit in sorted(units.values(), key=lambda unit: unit.inputs.view.service.entry is not None):
        for resource in unit.resources.get(type_url, ()):
            found.setdefault(resource.name, resource)
    if not found:
        return EMPTY
    made = ResourceSet(found)
    if before and made.changes_since(before.sets[type_url]) == NO_CHANGES:
        return before.sets[type_url]
    return made


def _replacements(
    type_url: str, known: ResourceSet, pairs: Iterable[tuple[Unit, Unit]]
) -> dict[str, Resource] | None:
    """What takes the place of what; None unless every name stays with the unit that has it."""
    updates: dict[str, Resource] = {}
    for old, new in pairs:
        was, now = old.resources.get(type_url, ()), new.resources.get(type_url, ())
        if [one.name for one in was] != [one.name for one in now]:
            return None
        for before, after in zip(was, now, strict=True):
            if before is not after:
                if known.get(before.name) is not before:
                    return None
                updates[before.name] = after
    return updates


def _same_services(before: OutboundView, units: Mapping[str, Unit]) -> bool:
    """Whether the table of names cannot have changed."""
    if before.units.keys() != units.keys():
        return False
    return all(
        unit is before.units[host]
        or (
            unit.inputs.view.service is before.units[host].inputs.view.service
            and not unit.inputs.view.service.headless
        )
        for host, unit in units.items()
    )
