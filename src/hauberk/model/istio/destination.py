"""Istio's DestinationRule: subsets of a service and how calls to it are carried."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.selection import WorkloadSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, doc

Count = Annotated[int, Meta(ge=0, le=4294967295)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class PortSelector(MeshStruct, frozen=True):
    """A port by number."""

    number: Count | None = None


class TcpKeepalive(MeshStruct, frozen=True):
    """Keep-alive probes of TCP."""

    probes: Count | None = None
    time: Duration | None = None
    interval: Duration | None = None


class TcpSettings(MeshStruct, frozen=True):
    """Limits of connections."""

    max_connections: Count | None = None
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(MeshStruct, frozen=True):
    """PING frames of HTTP/2."""

    interval: Duration | None = None
    timeout: Duration | None = None


class HttpSettings(MeshStruct, frozen=True):
    """Limits of requests."""

    http1_max_pending_requests: Count | None = None
    http2_max_requests: Count | None = None
    max_requests_per_connection: Count | None = None
    max_retries: Count | None = None
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: Count | None = None
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPool(MeshStruct, frozen=True):
    """Limits of connections and requests to a destination."""

    tcp: TcpSettings | None = None
    http: HttpSettings | None = None


class CookieAttribute(MeshStruct, frozen=True):
    """An attribute of a cookie."""

    name: str
    value: str | None = None


class HttpCookie(MeshStruct, frozen=True):
    """A cookie to hash."""

    name: str
    path: str | None = None
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(MeshStruct, frozen=True):
    """Ring of hashes."""

    minimum_ring_size: Annotated[int, Meta(ge=0, le=8_388_608)] | None = None


class Maglev(MeshStruct, frozen=True):
    """Maglev's table."""

    table_size: Annotated[int, Meta(ge=0, le=5_000_011)] | None = None


class ConsistentHash(MeshStruct, frozen=True):
    """Sends like requests to the same endpoint; exactly one key."""

    http_header_name: str | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: Annotated[int, Meta(ge=0, le=8_388_608)] | None = None


class LocalityDistribution(MeshStruct, frozen=True):
    """Shares of calls from one place to others, in percent."""

    from_: str | None = field(name="from", default=None)
    to: dict[str, Count] = field(default_factory=dict)


class LocalityFailover(MeshStruct, frozen=True):
    """Where calls go when a place has no healthy endpoint."""

    from_: str | None = field(name="from", default=None)
    to: str | None = None


class LocalitySettings(MeshStruct, frozen=True):
    """Preference for endpoints that are near."""

    distribute: tuple[LocalityDistribution, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareSettings(MeshStruct, frozen=True):
    """Preference for endpoints in the caller's zone."""

    enabled: bool | None = None
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class Warmup(MeshStruct, frozen=True):
    """New endpoints get their full share only after a while."""

    duration: Duration
    minimum_percent: Percent | None = None
    aggression: Annotated[float, Meta(ge=0)] | None = None


class LoadBalancer(MeshStruct, frozen=True):
    """How an endpoint is chosen."""

    simple: Annotated[
        Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None,
        doc("LEAST_REQUEST if left out."),
    ] = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalitySettings | None = None
    zone_aware_lb_setting: ZoneAwareSettings | None = None
    warmup_duration_secs: Duration | None = None
    warmup: Warmup | None = None


class OutlierDetection(MeshStruct, frozen=True):
    """Leaves out endpoints that fail."""

    consecutive_errors: Count | None = None
    consecutive_gateway_errors: Count | None = None
    consecutive5xx_errors: Count | None = field(name="consecutive5xxErrors", default=None)
    consecutive_local_origin_failures: Count | None = None
    split_external_local_origin_errors: bool | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    min_health_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    outlier_detection_http_error_codes: tuple[Annotated[int, Meta(ge=100, le=599)], ...] = ()


class ClientTls(MeshStruct, frozen=True):
    """TLS toward a destination."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] | None = None
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    ca_crl: str | None = None
    credential_name: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: str | None = None
    insecure_skip_verify: bool | None = None


class PortTrafficPolicy(MeshStruct, frozen=True):
    """How calls to one port are carried."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None


class Tunnel(MeshStruct, frozen=True):
    """Carries connections through a proxy by HTTP CONNECT."""

    target_host: str
    target_port: Count
    protocol: str | None = None


class ProxyProtocol(MeshStruct, frozen=True):
    """Tells the destination the caller's address."""

    version: Literal["V1", "V2"] | None = None


class RetryBudget(MeshStruct, frozen=True):
    """How many requests at once may be retries."""

    percent: Percent | None = None
    min_retry_concurrency: Count | None = None
    budget_interval: Duration | None = None


class TrafficPolicy(MeshStruct, frozen=True):
    """How calls are carried."""

    load_balancer: Annotated[LoadBalancer | None, doc("How an endpoint is chosen.")] = None
    connection_pool: Annotated[ConnectionPool | None, doc("Limits of connections and requests.")] = None
    outlier_detection: Annotated[OutlierDetection | None, doc("Leaves out endpoints that fail.")] = None
    tls: Annotated[ClientTls | None, doc("TLS toward the destination.")] = None
    port_level_settings: Annotated[
        tuple[PortTrafficPolicy, ...], doc("In place of the above for one port.")
    ] = ()
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(MeshStruct, frozen=True):
    """Some of a service's pods, by label."""

    name: Annotated[str, doc("What routes call it by.")]
    labels: Annotated[dict[str, str], doc("Labels that the pods must have.")] = field(default_factory=dict)
    traffic_policy: Annotated[TrafficPolicy | None, doc("In place of the rule's own.")] = None


class DestinationRuleSpec(MeshStruct, frozen=True):
    """Subsets of a service and how calls to it are carried."""

    host: Annotated[str, doc("The service, by name in this namespace or in full.")]
    traffic_policy: Annotated[TrafficPolicy | None, doc("How calls are carried.")] = None
    subsets: Annotated[tuple[Subset, ...], doc("Named parts of the service, for routes.")] = ()
    export_to: Annotated[tuple[str, ...], doc("Namespaces that see the rule; `.` is its own, `*` all.")] = ()
    workload_selector: Annotated[WorkloadSelector | None, doc("Callers that the rule applies to.")] = None


class DestinationRule(MeshStruct, frozen=True):
    """Subsets of a service, and how calls to it are carried once a route has chosen it."""

    spec: Annotated[DestinationRuleSpec, doc("Which service, and how it is called.")]
    metadata: ObjectMeta = ObjectMeta()
    status: dict[str, Any] | None = None
