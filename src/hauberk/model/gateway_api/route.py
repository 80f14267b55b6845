"""The Gateway API's routes: HTTPRoute, GRPCRoute, TLSRoute and TCPRoute."""

from typing import Annotated, Literal

from msgspec import Meta

from hauberk.model.gateway_api.filter import GrpcFilter, HttpFilter, HttpMethod
from hauberk.model.gateway_api.reference import (
    DefaultScope,
    Group,
    HeaderName,
    HeaderValue,
    Hostname,
    KindName,
    Name,
    Namespace,
    ParentReference,
    RouteStatus,
    Weight,
    WeightedBackendReference,
)
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, Port, doc, merged_by


class PathMatch(MeshStruct, frozen=True):
    """How the path is compared."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] | None = None
    value: Annotated[str, Meta(max_length=1024)] | None = None


class HeaderMatch(MeshStruct, frozen=True):
    """How a header is compared."""

    name: HeaderName
    value: HeaderValue
    type: Literal["Exact", "RegularExpression"] | None = None


class QueryMatch(MeshStruct, frozen=True):
    """How a query parameter is compared."""

    name: HeaderName
    value: Annotated[str, Meta(min_length=1, max_length=1024)]
    type: Literal["Exact", "RegularExpression"] | None = None


class HttpMatch(MeshStruct, frozen=True):
    """Every field that is set must match."""

    path: Annotated[PathMatch | None, doc("The prefix `/` if left out.")] = None
    headers: Annotated[tuple[HeaderMatch, ...], merged_by("name")] = ()
    query_params: Annotated[tuple[QueryMatch, ...], merged_by("name")] = ()
    method: HttpMethod | None = None


class CookieSession(MeshStruct, frozen=True):
    """The cookie of a session."""

    name: HeaderName | None = None
    lifetime_type: Literal["Permanent", "Session"] | None = None
    path: Annotated[str, Meta(max_length=1024)] | None = None


class HeaderSession(MeshStruct, frozen=True):
    """The header of a session."""

    name: HeaderName


class SessionPersistence(MeshStruct, frozen=True):
    """Whether a caller keeps its endpoint."""

    type: Literal["Cookie", "Header"] | None = None
    absolute_timeout: Duration | None = None
    cookie: CookieSession | None = None
    header: HeaderSession | None = None


class HttpTimeouts(MeshStruct, frozen=True):
    """How long a request may take."""

    request: Annotated[Duration | None, doc("The whole request, retries included.")] = None
    backend_request: Annotated[Duration | None, doc("One try.")] = None


class HttpRetry(MeshStruct, frozen=True):
    """When a request is tried again."""

    codes: tuple[Annotated[int, Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, Meta(ge=1)] | None = None
    backoff: Duration | None = None


class HttpBackend(MeshStruct, frozen=True):
    """A service, its share of the requests and what is done to them."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Annotated[Namespace | None, doc("Another namespace needs a ReferenceGrant there.")] = None
    port: Port | None = None
    weight: Annotated[Weight | None, doc("1 if left out.")] = None
    filters: tuple[HttpFilter, ...] = ()


class HttpRule(MeshStruct, frozen=True):
    """What becomes of requests that match."""

    name: Name | None = None
    matches: Annotated[tuple[HttpMatch, ...], doc("One must match.")] = ()
    filters: Annotated[tuple[HttpFilter, ...], doc("What is done to the requests.")] = ()
    backend_refs: Annotated[tuple[HttpBackend, ...], doc("Where they go.")] = ()
    timeouts: HttpTimeouts | None = None
    retry: HttpRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(MeshStruct, frozen=True):
    """Hosts and rules of an HTTPRoute."""

    parent_refs: Annotated[
        tuple[ParentReference, ...], doc("Gateways or services that it is attached to.")
    ] = ()
    hostnames: Annotated[tuple[Hostname, ...], doc("Hosts that it is for.")] = ()
    rules: Annotated[tuple[HttpRule, ...], doc("The most specific match wins.")] = ()
    use_default_gateways: DefaultScope | None = None


class HTTPRoute(MeshStruct, frozen=True):
    """Where HTTP requests go, by host, path, header, method and query."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[HTTPRouteSpec, doc("Parents, hosts and rules.")] = HTTPRouteSpec()
    status: RouteStatus | None = None


class GrpcMethodMatch(MeshStruct, frozen=True):
    """How service and method are compared."""

    type: Literal["Exact", "RegularExpression"] | None = None
    service: Annotated[str, Meta(max_length=1024)] | None = None
    method: Annotated[str, Meta(max_length=1024)] | None = None


class GrpcMatch(MeshStruct, frozen=True):
    """Every field that is set must match."""

    method: GrpcMethodMatch | None = None
    headers: Annotated[tuple[HeaderMatch, ...], merged_by("name")] = ()


class GrpcBackend(MeshStruct, frozen=True):
    """A service, its share of the calls and what is done to them."""

    name: Name
    group: Group | None = None
    kind: KindName | None = None
    namespace: Annotated[Namespace | None, doc("Another namespace needs a ReferenceGrant there.")] = None
    port: Port | None = None
    weight: Annotated[Weight | None, doc("1 if left out.")] = None
    filters: tuple[GrpcFilter, ...] = ()


class GrpcRule(MeshStruct, frozen=True):
    """What becomes of calls that match."""

    name: Name | None = None
    matches: Annotated[tuple[GrpcMatch, ...], doc("One must match.")] = ()
    filters: tuple[GrpcFilter, ...] = ()
    backend_refs: tuple[GrpcBackend, ...] = ()
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(MeshStruct, frozen=True):
    """Hosts and rules of a GRPCRoute."""

    parent_refs: Annotated[
        tuple[ParentReference, ...], doc("Gateways or services that it is attached to.")
    ] = ()
    hostnames: Annotated[tuple[Hostname, ...], doc("Hosts that it is for.")] = ()
    rules: tuple[GrpcRule, ...] = ()
    use_default_gateways: DefaultScope | None = None


class GRPCRoute(MeshStruct, frozen=True):
    """Where gRPC calls go, by host, service, method and header."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GRPCRouteSpec, doc("Parents, hosts and rules.")] = GRPCRouteSpec()
    status: RouteStatus | None = None


class L4Rule(MeshStruct, frozen=True):
    """Where connections go."""

    backend_refs: Annotated[tuple[WeightedBackendReference, ...], Meta(min_length=1, max_length=16)]
    name: Name | None = None


class TLSRouteSpec(MeshStruct, frozen=True):
    """Names and rules of a TLSRoute."""

    rules: Annotated[tuple[L4Rule, ...], Meta(min_length=1)]
    parent_refs: Annotated[
        tuple[ParentReference, ...], doc("Gateways or services that it is attached to.")
    ] = ()
    hostnames: Annotated[tuple[Hostname, ...], doc("Names that the TLS handshake asks for.")] = ()
    use_default_gateways: DefaultScope | None = None


class TLSRoute(MeshStruct, frozen=True):
    """Where TLS connections that are passed on unopened go, by the name that they ask for."""

    spec: Annotated[TLSRouteSpec, doc("Parents, names and rules.")]
    metadata: ObjectMeta = ObjectMeta()
    status: RouteStatus | None = None


class TCPRouteSpec(MeshStruct, frozen=True):
    """Rules of a TCPRoute."""

    rules: Annotated[tuple[L4Rule, ...], Meta(min_length=1)]
    parent_refs: Annotated[
        tuple[ParentReference, ...], doc("Gateways or services that it is attached to.")
    ] = ()
    use_default_gateways: DefaultScope | None = None


class TCPRoute(MeshStruct, frozen=True):
    """Where TCP connections go."""

    spec: Annotated[TCPRouteSpec, doc("Parents and rules.")]
    metadata: ObjectMeta = ObjectMeta()
    status: RouteStatus | None = None
