//! Envoy's command operators, such as `%RESPONSE_CODE%`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_telemetry::timestamp::Timestamp;
use http::HeaderValue;

use super::protocol;
use crate::ended::{Ended, started};

/// Where the RBAC filter says which AUDIT policy matched: `DYNAMIC_METADATA(envoy.filters.http.rbac:…)`.
const AUDITED: &str = ".rbac:audit_shadow_effective_policy_id)";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    StartTime,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    GrpcStatus,
    BytesReceived,
    BytesSent,
    Duration,
    RouteName,
    UpstreamAddress,
    UpstreamCluster,
    UpstreamPeer,
    CallerAddress,
    CallerAddressWithoutPort,
    LocalAddress,
    CallerPeer,
    LocalIdentity,
    TlsVersion,
    ServerName,
    TraceId,
    AuditedBy,
    /// `REQ(A?B)`: B where there is no A.
    Request(Vec<RequestHeader>),
    /// Not known here.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestHeader {
    Method,
    Path,
    Authority,
    RequestId,
    TraceParent,
    UserAgent,
    /// One that is kept for the log's sake; in lower case.
    Other(String),
}

/// What an operator stands for.
pub enum Found<'a> {
    /// The operator is not known here, or has nothing to say of this call.
    Nothing,
    Number(u64),
    Text(Cow<'a, str>),
    Name(Arc<str>),
    Address(SocketAddr),
    Time(Timestamp),
}

impl<'a> Found<'a> {
    fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Nothing, |text| Self::Text(text.into()))
    }

    fn owned(value: Option<String>) -> Self {
        value.map_or(Self::Nothing, |text| Self::Text(text.into()))
    }

    fn name(value: Option<Arc<str>>) -> Self {
        value.map_or(Self::Nothing, Self::Name)
    }
}

impl Operator {
    /// `text` is what stands between the percent signs.
    pub fn parse(text: &str) -> Self {
        let name = text.split(['(', ':']).next().unwrap_or_default();
        match name {
            "START_TIME" => Self::StartTime,
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => Self::GrpcStatus,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "DURATION" => Self::Duration,
            "ROUTE_NAME" => Self::RouteName,
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Self::UpstreamAddress,
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Self::UpstreamCluster,
            "UPSTREAM_PEER_URI_SAN" => Self::UpstreamPeer,
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Self::CallerAddress,
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Self::CallerAddressWithoutPort,
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::LocalAddress,
            "DOWNSTREAM_PEER_URI_SAN" => Self::CallerPeer,
            "DOWNSTREAM_LOCAL_URI_SAN" => Self::LocalIdentity,
            "DOWNSTREAM_TLS_VERSION" => Self::TlsVersion,
            "REQUESTED_SERVER_NAME" => Self::ServerName,
            "TRACE_ID" => Self::TraceId,
            "DYNAMIC_METADATA" if text.ends_with(AUDITED) => Self::AuditedBy,
            "REQ" => {
                let names = text
                    .strip_prefix("REQ(")
                    .and_then(|rest| rest.split(')').next())
                    .unwrap_or_default();
                Self::Request(names.split('?').map(RequestHeader::parse).collect())
            }
            _ => Self::Unknown,
        }
    }

    /// It asks for a header that is kept for the log's sake alone.
    pub fn wants_headers(&self) -> bool {
        let other = |header: &RequestHeader| matches!(header, RequestHeader::Other(_));
        matches!(self, Self::Request(headers) if headers.iter().any(other))
    }

    pub fn find<'a>(&self, ended: &Ended<'a>) -> Found<'a> {
        let connection = ended.connection;
        let facts = &connection.facts;
        let call = ended.call;
        match self {
            Self::StartTime => Found::Time(Timestamp(started(ended.duration()))),
            Self::Protocol => Found::text(call.map(|call| protocol(call.version))),
            Self::ResponseCode => Found::Number(call.map_or(0, |call| call.status.into())),
            Self::ResponseCodeDetails => Found::owned(ended.details()),
            Self::ResponseFlags => Found::Text(ended.flags().text()),
            Self::GrpcStatus => call
                .and_then(|call| call.grpc_status)
                .map_or(Found::Nothing, |status| Found::Number(status.into())),
            Self::BytesReceived => Found::Number(ended.bytes_in),
            Self::BytesSent => Found::Number(ended.bytes_out),
            Self::Duration => {
                Found::Number(u64::try_from(ended.duration().as_millis()).unwrap_or(u64::MAX))
            }
            Self::RouteName => {
                let name = call.map(|call| &*call.route);
                Found::text(name.filter(|name| !name.is_empty()))
            }
            Self::UpstreamAddress => ended.upstream().map_or(Found::Nothing, Found::Address),
            Self::UpstreamCluster => Found::name(ended.cluster()),
            Self::UpstreamPeer => {
                let session = ended.upstream_session();
                Found::owned(session.and_then(|session| session.peer_id().map(str::to_owned)))
            }
            Self::CallerAddress => Found::Address(facts.source),
            Self::CallerAddressWithoutPort => Found::owned(Some(facts.source.ip().to_string())),
            Self::LocalAddress => Found::Address(facts.destination),
            Self::CallerPeer => Found::text(connection.peer_id()),
            Self::LocalIdentity => {
                let session = connection.session.as_ref();
                Found::text(session.and_then(|session| session.own.spiffe_id()))
            }
            Self::TlsVersion => {
                Found::text(connection.session.as_ref().map(|session| session.version))
            }
            Self::ServerName => Found::text(facts.server_name.as_deref()),
            Self::TraceId => Found::text(call.and_then(|call| call.trace_id())),
            Self::AuditedBy => Found::name(ended.audited()),
            Self::Request(headers) => {
                Found::text(headers.iter().find_map(|header| header.find(ended)))
            }
            Self::Unknown => Found::Nothing,
        }
    }
}

impl RequestHeader {
    fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" | "x-envoy-original-path" => Self::Path,
            ":authority" => Self::Authority,
            "x-request-id" => Self::RequestId,
            "traceparent" => Self::TraceParent,
            "user-agent" => Self::UserAgent,
            name => Self::Other(name.to_owned()),
        }
    }

    fn find<'a>(&self, ended: &Ended<'a>) -> Option<&'a str> {
        let call = ended.call?;
        let header = |value: Option<&'a HeaderValue>| value?.to_str().ok();
        match self {
            Self::Method => Some(call.method.as_str()),
            Self::Path => Some(call.uri.path_and_query()?.as_str()),
            Self::Authority => header(call.authority.as_ref()),
            Self::RequestId => header(call.request_id.as_ref()),
            Self::TraceParent => header(call.traceparent.as_ref()),
            Self::UserAgent => header(call.user_agent.as_ref()),
            Self::Other(name) => header(call.headers.as_ref()?.get(name.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_known_with_what_stands_behind_them() {
        assert_eq!(Operator::parse("RESPONSE_CODE"), Operator::ResponseCode);
        assert_eq!(Operator::parse("START_TIME(%s)"), Operator::StartTime);
        let path = Operator::parse("REQ(X-ENVOY-ORIGINAL-PATH?:PATH):256");
        let expected = vec![RequestHeader::Path, RequestHeader::Path];
        assert_eq!(path, Operator::Request(expected));
        assert_eq!(Operator::parse("NO_SUCH_THING"), Operator::Unknown);
    }

    #[test]
    fn headers_are_kept_only_for_a_log_that_asks_for_them() {
        assert!(!Operator::parse("REQ(USER-AGENT)").wants_headers());
        assert!(Operator::parse("REQ(:PATH?Referer)").wants_headers());
        assert!(!Operator::parse("RESP(X)").wants_headers());
    }
}
