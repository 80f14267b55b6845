"""`connectionPool` of a traffic policy: limits and times of connections and requests (Istio, "Connection Pool")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import duration_pb2

from hauberk.mesh.durations import duration

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Istio's `tcp` and `http`, and the `retryBudget` that stands beside them."""

    tcp: Spec = field(default_factory=dict)
    http: Spec = field(default_factory=dict)
    retry_budget: Spec = field(default_factory=dict)

    @classmethod
    def of(cls, told: Spec, retry_budget: Spec) -> ConnectionPool:
        return cls(told.get("tcp") or {}, told.get("http") or {}, retry_budget)

    @property
    def upgrades_to_http2(self) -> bool:
        return bool(self.http.get("h2UpgradePolicy") == "UPGRADE")

    @property
    def follows_client_protocol(self) -> bool:
        """Requests go on in the version of HTTP in which they came."""
        return bool(self.http.get("useClientProtocol"))

    @property
    def common_http(self) -> dict[str, Any]:
        """`core.v3.HttpProtocolOptions`."""
        options: dict[str, Any] = {}
        if self.http.get("idleTimeout"):
            options["idle_timeout"] = duration(self.http["idleTimeout"])
        if self.http.get("maxRequestsPerConnection"):
            options["max_requests_per_connection"] = {"value": self.http["maxRequestsPerConnection"]}
        if self.tcp.get("maxConnectionDuration"):
            options["max_connection_duration"] = duration(self.tcp["maxConnectionDuration"])
        return options

    @property
    def http2(self) -> dict[str, Any]:
        """`core.v3.Http2ProtocolOptions`."""
        options: dict[str, Any] = {}
        if self.http.get("maxConcurrentStreams"):
            options["max_concurrent_streams"] = {"value": self.http["maxConcurrentStreams"]}
        keep_alive = self.http.get("http2KeepAlive") or {}
        if keep_alive.get("interval"):
            waited = duration(keep_alive["timeout"]) if keep_alive.get("timeout") else _KEEP_ALIVE_TIMEOUT
            options["connection_keepalive"] = {
                "interval": duration(keep_alive["interval"]),
                "timeout": waited,
            }
        return options

    @property
    def idle_timeout(self) -> duration_pb2.Duration | None:
        """Of TCP connections that are passed on; `0s` is no limit."""
        return duration(self.tcp["idleTimeout"]) if self.tcp.get("idleTimeout") else None

    @property
    def longest(self) -> duration_pb2.Duration | None:
        """How long a TCP connection that is passed on may last."""
        told = self.tcp.get("maxConnectionDuration")
        return duration(told) if told else None

    def apply(self, cluster: Any) -> None:
        """Write what is the cluster's own; HTTP's options stand where the protocol does."""
        if self.tcp.get("connectTimeout"):
            cluster.connect_timeout.CopyFrom(duration(self.tcp["connectTimeout"]))
        keepalive = self.tcp.get("tcpKeepalive")
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
            "max_connections": self.tcp.get("maxConnections"),
            "max_pending_requests": self.http.get("http1MaxPendingRequests"),
            "max_requests": self.http.get("http2MaxRequests"),
            "max_retries": self.http.get("maxRetries"),
        }
        limits: dict[str, Any] = {name: {"value": value} for name, value in threshold.items() if value}
        if self.retry_budget:
            limits["retry_budget"] = self._budget()
        if limits:
            cluster.circuit_breakers.thresholds.add(**limits)

    def _budget(self) -> dict[str, Any]:
        """Retries at one time as a share of the requests under way; Istio has 20 % and at least 3."""
        percent, least = self.retry_budget.get("percent"), self.retry_budget.get("minRetryConcurrency")
        return {
            "budget_percent": {"value": 20.0 if percent is None else float(percent)},
            "min_retry_concurrency": {"value": 3 if least is None else int(least)},
        }


_KEEP_ALIVE_TIMEOUT = duration_pb2.Duration(seconds=10)
"""How long the answer to a PING may take unless it is said."""
