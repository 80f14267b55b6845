"""One service → its listeners, route configurations, clusters and load assignments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.client_tls import NO_CREDENTIALS, ClientCredentials, secret_names
from hauberk.mesh.clusters import outbound_cluster, outbound_name
from hauberk.mesh.destination_rules import (
    DestinationRule,
    asks_for_place,
    client_labels,
    credentials_named,
    merge_rules,
    select_rules,
)
from hauberk.mesh.endpoints import load_assignment
from hauberk.mesh.hosts import host_matches, resolve_host
from hauberk.mesh.listeners import outbound_listeners
from hauberk.mesh.locality import Caller
from hauberk.mesh.protocol import Protocol
from hauberk.mesh.registry import (
    NETWORKING,
    Configuration,
    Labels,
    Mesh,
    Registry,
    Service,
    ServicePort,
    ServiceView,
    exported,
)
from hauberk.mesh.routes import default_route, service_routes
from hauberk.mesh.routing import Routing
from hauberk.mesh.scope import Scope
from hauberk.mesh.tcp_routes import default_tcp_route
from hauberk.mesh.telemetry import Observation
from hauberk.mesh.virtual_services import (
    Client,
    Translation,
    destination_hosts,
    http_routes,
    looks_at_source,
    tcp_routes,
    uses_cors,
)
from hauberk.model.credential import Credential

MESH = "mesh"
"""The name of the gateway that stands for all sidecars."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the resources of one service derive from, for one kind of client."""

    view: ServiceView
    virtual_service: Configuration | None
    rules: tuple[Configuration, ...]
    destinations: tuple[Service, ...]
    destination_rules: tuple[tuple[Configuration, ...], ...]
    """In the order of `destinations`."""
    client: Client | None
    """None where no route looks at the client."""
    caller: Caller | None
    """None where no rule asks where the client is."""
    gateway: bool
    clusters_only: bool
    """No listeners: a gateway has its own, and a collector out of the scope's sight is only reported to."""
    observation: Observation
    mesh: Mesh
    credentials: ClientCredentials = NO_CREDENTIALS
    """The Secrets that the rules' clients show or trust by."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal exactly if the inputs are the same objects; valid as long as one of them lives."""
        return (
            id(self.view),
            id(self.virtual_service),
            tuple(map(id, self.rules)),
            tuple(map(id, self.destinations)),
            tuple(tuple(map(id, rules)) for rules in self.destination_rules),
            self.client,
            self.caller,
            self.gateway,
            self.clusters_only,
            self.observation,
            self.mesh,
            self.credentials,
        )


class UnitIndex:
    """Finds a service's inputs in a registry."""

    def __init__(self, registry: Registry, routing: Routing) -> None:
        self._registry = registry
        self._mesh = registry.mesh
        self._exact: dict[str, list[Configuration]] = {}
        self._wildcard: list[tuple[str, Configuration]] = []
        for service in routing.virtual_services:
            if MESH in (service.spec.get("gateways") or (MESH,)):
                self._index(service)
        self._rules: dict[str, list[Configuration]] = {}
        self._wildcard_rules: list[Configuration] = []
        for rule in registry.of_kind(NETWORKING, "DestinationRule"):
            host = resolve_host(rule.spec.get("host", ""), rule.namespace, self._mesh)
            if "*" in host:
                self._wildcard_rules.append(rule)
            else:
                self._rules.setdefault(host, []).append(rule)

    def same_configuration(self, earlier: Registry) -> bool:
        """Whether nothing but endpoints and workloads differs."""
        return (
            earlier.configurations is self._registry.configurations
            and earlier.services is self._registry.services
            and earlier.credentials is self._registry.credentials
            and earlier.mesh == self._mesh
        )

    def inputs(self, scope: Scope, view: ServiceView) -> Inputs | None:
        """None if the service is out of the scope's sight, and nothing is reported to it."""
        service = view.service
        sees = scope.sees(service, self._mesh)
        if not sees and service.host not in scope.telemetry.collectors:
            return None
        virtual = None if scope.gateway else self._virtual_service(service.host, scope.namespace)
        client = (scope.namespace, scope.labels)
        rules = self.rules(service, client)
        hosts = destination_hosts(virtual, self._mesh) if virtual else ()
        views = (self._registry.views.get(host) for host in hosts)
        destinations = tuple(one.service for one in views if one)
        source = Client(scope.namespace, scope.labels) if virtual and looks_at_source(virtual) else None
        return Inputs(
            view=view,
            virtual_service=virtual,
            rules=rules,
            destinations=destinations,
            destination_rules=tuple(self.rules(one, client) for one in destinations),
            client=source,
            caller=Caller(scope.locality, scope.labels) if any(map(asks_for_place, rules)) else None,
            gateway=scope.gateway,
            clusters_only=scope.gateway or not sees,
            observation=scope.telemetry.client,
            mesh=self._mesh,
            credentials=self._credentials(rules, scope),
        )

    def _credentials(self, rules: Iterable[Configuration], scope: Scope) -> ClientCredentials:
        """Of rules that choose the pods, or for a gateway: Secrets are for those that are meant, and no other pod."""
        names: dict[str, None] = {}
        for rule in rules:
            if scope.gateway or client_labels(rule):
                for told in credentials_named(rule):
                    names.update(dict.fromkeys(secret_names(told)))
        if not names:
            return NO_CREDENTIALS
        held = ((name, self._registry.credentials.get((scope.namespace, name))) for name in names)
        return ClientCredentials(
            scope.namespace, tuple((name, one) for name, one in held if isinstance(one, Credential))
        )

    def rules(self, service: Service, client: tuple[str, Labels]) -> tuple[Configuration, ...]:
        candidates = [*self._rules.get(service.host, ()), *self._wildcard_rules]
        if not candidates:
            return ()
        return select_rules(candidates, service, client, self._mesh)

    def _index(self, service: Configuration) -> None:
        for name in service.spec.get("hosts") or ():
            host = resolve_host(name, service.namespace, self._mesh)
            if "*" in host:
                self._wildcard.append((host, service))
            else:
                self._exact.setdefault(host, []).append(service)

    def _virtual_service(self, host: str, namespace: str) -> Configuration | None:
        """The oldest that names the host, else the one with the longest wildcard that covers it."""
        for service in self._exact.get(host, ()):
            if _visible(service, namespace):
                return service
        covering = [
            (name, service)
            for name, service in self._wildcard
            if host_matches(name, host) and _visible(service, namespace)
        ]
        return max(covering, key=lambda pair: len(pair[0]))[1] if covering else None


def translate(inputs: Inputs) -> Iterator[tuple[str, Any]]:
    """Names and messages of all resources of a service."""
    view = inputs.view
    rule = merge_rules(inputs.rules)
    for port in view.service.ports:
        if port.protocol is Protocol.UDP:
            continue
        yield from _clusters(inputs, rule, port)
        if inputs.clusters_only:
            continue
        translation = _translation(inputs, rule, port)
        if port.protocol.is_http or port.protocol is Protocol.DETECT:
            routes = service_routes(view.service, port, _http(inputs, translation))
            yield routes.name, routes
        tcp = tcp_routes(inputs.virtual_service, translation) if inputs.virtual_service else []
        if not any(not route.server_names for route in tcp):
            tcp.append(default_tcp_route(view.service, port, rule.policy(port)))
        cors = inputs.virtual_service is not None and uses_cors(inputs.virtual_service)
        for listener in outbound_listeners(view, port, tcp, cors=cors, observation=inputs.observation):
            yield listener.name, listener


def _clusters(inputs: Inputs, rule: DestinationRule, port: ServicePort) -> Iterator[tuple[str, Any]]:
    for subset in (None, *rule.subsets):
        policy = rule.policy(port, subset)
        cluster = outbound_cluster(
            inputs.view,
            port,
            subset,
            policy,
            inputs.mesh,
            gateway=inputs.gateway,
            credentials=inputs.credentials,
        )
        if policy.tls.available(inputs.credentials):
            for secret in policy.tls.secrets(inputs.credentials):
                yield secret.name, secret
        yield cluster.name, cluster
        if cluster.HasField("eds_cluster_config"):
            name = outbound_name(inputs.view.service.host, port.number, subset.name if subset else "")
            yield name, load_assignment(name, inputs.view, port, subset, policy, inputs.caller)


def _translation(inputs: Inputs, rule: DestinationRule, port: ServicePort) -> Translation:
    return Translation(
        mesh=inputs.mesh,
        service=inputs.view.service,
        port=port.number,
        gateway=MESH,
        addresses=inputs.view.addresses,
        client=inputs.client or Client("", Labels()),
        services={service.host: service for service in (*inputs.destinations, inputs.view.service)},
        rules={
            service.host: merge_rules(rules)
            for service, rules in zip(inputs.destinations, inputs.destination_rules, strict=True)
        }
        | {inputs.view.service.host: rule},
    )


def _http(inputs: Inputs, translation: Translation) -> list[Any]:
    virtual = inputs.virtual_service
    if virtual is not None and virtual.spec.get("http"):
        return http_routes(virtual, translation)
    port = inputs.view.service.port(translation.port)
    if port is None:
        return []
    route = default_route(inputs.view.service, port)
    destination = {"host": inputs.view.service.host, "port": {"number": port.number}}
    translation.hash_policies(route.route, destination, inputs.view.service.namespace)
    return [route]


def _visible(configuration: Configuration, namespace: str) -> bool:
    return exported(frozenset(configuration.spec.get("exportTo") or ()), configuration.namespace, namespace)
