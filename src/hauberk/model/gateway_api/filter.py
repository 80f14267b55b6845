"""What the Gateway API's routes do to requests on their way."""

from typing import Annotated, Literal

from msgspec import Meta

from hauberk.model.gateway_api.reference import (
    BackendReference,
    HeaderName,
    HeaderValue,
    Hostname,
    LocalReference,
)
from hauberk.model.struct import MeshStruct, Port, doc, merged_by

HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


class Header(MeshStruct, frozen=True):
    """A header and its value."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(MeshStruct, frozen=True):
    """Changes of headers."""

    set: Annotated[tuple[Header, ...], merged_by("name")] = ()
    add: Annotated[tuple[Header, ...], merged_by("name")] = ()
    remove: tuple[str, ...] = ()


class Fraction(MeshStruct, frozen=True):
    """A share of requests."""

    numerator: Annotated[int, Meta(ge=0)]
    denominator: Annotated[int, Meta(ge=1)] | None = None


class RequestMirror(MeshStruct, frozen=True):
    """A service that gets a copy."""

    backend_ref: BackendReference
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class PathModifier(MeshStruct, frozen=True):
    """A change of the path."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, Meta(max_length=1024)] | None = None
    replace_prefix_match: Annotated[str, Meta(max_length=1024)] | None = None


class RequestRedirect(MeshStruct, frozen=True):
    """An answer that sends the caller elsewhere."""

    scheme: Literal["http", "https"] | None = None
    hostname: Hostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] | None = None


class UrlRewrite(MeshStruct, frozen=True):
    """Changes of host and path before the request goes on."""

    hostname: Hostname | None = None
    path: PathModifier | None = None


class Cors(MeshStruct, frozen=True):
    """Which other origins' pages may call."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool | None = None
    allow_methods: tuple[
        Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"], ...
    ] = ()
    allow_headers: tuple[HeaderName, ...] = ()
    expose_headers: tuple[HeaderName, ...] = ()
    max_age: Annotated[int, Meta(ge=1)] | None = None


class HttpExternalAuth(MeshStruct, frozen=True):
    """An authorizer that speaks HTTP."""

    path: Annotated[str, Meta(max_length=1024)] | None = None
    allowed_headers: tuple[str, ...] = ()
    allowed_response_headers: tuple[str, ...] = ()


class GrpcExternalAuth(MeshStruct, frozen=True):
    """An authorizer that speaks gRPC."""

    allowed_headers: tuple[str, ...] = ()


class ForwardBody(MeshStruct, frozen=True):
    """How much of the body the authorizer gets."""

    max_size: Annotated[int, Meta(ge=0)] | None = None


class ExternalAuth(MeshStruct, frozen=True):
    """A service that is asked first."""

    protocol: Literal["HTTP", "GRPC"]
    backend_ref: BackendReference
    http: HttpExternalAuth | None = None
    grpc: GrpcExternalAuth | None = None
    forward_body: ForwardBody | None = None


class HttpFilter(MeshStruct, frozen=True):
    """One thing to do to a request; `type` says which field is set."""

    type: Annotated[
        Literal[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "ExtensionRef",
            "CORS",
            "ExternalAuth",
        ],
        doc("Which field is set."),
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    external_auth: ExternalAuth | None = None
    extension_ref: LocalReference | None = None


class GrpcFilter(MeshStruct, frozen=True):
    """One thing to do to a call; `type` says which field is set."""

    type: Annotated[
        Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"],
        doc("Which field is set."),
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalReference | None = None
