"""`loadBalancer` of a traffic policy: how an endpoint is chosen (Istio, "Load Balancer Settings")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2

from hauberk.mesh.durations import duration
from hauberk.mesh.locality import settings_of
from hauberk.model.prime import is_prime

Spec = Mapping[str, Any]

DEFAULT_RING = 1024
"""Points of a hash ring unless it is said, as in Istio."""


def balance(cluster: Any, told: Spec) -> None:
    """Write how a cluster of endpoints that are known chooses among them."""
    simple, consistent = told.get("simple"), told.get("consistentHash")
    if consistent is not None:
        _hash(cluster, consistent)
    elif simple == "ROUND_ROBIN":
        cluster.lb_policy = cluster_pb2.Cluster.ROUND_ROBIN
    elif simple == "RANDOM":
        cluster.lb_policy = cluster_pb2.Cluster.RANDOM
    if settings_of(told).get("distribute"):
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    slow_start = _slow_start(told)
    if slow_start and cluster.lb_policy == cluster_pb2.Cluster.ROUND_ROBIN:
        cluster.round_robin_lb_config.slow_start_config.CopyFrom(slow_start)
    elif slow_start and cluster.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST:
        cluster.least_request_lb_config.slow_start_config.CopyFrom(slow_start)


def is_passthrough(told: Spec) -> bool:
    """Whether a connection goes on to the very address that the caller meant."""
    return told.get("simple") == "PASSTHROUGH" and told.get("consistentHash") is None


def _hash(cluster: Any, told: Spec) -> None:
    if told.get("maglev") is not None:
        cluster.lb_policy = cluster_pb2.Cluster.MAGLEV
        size = int(told["maglev"].get("tableSize") or 0)
        if size and not is_prime(size):
            raise ValueError(f"consistentHash.maglev.tableSize: expected a prime, found {size}")
        if size:
            cluster.maglev_lb_config.table_size.value = size
        return
    cluster.lb_policy = cluster_pb2.Cluster.RING_HASH
    minimum = (told.get("ringHash") or {}).get("minimumRingSize") or told.get("minimumRingSize")
    cluster.ring_hash_lb_config.minimum_ring_size.value = int(minimum or DEFAULT_RING)


def _slow_start(told: Spec) -> cluster_pb2.Cluster.SlowStartConfig | None:
    warmup = told.get("warmup") or {}
    window = warmup.get("duration") or told.get("warmupDurationSecs")
    if not window:
        return None
    made = cluster_pb2.Cluster.SlowStartConfig(slow_start_window=duration(window))
    if warmup.get("aggression") is not None:
        made.aggression.default_value = float(warmup["aggression"])
        made.aggression.runtime_key = "hauberk.warmup.aggression"
    if warmup.get("minimumPercent") is not None:
        made.min_weight_percent.value = float(warmup["minimumPercent"])
    return made
