//! The HTTP connection manager (`envoy.extensions.filters.network.http_connection_manager.v3`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::access_log::AccessLog;
use crate::external_authorization::ExternalAuthorization;
use crate::external_processor::ExternalProcessor;
use crate::fault::{Fault, Fraction};
use crate::jwt::JwtAuthentication;
use crate::rate_limit::{GlobalRateLimit, LocalRateLimit};
use crate::rbac::RbacFilter;
use crate::route::RouteConfiguration;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct ConnectionManager {
    pub stat_prefix: String,
    pub codec: Codec,
    pub routes: RouteSource,
    /// In order; the last one is the router.
    pub filters: Vec<HttpFilter>,
    pub access_logs: Vec<AccessLog>,
    pub tracing: Option<Tracing>,
    pub server_name: String,
    pub server_header: ServerHeader,
    /// Without a byte either way on a stream; `None`: no limit. Envoy's default is 5 min.
    pub stream_idle_timeout: Option<Duration>,
    /// For the whole request to arrive; `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// For the request's headers to arrive; `None`: no limit.
    pub request_headers_timeout: Option<Duration>,
    /// Without a stream on the connection; `None`: no limit. Envoy's default is 1 h.
    pub idle_timeout: Option<Duration>,
    pub max_connection_duration: Option<Duration>,
    pub max_requests_per_connection: Option<u32>,
    pub max_request_headers_kb: u32,
    pub max_headers_count: u32,
    /// HTTP/2 streams at one time on a connection; `None`: the codec's default.
    pub max_concurrent_streams: Option<u32>,
    /// Protocols that `upgrade:` may ask for, such as `websocket` and `CONNECT`; case is ignored.
    pub upgrades: Vec<Upgrade>,
    pub forwarding: Forwarding,
    pub request_id: RequestId,
    pub path: PathNormalization,
    /// Cut the port from the authority before routing.
    pub strip_port: StripPort,
    pub accept_http_10: bool,
    /// Host used for an HTTP/1.0 request that has none.
    pub default_host_for_http_10: Option<String>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// By the HTTP/2 preface or ALPN.
    Auto,
    Http1,
    Http2,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RouteSource {
    /// The name of a route configuration that comes over RDS.
    Discovered(Arc<str>),
    Inline(Arc<RouteConfiguration>),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct HttpFilter {
    /// Routes override a filter's settings by this name.
    pub name: Arc<str>,
    pub kind: HttpFilterKind,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HttpFilterKind {
    Jwt(Arc<JwtAuthentication>),
    Rbac(RbacFilter),
    ExternalAuthorization(Arc<ExternalAuthorization>),
    ExternalProcessor(Arc<ExternalProcessor>),
    LocalRateLimit(Arc<LocalRateLimit>),
    GlobalRateLimit(Arc<GlobalRateLimit>),
    Fault(Fault),
    /// Acts only where a route or virtual host has a policy.
    Cors,
    Router {
        suppress_envoy_headers: bool,
    },
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum ServerHeader {
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Tracing {
    pub client_sampling: Fraction,
    pub random_sampling: Fraction,
    pub overall_sampling: Fraction,
    /// Where spans go over OTLP/gRPC; `None`: contexts are passed on, no span is exported.
    pub exporter: Option<Arc<SpanExporter>>,
    pub custom_tags: Vec<CustomTag>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct SpanExporter {
    pub cluster: Arc<str>,
    pub service_name: String,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct CustomTag {
    pub tag: String,
    pub value: CustomTagValue,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum CustomTagValue {
    Literal(String),
    RequestHeader { name: String, default: String },
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct Upgrade {
    pub kind: String,
    pub enabled: bool,
}

/// Who the caller is taken to be.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct Forwarding {
    /// The connection's peer is the caller; `x-forwarded-for` gets its address.
    pub use_remote_address: bool,
    pub skip_xff_append: bool,
    /// Proxies in front of us whose `x-forwarded-for` is trusted.
    pub trusted_hops: u32,
    pub client_certificate: ClientCertificateHeader,
    /// Parts of `x-forwarded-client-cert` that are set.
    pub client_certificate_details: ClientCertificateDetails,
}

/// `forward_client_cert_details`: what becomes of `x-forwarded-client-cert`.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateHeader {
    #[default]
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientCertificateDetails {
    pub subject: bool,
    pub certificate: bool,
    pub chain: bool,
    pub dns: bool,
    pub uri: bool,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub generate: bool,
    /// Keep the `x-request-id` of a caller from outside.
    pub preserve_external: bool,
    pub always_in_response: bool,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PathNormalization {
    /// RFC 3986: remove dot segments, decode unreserved characters.
    pub normalize: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
}

/// What to do with `%2F` and `%5C` in a path.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum EscapedSlashes {
    #[default]
    Keep,
    Reject,
    UnescapeAndRedirect,
    UnescapeAndForward,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum StripPort {
    #[default]
    Keep,
    Any,
    /// Only if it is the listener's own port.
    Matching,
}
