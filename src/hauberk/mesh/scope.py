"""Scopes: proxies that may see the same things share what is derived for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hauberk.mesh.destination_rules import asks_for_place, client_labels, locality_settings
from hauberk.mesh.hosts import host_matches
from hauberk.mesh.locality import Locality, locality_of_labels, priority_labels
from hauberk.mesh.proxy import Proxy
from hauberk.mesh.registry import NETWORKING, Configuration, Labels, Mesh, Registry, Service
from hauberk.mesh.routing import Routing
from hauberk.mesh.telemetry import Telemetry, TelemetryIndex


@dataclass(frozen=True, slots=True)
class Scope:
    """What a proxy's outbound resources depend on, beyond the registry."""

    namespace: str
    labels: Labels
    """Of the proxy's labels, those that some route looks at; of a gateway, all."""
    gateway: bool
    sidecar: Configuration | None
    """The Sidecar that says which hosts are of interest; None: all that are exported."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    locality: Locality = field(default_factory=Locality)
    """Where the proxy is, if some rule asks."""

    def sees(self, service: Service, mesh: Mesh) -> bool:
        """Whether the service is exported to the namespace and, with a Sidecar, listed in its egress."""
        if not service.visible_to(self.namespace):
            return False
        if self.sidecar is None:
            return True
        listeners = self.sidecar.spec.get("egress")
        if listeners is None:
            return True
        return any(
            _egress_covers(entry, self.sidecar.namespace, service)
            for listener in listeners
            for entry in listener.get("hosts") or ()
        )


class ScopeIndex:
    """Finds a proxy's scope in a registry."""

    def __init__(self, registry: Registry, routing: Routing) -> None:
        self._mesh = registry.mesh
        self._sidecars = registry.of_kind(NETWORKING, "Sidecar")
        self._telemetry = TelemetryIndex(registry)
        rules = registry.of_kind(NETWORKING, "DestinationRule")
        settings = [one for rule in rules for one in locality_settings(rule)]
        self._asks_locality = any(map(asks_for_place, rules))
        compared = {name for one in settings for name in priority_labels(one)}
        chosen = {name for rule in rules for name, _ in client_labels(rule).items}
        self._label_keys = _source_label_keys(routing.virtual_services) | compared | chosen

    def scope_of(self, proxy: Proxy) -> Scope:
        telemetry = self.telemetry_of(proxy)
        place = locality_of_labels(proxy.labels) if self._asks_locality else Locality()
        if proxy.is_gateway:
            return Scope(proxy.namespace, proxy.labels, True, None, telemetry, place)
        looked_at = Labels(frozenset(item for item in proxy.labels.items if item[0] in self._label_keys))
        return Scope(proxy.namespace, looked_at, False, self._sidecar_of(proxy), telemetry, place)

    def telemetry_of(self, proxy: Proxy) -> Telemetry:
        return self._telemetry.of(proxy.namespace, proxy.labels)

    def _sidecar_of(self, proxy: Proxy) -> Configuration | None:
        """Its own, else its namespace's, else the root namespace's."""
        general: Configuration | None = None
        for sidecar in self._sidecars:
            selector = Labels.of((sidecar.spec.get("workloadSelector") or {}).get("labels"))
            if sidecar.namespace == proxy.namespace:
                if selector and selector.matches(proxy.labels):
                    return sidecar
                if not selector and (general is None or general.namespace != proxy.namespace):
                    general = sidecar
            elif sidecar.namespace == self._mesh.root_namespace and not selector:
                general = general or sidecar
        return general


def _egress_covers(entry: str, own_namespace: str, service: Service) -> bool:
    """`NAMESPACE/HOST`: `./*`, `*/reviews.bank.svc.cluster.local`, `~/*` for none."""
    namespace, _, host = entry.partition("/")
    if namespace == ".":
        namespace = own_namespace
    return namespace in ("*", service.namespace) and host_matches(host, service.host)


def _source_label_keys(services: Iterable[Configuration]) -> frozenset[str]:
    return frozenset(
        key
        for service in services
        for protocol in ("http", "tcp", "tls")
        for route in service.spec.get(protocol) or ()
        for match in route.get("match") or ()
        for key in match.get("sourceLabels") or ()
    )
