"""Listeners and clusters of two proxies on the loopback, with mutual TLS between them and secrets by SDS."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf import any_pb2, json_format

# The messages that the dictionaries below name must be known to the parser.
import envoy.extensions.access_loggers.file.v3.file_pb2  # isort: skip
import envoy.extensions.filters.http.router.v3.router_pb2  # isort: skip
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2  # isort: skip
import envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2  # isort: skip
import envoy.extensions.transport_sockets.tls.v3.tls_pb2  # isort: skip
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # isort: skip # noqa: F401

PREFIX = "type.googleapis.com/"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
EXTENSIONS = PREFIX + "envoy.extensions."
REQUESTS_A_CONNECTION = 10

Resources = dict[str, dict[str, Any]]
"""By type and name."""


def resources(listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> Resources:
    """What a proxy is told over ADS."""
    return {
        LISTENER: {each["name"]: _packed(each, listener_pb2.Listener()) for each in listeners},
        CLUSTER: {each["name"]: _packed(each, cluster_pb2.Cluster()) for each in clusters},
    }


def listener(name: str, port: int, cluster: str, *, http: bool, tls: dict[str, Any] | None) -> dict[str, Any]:
    """Leads all that comes to `port` to `cluster`."""
    chain: dict[str, Any] = {"filters": [_http(cluster) if http else _tcp(cluster)]}
    if tls is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": tls}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "address": address,
        "filter_chains": [chain],
        "traffic_direction": "OUTBOUND" if tls is None else "INBOUND",
    }


def cluster(name: str, port: int, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    """One endpoint on the loopback. A connection has few requests, so that new ones are always being made."""
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    options = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
    made: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        "typed_extension_protocol_options": {
            options.removeprefix(PREFIX): {
                "@type": options,
                "common_http_protocol_options": {"max_requests_per_connection": REQUESTS_A_CONNECTION},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }
    if tls is not None:
        made["transport_socket"] = {"name": "tls", "typed_config": tls}
    return made


def server_tls(trust_domain: str, *, delta: bool) -> dict[str, Any]:
    """A server that takes callers of one trust domain only."""
    return {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": _tls({"prefix": f"spiffe://{trust_domain}/"}, delta=delta),
    }


def client_tls(server: str, *, delta: bool) -> dict[str, Any]:
    """A client that takes the server of one SPIFFE ID only, or all below one that ends with a slash."""
    return {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext",
        "max_session_keys": 0,
        "common_tls_context": _tls({"prefix" if server.endswith("/") else "exact": server}, delta=delta),
    }


def _tls(matcher: dict[str, str], *, delta: bool) -> dict[str, Any]:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [_sds("default", delta=delta)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": matcher}]
            },
            "validation_context_sds_secret_config": _sds("ROOTCA", delta=delta),
        },
    }


def _sds(name: str, *, delta: bool) -> dict[str, Any]:
    source = {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    }
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def _http(cluster: str) -> dict[str, Any]:
    filters = EXTENSIONS + "filters."
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "10s"}}
    log = {"inline_string": "%DOWNSTREAM_PEER_SERIAL%\n"}
    return {
        "name": "http",
        "typed_config": {
            "@type": filters + "network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [
                {"name": "router", "typed_config": {"@type": filters + "http.router.v3.Router"}}
            ],
            "access_log": [
                {
                    "name": "file",
                    "typed_config": {
                        "@type": EXTENSIONS + "access_loggers.file.v3.FileAccessLog",
                        "path": "/dev/stdout",
                        "log_format": {"text_format_source": log},
                    },
                }
            ],
        },
    }


def _tcp(cluster: str) -> dict[str, Any]:
    proxy = EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy"
    return {"name": "tcp", "typed_config": {"@type": proxy, "stat_prefix": "tcp", "cluster": cluster}}


def _packed(content: dict[str, Any], message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(json_format.ParseDict(content, message))
    return packed
