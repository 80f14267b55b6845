"""DestinationRule → subsets and traffic policy of a service's clusters (Istio, "Destination Rule")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hauberk.mesh.client_tls import ClientTls
from hauberk.mesh.connection_pool import ConnectionPool
from hauberk.mesh.hosts import host_matches, resolve_host
from hauberk.mesh.load_balancing import balance, is_passthrough
from hauberk.mesh.locality import looks_at_place, settings_of
from hauberk.mesh.outlier_detection import detect_outliers
from hauberk.mesh.registry import Configuration, Labels, Mesh, Service, ServicePort, exported


@dataclass(frozen=True, slots=True)
class Tunnel:
    """`tunnel`: connections go through an HTTP proxy, which is asked for `target` (`HOST:PORT`)."""

    target: str
    post: bool

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Tunnel:
        return cls(f"{told['targetHost']}:{int(told['targetPort'])}", told.get("protocol") == "POST")


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """A merged `trafficPolicy` for one port. The mappings are Istio's own."""

    load_balancer: Mapping[str, Any] = field(default_factory=dict)
    connection_pool: ConnectionPool = field(default_factory=ConnectionPool)
    outlier_detection: Mapping[str, Any] | None = None
    """None: endpoints are not judged."""
    tls: ClientTls = field(default_factory=ClientTls)
    tunnel: Tunnel | None = None

    def follows_caller(self, service: Service) -> bool:
        """Whether a connection goes on to the very address that the caller meant."""
        return service.follows_caller or is_passthrough(self.load_balancer)

    def apply(self, cluster: Any, *, follows_caller: bool) -> None:
        """Write everything but TLS and the protocol into a cluster."""
        if not follows_caller:
            balance(cluster, self.load_balancer)
        self.connection_pool.apply(cluster)
        if self.outlier_detection is not None:
            detect_outliers(cluster, self.outlier_detection)

    @property
    def fails_over(self) -> bool:
        """Whether endpoints of other places are used only when those near the caller fail."""
        told = self.load_balancer.get("localityLbSetting") or {}
        return self.outlier_detection is not None and told.get("enabled") is not False

    @property
    def hashes_source(self) -> bool:
        """Whether connections from one address stay with one endpoint."""
        return bool((self.load_balancer.get("consistentHash") or {}).get("useSourceIp"))


@dataclass(frozen=True, slots=True)
class Subset:
    """A named part of a service: the endpoints whose pods have these labels."""

    name: str
    labels: Labels
    traffic_policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """What applies to one host for one client."""

    subsets: tuple[Subset, ...] = ()
    traffic_policy: Mapping[str, Any] = field(default_factory=dict)

    def policy(self, port: ServicePort, subset: Subset | None = None) -> TrafficPolicy:
        """The subset's settings before the rule's, section by section.

        Settings for a port stand in place of all that is said around them: what they leave out is Istio's default.
        """
        merged: dict[str, Any] = {}
        for layer in (self.traffic_policy, subset.traffic_policy if subset else {}):
            merged.update({name: value for name, value in layer.items() if value is not None})
            own = _port_level(layer, port)
            if own is not None:
                merged.update({name: own.get(name) for name in _OF_A_PORT})
        return TrafficPolicy(
            load_balancer=merged.get("loadBalancer") or {},
            connection_pool=ConnectionPool.of(
                merged.get("connectionPool") or {}, merged.get("retryBudget") or {}
            ),
            outlier_detection=merged.get("outlierDetection"),
            tls=ClientTls.of(merged.get("tls") or {}),
            tunnel=Tunnel.of(merged["tunnel"]) if merged.get("tunnel") else None,
        )


NO_RULE = DestinationRule()


def locality_settings(rule: Configuration) -> list[Mapping[str, Any]]:
    """All locality settings in a rule: of itself, its ports and its subsets."""
    found = (settings_of(policy.get("loadBalancer") or {}) for policy in _policies(rule))
    return [one for one in found if one]


def asks_for_place(rule: Configuration) -> bool:
    """Whether what a rule makes depends on where the caller is."""
    return any(map(looks_at_place, _policies(rule)))


def credentials_named(rule: Configuration) -> list[str]:
    """All Secrets that a rule's clients show or trust by."""
    found = ((policy.get("tls") or {}).get("credentialName") for policy in _policies(rule))
    return [one for one in found if one]


def _policies(rule: Configuration) -> list[Mapping[str, Any]]:
    policies: list[Mapping[str, Any]] = [rule.spec.get("trafficPolicy") or {}]
    policies += [one.get("trafficPolicy") or {} for one in rule.spec.get("subsets") or ()]
    policies += [port for policy in policies for port in policy.get("portLevelSettings") or ()]
    return policies


def client_labels(rule: Configuration) -> Labels:
    """The labels of the clients that a rule is for alone (`workloadSelector`); empty if it is for all."""
    return Labels.of((rule.spec.get("workloadSelector") or {}).get("matchLabels"))


def select_rules(
    rules: Iterable[Configuration], service: Service, client: tuple[str, Labels], mesh: Mesh
) -> tuple[Configuration, ...]:
    """The rules for a service that a client goes by: its own namespace's, else the service's, else the root's.

    Within one namespace the most specific host wins; of that host those that select the client before those for all;
    and these are merged, the oldest first. `client` is its namespace and labels.
    """
    client_namespace, labels = client
    host = service.host
    visible = [
        rule
        for rule in rules
        if exported(frozenset(rule.spec.get("exportTo") or ()), rule.namespace, client_namespace)
        and (
            not client_labels(rule)
            or (rule.namespace == client_namespace and client_labels(rule).matches(labels))
        )
    ]
    for namespace in dict.fromkeys((client_namespace, service.namespace, mesh.root_namespace)):
        candidates = [
            (resolve_host(rule.spec.get("host", ""), rule.namespace, mesh), rule)
            for rule in visible
            if rule.namespace == namespace
        ]
        matching = [(name, rule) for name, rule in candidates if host_matches(name, host)]
        if matching:
            best = max((name for name, _ in matching), key=lambda name: ("*" not in name, len(name)))
            found = [rule for name, rule in matching if name == best]
            return tuple([rule for rule in found if client_labels(rule)] or found)
    return ()


def merge_rules(rules: Iterable[Configuration]) -> DestinationRule:
    """One rule out of several for the same host: subsets of all, the first traffic policy that is there."""
    subsets: dict[str, Subset] = {}
    policy: Mapping[str, Any] = {}
    for rule in rules:
        policy = policy or rule.spec.get("trafficPolicy") or {}
        for subset in rule.spec.get("subsets") or ():
            subsets.setdefault(
                subset["name"],
                Subset(subset["name"], Labels.of(subset.get("labels")), subset.get("trafficPolicy") or {}),
            )
    return DestinationRule(tuple(subsets.values()), policy)


_OF_A_PORT = ("loadBalancer", "connectionPool", "outlierDetection", "tls")


def _port_level(policy: Mapping[str, Any], port: ServicePort) -> Mapping[str, Any] | None:
    for settings in policy.get("portLevelSettings") or ():
        if (settings.get("port") or {}).get("number") == port.number:
            return dict(settings)
    return None
