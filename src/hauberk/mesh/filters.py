"""Network and HTTP filters that listeners and inbound chains are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import duration_pb2

from hauberk.mesh.clusters import ads_source
from hauberk.mesh.destination_rules import TrafficPolicy
from hauberk.mesh.tcp_routes import TcpRoute
from hauberk.mesh.telemetry import Observation
from hauberk.mesh.tls import packed

UPSTREAM_MARK = 2
"""The mark of a proxy's own sockets (docs/architecture.md, "A pod, its gate, the fabric")."""


def network_filter(name: str, config: Any) -> listener_components_pb2.Filter:
    return listener_components_pb2.Filter(name=name, typed_config=packed(config))


def tcp_proxy(stat_prefix: str, cluster: str, observation: Observation) -> listener_components_pb2.Filter:
    return routed_tcp_proxy(stat_prefix, TcpRoute(((cluster, 1),)), observation)


def routed_tcp_proxy(
    stat_prefix: str, route: TcpRoute, observation: Observation
) -> listener_components_pb2.Filter:
    """A TCP proxy over clusters with weights; one cluster is used as such."""
    clusters = route.clusters
    config = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix, access_log=observation.tcp_logs())
    if len(clusters) == 1:
        config.cluster = clusters[0][0]
    for name, weight in clusters if len(clusters) > 1 else ():
        config.weighted_clusters.clusters.add(name=name, weight=weight)
    if route.policy is not None:
        _carry(config, route.policy)
    return network_filter("envoy.filters.network.tcp_proxy", config)


def _carry(config: tcp_proxy_pb2.TcpProxy, policy: TrafficPolicy) -> None:
    """What a destination's traffic policy says of a connection as a whole."""
    pool = policy.connection_pool
    if pool.idle_timeout is not None:
        config.idle_timeout.CopyFrom(pool.idle_timeout)
    if pool.longest is not None:
        config.max_downstream_connection_duration.CopyFrom(pool.longest)
    if policy.hashes_source:
        config.hash_policy.add(source_ip={})
    if policy.tunnel is not None:
        config.tunneling_config.hostname = policy.tunnel.target
        config.tunneling_config.use_post = policy.tunnel.post


def http_connection_manager(
    stat_prefix: str,
    *,
    route_config: route_pb2.RouteConfiguration | None = None,
    route_config_name: str = "",
    http_filters: Sequence[http_connection_manager_pb2.HttpFilter],
    observation: Observation,
    edge: bool = False,
    inbound: bool = False,
) -> listener_components_pb2.Filter:
    """A chain's HTTP. `edge` is a gateway's: it takes nothing on trust; `inbound` tells the program its caller."""
    manager = http_connection_manager_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type="AUTO",
        http_filters=[*http_filters, router()],
        upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        use_remote_address={"value": edge},
        normalize_path={"value": True},
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        request_headers_timeout=duration_pb2.Duration(seconds=60),
        stream_idle_timeout=duration_pb2.Duration(),
        http_protocol_options={"accept_http_10": True},
        http2_protocol_options={"allow_connect": True},
        server_header_transformation="PASS_THROUGH" if inbound else "OVERWRITE",
        server_name="" if inbound else "hauberk",
        access_log=observation.http_logs(),
        tracing=observation.tracing.to_envoy() if observation.tracing else None,
    )
    if inbound:
        manager.forward_client_cert_details = manager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    elif edge:
        manager.forward_client_cert_details = manager.SANITIZE_SET
    if route_config is not None:
        manager.route_config.CopyFrom(route_config)
    else:
        manager.rds.route_config_name = route_config_name
        manager.rds.config_source.CopyFrom(ads_source())
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def http_filter(name: str, config: Any) -> http_connection_manager_pb2.HttpFilter:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=packed(config))


def router() -> http_connection_manager_pb2.HttpFilter:
    return http_filter("envoy.filters.http.router", router_pb2.Router())


def fault() -> http_connection_manager_pb2.HttpFilter:
    """Does nothing but where a route says so."""
    return http_filter("envoy.filters.http.fault", fault_pb2.HTTPFault())


def cors() -> http_connection_manager_pb2.HttpFilter:
    """Does nothing but where a route says so."""
    return http_filter("envoy.filters.http.cors", cors_pb2.Cors())


def application_protocols(offered: Sequence[str]) -> listener_components_pb2.Filter:
    """Tells Envoy which ALPN to offer upstream from this chain, for ports whose protocol is detected."""
    value = set_filter_state_pb2.Config()
    entry = value.on_new_connection.add(object_key="envoy.network.application_protocols")
    entry.format_string.text_format_source.inline_string = ",".join(offered)
    entry.shared_with_upstream = 1
    return network_filter("envoy.filters.network.set_filter_state", value)


def _listener_filter(name: str, config: Any) -> listener_components_pb2.ListenerFilter:
    return listener_components_pb2.ListenerFilter(name=name, typed_config=packed(config))


def http_inspector() -> listener_components_pb2.ListenerFilter:
    return _listener_filter("envoy.filters.listener.http_inspector", http_inspector_pb2.HttpInspector())


def tls_inspector() -> listener_components_pb2.ListenerFilter:
    return _listener_filter("envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector())


def original_dst() -> listener_components_pb2.ListenerFilter:
    """Says that the address a connection was accepted at is the one that the caller meant."""
    return _listener_filter("envoy.filters.listener.original_dst", original_dst_pb2.OriginalDst())


def original_src() -> listener_components_pb2.ListenerFilter:
    """Connections to the program come from the caller's own address."""
    return _listener_filter(
        "envoy.filters.listener.original_src",
        original_src_pb2.OriginalSrc(bind_port=False, mark=UPSTREAM_MARK),
    )
