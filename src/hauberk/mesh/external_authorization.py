"""Authorizers outside the proxy, asked by AuthorizationPolicies with the action CUSTOM → Envoy's `ext_authz` filters.

An RBAC filter before each notes, by shadow rules, which policy selects a request; the authorizer is asked about those
alone (Istio, "External Authorization").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.core.v3 import grpc_service_pb2, http_uri_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2 as network_ext_authz_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2
from google.protobuf import duration_pb2

from hauberk.mesh import filters
from hauberk.mesh.durations import duration
from hauberk.mesh.mesh_config import Authorizer

SELECTED = "istio-ext-authz-"
"""Stands before the name of a policy that selects what an authorizer is asked about."""
_PATIENCE = "600s"
"""For an authorizer's answer where nothing is told, Istio's."""
_HTTP_RBAC, _NETWORK_RBAC = "envoy.filters.http.rbac", "envoy.filters.network.rbac"


def selection_prefix(authorizer: Authorizer) -> str:
    """Of the RBAC filter's metadata that says which policy selected a request for this authorizer."""
    return f"istio_ext_authz_{authorizer.name}_"


def http_filter(authorizer: Authorizer) -> http_connection_manager_pb2.HttpFilter:
    """Asks about each request that was selected."""
    told = authorizer.told
    config = ext_authz_pb2.ExtAuthz(
        transport_api_version="V3",
        failure_mode_allow=bool(told.get("failOpen")),
        clear_route_cache=bool(told.get("clearRouteCache")),
        filter_enabled_metadata=_selected(authorizer, _HTTP_RBAC),
        stat_prefix=authorizer.name,
    )
    if told.get("statusOnError"):
        config.status_on_error.code = int(told["statusOnError"])
    body = told.get("includeRequestBodyInCheck")
    if body is not None:
        config.with_request_body.max_request_bytes = int(body["maxRequestBytes"])
        config.with_request_body.allow_partial_message = bool(body.get("allowPartialMessage"))
        config.with_request_body.pack_as_bytes = authorizer.grpc and bool(body.get("packAsBytes"))
    if authorizer.grpc:
        config.grpc_service.CopyFrom(_grpc_service(authorizer))
    else:
        config.http_service.CopyFrom(_http_service(authorizer))
        names = (*_texts(told, "includeHeadersInCheck"), *_texts(told, "includeRequestHeadersInCheck"))
        if names:
            config.allowed_headers.patterns.extend(_header_names(names))
    return filters.http_filter("envoy.filters.http.ext_authz", config)


def network_filter(authorizer: Authorizer) -> listener_components_pb2.Filter:
    """Asks about each TCP connection that was selected, of an authorizer over gRPC: HTTP has no words for it."""
    config = network_ext_authz_pb2.ExtAuthz(
        stat_prefix=authorizer.name,
        transport_api_version="V3",
        failure_mode_allow=bool(authorizer.told.get("failOpen")),
        filter_enabled_metadata=_selected(authorizer, _NETWORK_RBAC),
        grpc_service=_grpc_service(authorizer),
    )
    return filters.network_filter("envoy.filters.network.ext_authz", config)


def _selected(authorizer: Authorizer, rbac: str) -> metadata_pb2.MetadataMatcher:
    matcher = metadata_pb2.MetadataMatcher(filter=rbac)
    matcher.path.add(key=f"{selection_prefix(authorizer)}shadow_effective_policy_id")
    matcher.value.string_match.prefix = SELECTED
    return matcher


def _timeout(authorizer: Authorizer) -> duration_pb2.Duration:
    return duration(authorizer.told.get("timeout") or _PATIENCE)


def _grpc_service(authorizer: Authorizer) -> grpc_service_pb2.GrpcService:
    return grpc_service_pb2.GrpcService(
        envoy_grpc={"cluster_name": authorizer.cluster, "authority": authorizer.host},
        timeout=_timeout(authorizer),
    )


def _http_service(authorizer: Authorizer) -> ext_authz_pb2.HttpService:
    told = authorizer.told
    service = ext_authz_pb2.HttpService(
        path_prefix=told.get("pathPrefix") or "",
        server_uri=http_uri_pb2.HttpUri(
            uri=f"http://{authorizer.host}", cluster=authorizer.cluster, timeout=_timeout(authorizer)
        ),
    )
    for name, value in sorted((told.get("includeAdditionalHeadersInCheck") or {}).items()):
        service.authorization_request.headers_to_add.add(key=name, value=value)
    answer = service.authorization_response
    for field, names in (
        (answer.allowed_upstream_headers, _texts(told, "headersToUpstreamOnAllow")),
        (answer.allowed_client_headers, _texts(told, "headersToDownstreamOnDeny")),
        (answer.allowed_client_headers_on_success, _texts(told, "headersToDownstreamOnAllow")),
    ):
        if names:
            field.patterns.extend(_header_names(names))
    return service


def _texts(told: Mapping[str, Any], field: str) -> tuple[str, ...]:
    return tuple(told.get(field) or ())


def _header_names(names: Iterable[str]) -> list[string_pb2.StringMatcher]:
    """Names of headers, with a `*` at one end, or `*` for all."""
    return [_header_name(name) for name in names]


def _header_name(name: str) -> string_pb2.StringMatcher:
    if name == "*":
        return string_pb2.StringMatcher(safe_regex={"regex": ".*"})
    if name.startswith("*"):
        return string_pb2.StringMatcher(suffix=name[1:], ignore_case=True)
    if name.endswith("*"):
        return string_pb2.StringMatcher(prefix=name[:-1], ignore_case=True)
    return string_pb2.StringMatcher(exact=name, ignore_case=True)
