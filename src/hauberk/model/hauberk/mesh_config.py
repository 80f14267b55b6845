"""`MeshConfig`: what holds for the whole mesh, in the words of Istio's configuration of the same name."""

from typing import Annotated, Any

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import Duration, MeshStruct, Port, doc


class LogFormat(MeshStruct, frozen=True):
    """How a line looks. Values hold Envoy's command operators: `%RESPONSE_CODE%`, `%REQ(:PATH)%`, …"""

    text: Annotated[str | None, doc("A line as it stands.")] = None
    labels: Annotated[dict[str, str], doc("A JSON object: keys, and what stands for them.")] = field(
        default_factory=dict
    )


class FileAccessLog(MeshStruct, frozen=True):
    """Lines in the proxy's access log, for HTTP requests and TCP connections."""

    path: Annotated[str, doc("Our proxy writes every path to its one access log.")] = "/dev/stdout"
    log_format: Annotated[LogFormat | None, doc("JSON with the usual fields if left out.")] = None


class AccessLogService(MeshStruct, frozen=True):
    """A collector that takes entries over gRPC (`envoy.service.accesslog.v3`)."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port that carries gRPC.")]
    log_name: Annotated[str | None, doc("What the collector calls this log.")] = None


class OpenTelemetry(MeshStruct, frozen=True):
    """A collector that takes spans by OTLP over gRPC."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port that carries gRPC.")]


class RequestBodyInCheck(MeshStruct, frozen=True):
    """How much of a request's body the authorizer sees. The request waits for that much of it."""

    max_request_bytes: Annotated[int, Meta(ge=1, le=1 << 20), doc("Bytes; a larger body is answered 413.")]
    allow_partial_message: Annotated[
        bool | None, doc("Show the first bytes of a larger body instead of answering 413.")
    ] = None
    pack_as_bytes: Annotated[bool | None, doc("Over gRPC: as bytes, not as UTF-8 text.")] = None


class ExternalAuthorizationGrpc(MeshStruct, frozen=True):
    """An authorizer that is asked over gRPC (`envoy.service.auth.v3.Authorization/Check`)."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port named or typed as gRPC or HTTP/2.")]
    timeout: Annotated[Duration | None, doc("For its answer; 600s if left out.")] = None
    fail_open: Annotated[
        bool | None, doc("Without an answer let the request pass instead of refusing it.")
    ] = None
    clear_route_cache: Annotated[bool | None, doc("Route by the headers that it changed.")] = None
    status_on_error: Annotated[str | None, doc("HTTP status without an answer; 403 if left out.")] = None
    include_request_body_in_check: RequestBodyInCheck | None = None


class ExternalAuthorizationHttp(MeshStruct, frozen=True):
    """An authorizer that is asked by HTTP: it gets method, path and host, and allows with status 200."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port named or typed as HTTP.")]
    timeout: Annotated[Duration | None, doc("For its answer; 600s if left out.")] = None
    path_prefix: Annotated[str | None, doc("Put before the request's path.")] = None
    fail_open: Annotated[
        bool | None, doc("Without an answer let the request pass instead of refusing it.")
    ] = None
    clear_route_cache: Annotated[bool | None, doc("Route by the headers that it changed.")] = None
    status_on_error: Annotated[str | None, doc("HTTP status without an answer; 403 if left out.")] = None
    include_headers_in_check: Annotated[
        tuple[str, ...], doc("Old name of includeRequestHeadersInCheck.")
    ] = ()
    include_request_headers_in_check: Annotated[
        tuple[str, ...],
        doc("Headers that it gets beside `Authorization`; `*` at one end, or alone for all."),
    ] = ()
    include_additional_headers_in_check: Annotated[
        dict[str, str], doc("Headers that it gets in any case, over the caller's.")
    ] = field(default_factory=dict)
    include_request_body_in_check: RequestBodyInCheck | None = None
    headers_to_upstream_on_allow: Annotated[
        tuple[str, ...], doc("Headers of its answer that the program gets.")
    ] = ()
    headers_to_downstream_on_deny: Annotated[
        tuple[str, ...], doc("Headers of its answer that a refused caller gets; all if left out.")
    ] = ()
    headers_to_downstream_on_allow: Annotated[
        tuple[str, ...], doc("Headers of its answer that an allowed caller gets.")
    ] = ()


class ExtensionProvider(MeshStruct, frozen=True):
    """Where telemetry goes, under a name that a Telemetry can use, or an authorizer, under one that a CUSTOM
    AuthorizationPolicy can name. Exactly one of the others is set."""

    name: Annotated[str, Meta(min_length=1)]
    envoy_file_access_log: FileAccessLog | None = None
    envoy_http_als: Annotated[AccessLogService | None, doc("Entries of HTTP requests.")] = None
    envoy_tcp_als: Annotated[AccessLogService | None, doc("Entries of TCP connections.")] = None
    opentelemetry: Annotated[OpenTelemetry | None, doc("Spans.")] = None
    envoy_ext_authz_grpc: Annotated[ExternalAuthorizationGrpc | None, doc("An authorizer over gRPC.")] = None
    envoy_ext_authz_http: Annotated[ExternalAuthorizationHttp | None, doc("An authorizer over HTTP.")] = None


class DefaultProviders(MeshStruct, frozen=True):
    """Providers by name, used where no Telemetry says otherwise."""

    access_logging: Annotated[
        tuple[str, ...] | None,
        doc("`envoy`, the access log of each proxy, if left out; an empty list: none."),
    ] = None
    tracing: Annotated[tuple[str, ...] | None, doc("None if left out; only the first is used.")] = None


class MeshConfigSpec(MeshStruct, frozen=True):
    """What holds for the whole mesh."""

    extension_providers: Annotated[
        tuple[ExtensionProvider, ...], doc("Beside `envoy`, which is always there.")
    ] = ()
    default_providers: DefaultProviders | None = None


class MeshConfig(MeshStruct, frozen=True):
    """Settings of the mesh. There is one, named `default`."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[MeshConfigSpec, doc("The settings.")] = MeshConfigSpec()
    status: dict[str, Any] | None = None
