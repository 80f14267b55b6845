"""DestinationRule → subsets and traffic policy of a service's clusters (Istio, "Destination Rule")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from hauberk.mesh import tls
from hauberk.mesh.durations import duration
from hauberk.mesh.hosts import host_matches, resolve_host
from hauberk.mesh.locality import settings_of
from hauberk.mesh.registry import Configuration, Labels, Mesh, ServicePort, exported


class TlsMode(Enum):
    """How a client's proxy connects (`trafficPolicy.tls.mode`)."""

    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """`trafficPolicy.tls`."""

    mode: TlsMode = TlsMode.ISTIO_MUTUAL
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    material: bool = False
    """It asks for a certificate of its own, or for a check of the server's: files or a Secret."""

    @property
    def unavailable(self) -> bool:
        """Whether it takes what no proxy has: a gate holds no files, and Secrets are for gateways' servers."""
        return self.mode is TlsMode.MUTUAL or (self.mode is TlsMode.SIMPLE and self.material)

    def socket(self) -> base_pb2.TransportSocket:
        """TLS that the mesh does not own and that proves nothing (SIMPLE without certificates to trust)."""
        context = tls_pb2.UpstreamTlsContext(common_tls_context={}, sni=self.sni)
        return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=tls.packed(context))


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """A merged `trafficPolicy` for one port. The mappings are Istio's own."""

    load_balancer: Mapping[str, Any] = field(default_factory=dict)
    connection_pool: Mapping[str, Any] = field(default_factory=dict)
    outlier_detection: Mapping[str, Any] = field(default_factory=dict)
    tls: ClientTls = field(default_factory=ClientTls)

    @property
    def upgrade_to_http2(self) -> bool:
        return (self.connection_pool.get("http") or {}).get("h2UpgradePolicy") == "UPGRADE"

    @property
    def common_http(self) -> dict[str, Any]:
        """`core.v3.HttpProtocolOptions` of the connection pool."""
        http = self.connection_pool.get("http") or {}
        options: dict[str, Any] = {}
        if http.get("idleTimeout"):
            options["idle_timeout"] = duration(http["idleTimeout"])
        if http.get("maxRequestsPerConnection"):
            options["max_requests_per_connection"] = {"value": http["maxRequestsPerConnection"]}
        return options

    def apply(self, cluster: Any, *, follows_caller: bool) -> None:
        """Write everything but TLS and the protocol into a cluster."""
        if not follows_caller:
            self._balance(cluster)
        tcp = self.connection_pool.get("tcp") or {}
        http = self.connection_pool.get("http") or {}
        if tcp.get("connectTimeout"):
            cluster.connect_timeout.CopyFrom(duration(tcp["connectTimeout"]))
        keepalive = tcp.get("tcpKeepalive")
        if keepalive is not None:
            options = cluster.upstream_connection_options.tcp_keepalive
            options.SetInParent()
            if keepalive.get("probes"):
                options.keepalive_probes.value = keepalive["probes"]
            if keepalive.get("time"):
                options.keepalive_time.value = duration(keepalive["time"]).seconds
            if keepalive.get("interval"):
                options.keepalive_interval.value = duration(keepalive["interval"]).seconds
        threshold = {
            "max_connections": tcp.get("maxConnections"),
            "max_pending_requests": http.get("http1MaxPendingRequests"),
            "max_requests": http.get("http2MaxRequests"),
            "max_retries": http.get("maxRetries"),
        }
        limits = {name: {"value": value} for name, value in threshold.items() if value}
        if limits:
            cluster.circuit_breakers.thresholds.add(**limits)
        if self.outlier_detection:
            self._detect_outliers(cluster)

    def _balance(self, cluster: Any) -> None:
        simple = self.load_balancer.get("simple")
        consistent = self.load_balancer.get("consistentHash")
        if consistent is not None:
            cluster.lb_policy = (
                cluster_pb2.Cluster.MAGLEV if "maglev" in consistent else cluster_pb2.Cluster.RING_HASH
            )
            minimum = (consistent.get("ringHash") or {}).get("minimumRingSize")
            if minimum:
                cluster.ring_hash_lb_config.minimum_ring_size.value = int(minimum)
        elif simple == "ROUND_ROBIN":
            cluster.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
        elif simple == "RANDOM":
            cluster.lb_policy = cluster_pb2.Cluster.RANDOM
        elif simple == "PASSTHROUGH":
            cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
            cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
            cluster.ClearField("eds_cluster_config")
        if settings_of(self.load_balancer).get("distribute"):
            cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
        warmup = self.load_balancer.get("warmup") or {}
        window = warmup.get("duration") or self.load_balancer.get("warmupDurationSecs")
        if window and cluster.lb_policy == cluster_pb2.Cluster.ROUND_ROBIN:
            cluster.round_robin_lb_config.slow_start_config.slow_start_window.CopyFrom(duration(window))
        elif window and cluster.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST:
            cluster.least_request_lb_config.slow_start_config.slow_start_window.CopyFrom(duration(window))

    def _detect_outliers(self, cluster: Any) -> None:
        told = self.outlier_detection
        outlier = cluster.outlier_detection
        outlier.enforcing_success_rate.value = 0
        if told.get("interval"):
            outlier.interval.CopyFrom(duration(told["interval"]))
        if told.get("baseEjectionTime"):
            outlier.base_ejection_time.CopyFrom(duration(told["baseEjectionTime"]))
        if told.get("maxEjectionPercent"):
            outlier.max_ejection_percent.value = told["maxEjectionPercent"]
        errors = told.get("consecutive5xxErrors", told.get("consecutiveErrors"))
        if errors is not None:
            outlier.consecutive_5xx.value = errors
            outlier.enforcing_consecutive_5xx.value = 100 if errors else 0
        gateway = told.get("consecutiveGatewayErrors")
        if gateway is not None:
            outlier.consecutive_gateway_failure.value = gateway
            outlier.enforcing_consecutive_gateway_failure.value = 100 if gateway else 0
        if told.get("splitExternalLocalOriginErrors"):
            outlier.split_external_local_origin_errors = True
            local = told.get("consecutiveLocalOriginFailures")
            if local:
                outlier.consecutive_local_origin_failure.value = local
                outlier.enforcing_consecutive_local_origin_failure.value = 100
        minimum = told.get("minHealthPercent")
        cluster.common_lb_config.healthy_panic_threshold.value = float(minimum or 0)


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
        """The port's settings before the subset's before the rule's, section by section."""
        layers = [self.traffic_policy, _port_level(self.traffic_policy, port)]
        if subset:
            layers += [subset.traffic_policy, _port_level(subset.traffic_policy, port)]
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update({name: value for name, value in layer.items() if value is not None})
        return TrafficPolicy(
            load_balancer=merged.get("loadBalancer") or {},
            connection_pool=merged.get("connectionPool") or {},
            outlier_detection=merged.get("outlierDetection") or {},
            tls=_client_tls(merged.get("tls") or {}),
        )


NO_RULE = DestinationRule()


def locality_settings(rule: Configuration) -> list[Mapping[str, Any]]:
    """All locality settings in a rule: of itself, its ports and its subsets."""
    policies = [rule.spec.get("trafficPolicy") or {}]
    policies += [one.get("trafficPolicy") or {} for one in rule.spec.get("subsets") or ()]
    policies += [port for policy in policies for port in policy.get("portLevelSettings") or ()]
    found = (settings_of(policy.get("loadBalancer") or {}) for policy in policies)
    return [one for one in found if one]


def select_rules(
    rules: Iterable[Configuration], host: str, service_namespace: str, client_namespace: str, mesh: Mesh
) -> tuple[Configuration, ...]:
    """The rules for a host that a client goes by: its own namespace's, else the service's, else the root's.

    Within one namespace the most specific host wins, and rules of that host are merged, the oldest first.
    """
    visible = [
        rule
        for rule in rules
        if exported(frozenset(rule.spec.get("exportTo") or ()), rule.namespace, client_namespace)
    ]
    for namespace in dict.fromkeys((client_namespace, service_namespace, mesh.root_namespace)):
        candidates = [
            (resolve_host(rule.spec.get("host", ""), rule.namespace, mesh), rule)
            for rule in visible
            if rule.namespace == namespace
        ]
        matching = [(name, rule) for name, rule in candidates if host_matches(name, host)]
        if matching:
            best = max((name for name, _ in matching), key=lambda name: ("*" not in name, len(name)))
            return tuple(rule for name, rule in matching if name == best)
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


def _port_level(policy: Mapping[str, Any], port: ServicePort) -> Mapping[str, Any]:
    for settings in policy.get("portLevelSettings") or ():
        if (settings.get("port") or {}).get("number") == port.number:
            return {name: value for name, value in settings.items() if name != "port"}
    return {}


def _client_tls(told: Mapping[str, Any]) -> ClientTls:
    verifies = told.get("caCertificates") or told.get("subjectAltNames")
    trusts = verifies and not told.get("insecureSkipVerify")
    own = [told.get(name) for name in ("clientCertificate", "privateKey", "credentialName", "caCrl")]
    return ClientTls(
        mode=TlsMode(told.get("mode", "ISTIO_MUTUAL")),
        sni=told.get("sni", ""),
        subject_alt_names=tuple(told.get("subjectAltNames") or ()),
        material=bool(trusts or any(own)),
    )
