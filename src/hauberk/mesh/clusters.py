"""Clusters: where the bytes of a service port go, and how they are protected on the way."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.common.matcher.v3 import matcher_pb2
from envoy.config.core.v3 import config_source_pb2, protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import duration_pb2, struct_pb2

from hauberk.mesh import tls
from hauberk.mesh.client_tls import NO_CREDENTIALS, ClientCredentials, TlsMode
from hauberk.mesh.destination_rules import Subset, TrafficPolicy
from hauberk.mesh.outlier_detection import error_matcher
from hauberk.mesh.protocol import Protocol
from hauberk.mesh.registry import Mesh, ServicePort, ServiceView

BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def outbound_name(host: str, port: int, subset: str = "") -> str:
    """`outbound|PORT|SUBSET|HOST`."""
    return f"outbound|{port}|{subset}|{host}"


def ads_source() -> config_source_pb2.ConfigSource:
    return config_source_pb2.ConfigSource(resource_api_version="V3", ads={})


def outbound_cluster(
    view: ServiceView,
    port: ServicePort,
    subset: Subset | None,
    policy: TrafficPolicy,
    mesh: Mesh,
    *,
    gateway: bool,
    credentials: ClientCredentials = NO_CREDENTIALS,
) -> cluster_pb2.Cluster:
    """The cluster of a service's port, or of a subset of it."""
    name = outbound_name(view.service.host, port.number, subset.name if subset else "")
    cluster = cluster_pb2.Cluster(
        name=name,
        alt_stat_name=name,
        connect_timeout=duration_pb2.Duration(seconds=10),
        ignore_health_on_host_removal=True,
    )
    if not policy.tls.available(credentials):
        # Nobody is there: calls fail, which is better than to come without what was asked for.
        cluster.type = cluster_pb2.Cluster.STATIC
        return cluster
    # Whoever calls a gateway means the gateway's own address: to follow them would be to call oneself.
    follows_caller = not gateway and policy.follows_caller(view.service)
    if follows_caller:
        cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
        cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    else:
        cluster.type = cluster_pb2.Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
        cluster.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    _protect(cluster, view, port, subset, policy, mesh, credentials, follows_caller=follows_caller)
    _speak(cluster, port.protocol, policy, gateway=gateway)
    policy.apply(cluster, follows_caller=follows_caller)
    return cluster


def black_hole_cluster() -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(
        name=BLACK_HOLE, type="STATIC", connect_timeout=duration_pb2.Duration(seconds=1)
    )


def inbound_cluster(name: str, protocol: Protocol) -> cluster_pb2.Cluster:
    """The program behind this proxy: reached at the address that the caller meant, from the caller's own."""
    cluster = cluster_pb2.Cluster(
        name=name,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=duration_pb2.Duration(seconds=10),
    )
    if protocol.is_http2:
        _http_options(cluster, explicit_http_config={"http2_protocol_options": {}})
    elif protocol is Protocol.HTTP:
        # Whatever the proxies speak between themselves (`h2UpgradePolicy`), the program speaks HTTP/1.1.
        _http_options(cluster, explicit_http_config={"http_protocol_options": {}})
    elif protocol is Protocol.DETECT:
        _http_options(
            cluster,
            use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}},
        )
    return cluster


def inbound_name(port: int) -> str:
    """`inbound|PORT||`."""
    return f"inbound|{port}||"


def alpn(protocol: Protocol, *, http2: bool) -> list[str]:
    """What a client offers: it tells the server's proxy what it carries."""
    if not protocol.is_http:
        return ["istio"]
    return ["istio-http", "h2"] if http2 else ["istio-http", "http/1.1"]


def _protect(
    cluster: Any,
    view: ServiceView,
    port: ServicePort,
    subset: Subset | None,
    policy: TrafficPolicy,
    mesh: Mesh,
    credentials: ClientCredentials,
    *,
    follows_caller: bool,
) -> None:
    if policy.tls.mode is TlsMode.DISABLE:
        return
    if policy.tls.leaves_the_mesh:
        cluster.transport_socket.CopyFrom(policy.tls.socket(credentials))
        return
    identities = policy.tls.subject_alt_names or view.identities(mesh)
    if not identities:
        return
    sni = f"outbound_.{port.number}_.{subset.name if subset else ''}_.{view.service.host}"
    http2 = port.protocol.is_http2 or policy.connection_pool.upgrades_to_http2
    socket = tls.upstream_socket(identities, sni, alpn(port.protocol, http2=http2))
    if follows_caller:
        cluster.transport_socket.CopyFrom(socket)
        return
    mutual = cluster.transport_socket_matches.add(name="tlsMode-istio", transport_socket=socket)
    mutual.match.fields["tlsMode"].CopyFrom(struct_pb2.Value(string_value="istio"))
    plain = cluster.transport_socket_matches.add(name="tlsMode-disabled", transport_socket=tls.plain_socket())
    plain.match.SetInParent()


def _speak(cluster: Any, protocol: Protocol, policy: TrafficPolicy, *, gateway: bool) -> None:
    pool = policy.connection_pool
    if not protocol.is_http and protocol is not Protocol.DETECT:
        return
    http2 = pool.http2
    if pool.follows_client_protocol or (protocol is Protocol.DETECT and not gateway):
        both = {"http_protocol_options": {}, "http2_protocol_options": http2}
        _http_options(cluster, policy, use_downstream_protocol_config=both)
    elif protocol.is_http2 or (protocol is Protocol.HTTP and pool.upgrades_to_http2):
        _http_options(cluster, policy, explicit_http_config={"http2_protocol_options": http2})
    else:
        _http_options(cluster, policy, explicit_http_config={"http_protocol_options": {}})


def _http_options(cluster: Any, policy: TrafficPolicy | None = None, **how: Any) -> None:
    options = http_protocol_options_pb2.HttpProtocolOptions(**how)
    if policy and policy.connection_pool.common_http:
        common = protocol_pb2.HttpProtocolOptions(**policy.connection_pool.common_http)
        options.common_http_protocol_options.CopyFrom(common)
    errors = error_matcher(policy.outlier_detection or {}) if policy else None
    if errors is not None:
        options.outlier_detection.error_matcher.CopyFrom(matcher_pb2.MatchPredicate(**errors))
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(tls.packed(options))
