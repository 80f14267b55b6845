"""Istio's VirtualService: where calls go, by what they say."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hauberk.model.istio.destination import Count, PortSelector
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Bytes, Duration, MeshStruct, doc

Strings = tuple[str, ...]
Weight = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class StringMatch(MeshStruct, frozen=True):
    """Exactly one way to compare a text; none means that it must only be there."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[str | None, doc("RE2 syntax; must match the whole text.")] = None


class Destination(MeshStruct, frozen=True):
    """A service, or a subset of it."""

    host: Annotated[str, doc("The service, by name in this namespace or in full.")]
    subset: Annotated[str | None, doc("A subset of the service's DestinationRule.")] = None
    port: Annotated[PortSelector | None, doc("Needed if the service has several ports.")] = None


class HeaderOperations(MeshStruct, frozen=True):
    """Changes of headers."""

    set: dict[str, str] = field(default_factory=dict)
    add: dict[str, str] = field(default_factory=dict)
    remove: Strings = ()


class Headers(MeshStruct, frozen=True):
    """Changes of the headers of requests and responses."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HttpRouteDestination(MeshStruct, frozen=True):
    """A destination and its share of the requests."""

    destination: Destination
    weight: Annotated[Weight | None, doc("Its share; those of all destinations are added up.")] = None
    headers: Headers | None = None


class RouteDestination(MeshStruct, frozen=True):
    """A destination and its share of the connections."""

    destination: Destination
    weight: Weight | None = None


class HttpMatch(MeshStruct, frozen=True):
    """Every field that is set must match."""

    name: str | None = None
    uri: Annotated[StringMatch | None, doc("The path.")] = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: Annotated[StringMatch | None, doc("The host that was asked for.")] = None
    headers: Annotated[dict[str, StringMatch], doc("Headers in lower case.")] = field(default_factory=dict)
    without_headers: Annotated[dict[str, StringMatch], doc("Headers that must not match.")] = field(
        default_factory=dict
    )
    query_params: dict[str, StringMatch] = field(default_factory=dict)
    ignore_uri_case: bool | None = None
    port: Count | None = None
    source_labels: Annotated[dict[str, str], doc("Labels of the caller's pod.")] = field(default_factory=dict)
    source_namespace: str | None = None
    gateways: Annotated[Strings, doc("Gateways that the match is for; `mesh` for pods.")] = ()
    stat_prefix: str | None = None


class Redirect(MeshStruct, frozen=True):
    """An answer that sends the caller elsewhere."""

    uri: str | None = None
    prefix_rewrite: str | None = None
    authority: str | None = None
    port: Count | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str | None = None
    redirect_code: Count | None = None


class HttpBody(MeshStruct, frozen=True):
    """The body of an answer; exactly one field."""

    string: str | None = None
    bytes: Bytes | None = None


class DirectResponse(MeshStruct, frozen=True):
    """An answer that the proxy gives itself."""

    status: Annotated[int, Meta(ge=0, le=4294967295)]
    body: HttpBody | None = None


class Delegate(MeshStruct, frozen=True):
    """A VirtualService that takes over."""

    name: str | None = None
    namespace: str | None = None


class RegexRewrite(MeshStruct, frozen=True):
    """Replaces what a pattern finds."""

    match: str | None = None
    rewrite: str | None = None


class Rewrite(MeshStruct, frozen=True):
    """Changes of a request before it goes on."""

    uri: str | None = None
    authority: str | None = None
    uri_regex_rewrite: RegexRewrite | None = None


class Retries(MeshStruct, frozen=True):
    """When and how often a request is tried again."""

    attempts: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    per_try_timeout: Duration | None = None
    retry_on: Annotated[str | None, doc("Envoy's retry conditions, divided by commas.")] = None
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class Percentage(MeshStruct, frozen=True):
    """0 to 100, with fractions."""

    value: Annotated[float, Meta(ge=0, le=100)] | None = None


class Delay(MeshStruct, frozen=True):
    """Requests that wait."""

    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percentage | None = None
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None


class Abort(MeshStruct, frozen=True):
    """Requests that fail."""

    http_status: Annotated[int, Meta(ge=200, le=599)] | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percentage | None = None


class Fault(MeshStruct, frozen=True):
    """Failures made on purpose, to see what callers do."""

    delay: Delay | None = None
    abort: Abort | None = None


class Mirror(MeshStruct, frozen=True):
    """A destination that gets a copy."""

    destination: Destination
    percentage: Percentage | None = None


class Cors(MeshStruct, frozen=True):
    """Which other origins' pages may call."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: Strings = ()
    allow_methods: Strings = ()
    allow_headers: Strings = ()
    expose_headers: Strings = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] | None = None


class HttpRoute(MeshStruct, frozen=True):
    """What becomes of requests that match."""

    name: Annotated[str | None, doc("Shown in access logs.")] = None
    match: Annotated[tuple[HttpMatch, ...], doc("One must match; none at all matches every request.")] = ()
    route: Annotated[tuple[HttpRouteDestination, ...], doc("Where requests go.")] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    timeout: Annotated[Duration | None, doc("For the whole request, retries included.")] = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirror: Destination | None = None
    mirrors: tuple[Mirror, ...] = ()
    mirror_percent: Count | None = None
    mirror_percent_old: Annotated[Count | None, doc("Old name of mirrorPercent.")] = field(
        name="mirror_percent", default=None
    )
    mirror_percentage: Percentage | None = None
    cors_policy: Cors | None = None
    headers: Headers | None = None


class L4Match(MeshStruct, frozen=True):
    """Every field that is set must match."""

    destination_subnets: Strings = ()
    port: Count | None = None
    source_labels: dict[str, str] = field(default_factory=dict)
    source_namespace: str | None = None
    source_subnet: str | None = None
    gateways: Strings = ()


class TlsMatch(MeshStruct, frozen=True):
    """Every field that is set must match."""

    sni_hosts: Annotated[Strings, doc("Names that the caller's TLS handshake asks for.")]
    destination_subnets: Strings = ()
    port: Count | None = None
    source_labels: dict[str, str] = field(default_factory=dict)
    source_namespace: str | None = None
    gateways: Strings = ()


class TcpRoute(MeshStruct, frozen=True):
    """Where connections go."""

    match: tuple[L4Match, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TlsRoute(MeshStruct, frozen=True):
    """Where TLS connections that are not opened go."""

    match: tuple[TlsMatch, ...]
    route: tuple[RouteDestination, ...] = ()


class VirtualServiceSpec(MeshStruct, frozen=True):
    """Routes for some host names."""

    hosts: Annotated[Strings, doc("Host names that the routes are for.")] = ()
    gateways: Annotated[Strings, doc("Gateways that the routes are for; `mesh` (the default) for pods.")] = ()
    http: Annotated[tuple[HttpRoute, ...], doc("Routes of requests; the first that matches is taken.")] = ()
    tls: Annotated[tuple[TlsRoute, ...], doc("Routes of TLS connections that are passed on unopened.")] = ()
    tcp: Annotated[tuple[TcpRoute, ...], doc("Routes of other connections.")] = ()
    export_to: Annotated[Strings, doc("Namespaces that see the routes; `.` is its own, `*` all.")] = ()


class VirtualService(MeshStruct, frozen=True):
    """Where calls to a host go, by path, header, method, query, port or caller."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[VirtualServiceSpec, doc("Hosts and routes.")] = VirtualServiceSpec()
    status: dict[str, Any] | None = None
