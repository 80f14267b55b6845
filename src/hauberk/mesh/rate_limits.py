"""RateLimit → Envoy's `local_ratelimit` and `ratelimit` filters, one for each rule, behind what decides who may call.

A rule's requests get a descriptor: `rule` with its name, then an entry for each distinction that the request has. Those
without one have a bucket of their own. Values of distinctions are not known beforehand: such buckets are made as they
are met, and the longest unused is forgotten when there are `MOST_BUCKETS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from google.protobuf import wrappers_pb2

from hauberk.mesh import filters
from hauberk.mesh.clusters import outbound_name
from hauberk.mesh.durations import duration
from hauberk.mesh.policy_targets import applies
from hauberk.mesh.registry import Configuration, Labels, Mesh
from hauberk.mesh.text_match import any_of
from hauberk.mesh.tls import packed

MOST_BUCKETS = 10_000
CALLER = "connection.uri_san_peer_certificate"
"""What Envoy's expression language calls the caller's proved identity."""
_TIMEOUT = "0.02s"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Those that apply to one workload."""

    objects: tuple[Configuration, ...] = ()

    def http_filters(self) -> list[http_connection_manager_pb2.HttpFilter]:
        return [self._filter(one, rule) for one in self.objects for rule in one.spec.get("rules") or ()]

    def _filter(self, one: Configuration, rule: Mapping[str, Any]) -> http_connection_manager_pb2.HttpFilter:
        name = f"{one.namespace}/{one.name}/{rule['name']}"
        if rule.get("local") is not None:
            return filters.http_filter("envoy.filters.http.local_ratelimit", _local(name, rule))
        return filters.http_filter("envoy.filters.http.ratelimit", _global(name, rule, one.spec["service"]))


def select_rate_limits(
    objects: Iterable[Configuration], namespace: str, labels: Labels, mesh: Mesh
) -> RateLimits:
    """Those that apply to a workload."""
    return RateLimits(tuple(one for one in objects if applies(one, namespace, labels, mesh)))


def _local(name: str, rule: Mapping[str, Any]) -> local_rate_limit_pb2.LocalRateLimit:
    told = rule["local"]
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    config = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=name,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[_limit(rule)],
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        rate_limited_as_resource_exhausted=True,
        max_dynamic_descriptors=wrappers_pb2.UInt32Value(value=MOST_BUCKETS),
        always_consume_default_token_bucket=wrappers_pb2.BoolValue(value=False),
    )
    keys = [_key(one) for one in rule.get("by") or ()]
    for count in range(len(keys), -1, -1):
        for present in combinations(keys, count):
            descriptor = config.descriptors.add()
            descriptor.entries.add(key="rule", value=rule["name"])
            for key in present:
                descriptor.entries.add(key=key)
            _fill(descriptor, told)
    return config


def _fill(descriptor: ratelimit_pb2.LocalRateLimitDescriptor, told: Mapping[str, Any]) -> None:
    bucket = descriptor.token_bucket
    bucket.max_tokens = int(told.get("burst") or told["requests"])
    bucket.tokens_per_fill.value = int(told["requests"])
    bucket.fill_interval.CopyFrom(duration(told.get("per") or "1s"))


def _global(name: str, rule: Mapping[str, Any], service: Mapping[str, Any]) -> rate_limit_pb2.RateLimit:
    host = str(service["service"]).rpartition("/")[2]
    config = rate_limit_pb2.RateLimit(
        domain=rule["global"]["domain"],
        timeout=duration(service.get("timeout") or _TIMEOUT),
        failure_mode_deny=service.get("failureMode") == "Deny",
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        stat_prefix=name,
        rate_limits=[_limit(rule)],
    )
    config.rate_limit_service.transport_api_version = 2
    grpc = config.rate_limit_service.grpc_service
    grpc.envoy_grpc.cluster_name = outbound_name(host, service["port"])
    grpc.envoy_grpc.authority = host
    return config


def _limit(rule: Mapping[str, Any]) -> route_components_pb2.RateLimit:
    limit = route_components_pb2.RateLimit()
    match = rule.get("match") or {}
    first = limit.actions.add()
    if any(match.get(field) for field in ("methods", "paths", "hosts")):
        matching = first.header_value_match
        matching.descriptor_key, matching.descriptor_value = "rule", rule["name"]
        for header, field, pattern in (
            (":method", "methods", "{}"),
            (":path", "paths", r"{}(?:\?.*)?"),
            (":authority", "hosts", "(?i:{})"),
        ):
            if match.get(field):
                regex = pattern.format(any_of(match[field]))
                matching.headers.add(name=header, string_match={"safe_regex": {"regex": regex}})
    else:
        first.generic_key.descriptor_key, first.generic_key.descriptor_value = "rule", rule["name"]
    for one in rule.get("by") or ():
        action = limit.actions.add()
        if one.get("header"):
            headers = action.request_headers
            headers.header_name = headers.descriptor_key = one["header"].lower()
            headers.skip_if_absent = True
        elif one["attribute"] == "address":
            action.remote_address.SetInParent()
        else:
            told = expr_pb2.Descriptor(descriptor_key="caller", skip_if_error=True, text=CALLER)
            action.extension.CopyFrom(
                extension_pb2.TypedExtensionConfig(
                    name="envoy.rate_limit_descriptors.expr", typed_config=packed(told)
                )
            )
    return limit


def _key(one: Mapping[str, Any]) -> str:
    """Of the descriptor's entry for a distinction."""
    if one.get("header"):
        return str(one["header"]).lower()
    return {"address": "remote_address", "caller": "caller"}[one["attribute"]]
