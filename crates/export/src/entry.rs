//! Entries in Envoy's words (`envoy.data.accesslog.v3`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::data::accesslog::v3 as data;
use envoy_types::pb::google::protobuf as pb;
use hauberk_telemetry::entry::{Entry, Http, Tls};
use hauberk_telemetry::flags::{Flag, Flags};

/// What Envoy's RBAC filter writes about rules that only report.
const AUDITED: &str = "audit_shadow_effective_policy_id";

pub fn tcp(entry: &Entry) -> data::TcpAccessLogEntry {
    data::TcpAccessLogEntry {
        common_properties: Some(common(entry, "envoy.filters.network.rbac")),
        connection_properties: Some(data::ConnectionProperties {
            received_bytes: entry.bytes_in,
            sent_bytes: entry.bytes_out,
        }),
    }
}

pub fn http(entry: &Entry) -> data::HttpAccessLogEntry {
    use data::http_access_log_entry::HttpVersion as V;
    let mut common = common(entry, "envoy.filters.http.rbac");
    let told = entry.http.as_ref();
    common.route_name = told.map_or_else(String::new, |http| http.route.to_string());
    let version = match told.map(|http| http.protocol) {
        Some("HTTP/1.0") => V::Http10,
        Some("HTTP/1.1") => V::Http11,
        Some("HTTP/2") => V::Http2,
        _ => V::ProtocolUnspecified,
    };
    data::HttpAccessLogEntry {
        common_properties: Some(common),
        protocol_version: version as i32,
        request: told.map(|http| request(entry, http)),
        response: told.map(|http| data::HttpResponseProperties {
            response_code: Some(pb::UInt32Value {
                value: u32::from(http.status),
            }),
            response_body_bytes: entry.bytes_out,
            response_code_details: http.details.clone(),
            ..Default::default()
        }),
    }
}

fn request(entry: &Entry, http: &Http) -> data::HttpRequestProperties {
    data::HttpRequestProperties {
        request_method: core::RequestMethod::from_str_name(&http.method)
            .unwrap_or(core::RequestMethod::MethodUnspecified) as i32,
        scheme: http.scheme.into(),
        authority: http.authority.clone(),
        path: http.path.clone(),
        user_agent: http.user_agent.clone(),
        referer: http.referer.clone(),
        forwarded_for: http.forwarded_for.clone(),
        request_id: http.request_id.clone(),
        request_body_bytes: entry.bytes_in,
        ..Default::default()
    }
}

fn common(entry: &Entry, filter: &str) -> data::AccessLogCommon {
    data::AccessLogCommon {
        downstream_remote_address: Some(address(entry.remote)),
        downstream_direct_remote_address: Some(address(entry.remote)),
        downstream_local_address: Some(address(entry.local)),
        tls_properties: entry.tls.as_ref().map(tls),
        start_time: Some(timestamp(entry.started)),
        duration: Some(duration(entry.duration)),
        time_to_last_downstream_tx_byte: Some(duration(entry.duration)),
        upstream_remote_address: entry.upstream.map(address),
        upstream_cluster: entry
            .cluster
            .as_ref()
            .map_or_else(String::new, |name| name.to_string()),
        response_flags: flags(entry.flags),
        metadata: entry.audit.as_ref().map(|policy| core::Metadata {
            filter_metadata: HashMap::from([(
                filter.to_owned(),
                pb::Struct {
                    fields: HashMap::from([(AUDITED.to_owned(), text(policy))]),
                },
            )]),
            ..Default::default()
        }),
        access_log_type: if entry.http.is_some() {
            data::AccessLogType::DownstreamEnd
        } else {
            data::AccessLogType::TcpConnectionEnd
        } as i32,
        ..Default::default()
    }
}

fn text(value: &str) -> pb::Value {
    pb::Value {
        kind: Some(pb::value::Kind::StringValue(value.to_owned())),
    }
}

fn tls(told: &Tls) -> data::TlsProperties {
    use data::tls_properties::TlsVersion as V;
    use data::tls_properties::certificate_properties::SubjectAltName;
    use data::tls_properties::certificate_properties::subject_alt_name::San;
    let certificate = |uris: &[String]| {
        (!uris.is_empty()).then(|| data::tls_properties::CertificateProperties {
            subject_alt_name: uris
                .iter()
                .map(|uri| SubjectAltName {
                    san: Some(San::Uri(uri.clone())),
                })
                .collect(),
            ..Default::default()
        })
    };
    let version = match told.version {
        "TLSv1.3" => V::TlSv13,
        "TLSv1.2" => V::TlSv12,
        _ => V::VersionUnspecified,
    };
    data::TlsProperties {
        tls_version: version as i32,
        tls_sni_hostname: told.server_name.clone(),
        local_certificate_properties: certificate(&told.own),
        peer_certificate_properties: certificate(&told.peer),
        ..Default::default()
    }
}

/// `None`: there is nothing to be said.
fn flags(flags: Flags) -> Option<data::ResponseFlags> {
    let mut told = data::ResponseFlags::default();
    for flag in flags.iter() {
        tell(&mut told, flag);
    }
    (!flags.is_empty()).then_some(told)
}

fn tell(told: &mut data::ResponseFlags, flag: Flag) {
    match flag {
        Flag::None => {}
        Flag::NoRoute => told.no_route_found = true,
        Flag::NoCluster => told.no_cluster_found = true,
        Flag::NoHealthyUpstream => told.no_healthy_upstream = true,
        Flag::UpstreamConnectionFailure => told.upstream_connection_failure = true,
        Flag::UpstreamOverflow => told.upstream_overflow = true,
        Flag::UpstreamRequestTimeout => told.upstream_request_timeout = true,
        Flag::UpstreamRetryLimitExceeded => told.upstream_retry_limit_exceeded = true,
        Flag::UpstreamConnectionTermination => told.upstream_connection_termination = true,
        Flag::UpstreamRemoteReset => told.upstream_remote_reset = true,
        Flag::DownstreamConnectionTermination => told.downstream_connection_termination = true,
        Flag::DelayInjected => told.delay_injected = true,
        Flag::FaultInjected => told.fault_injected = true,
        Flag::RateLimited => told.rate_limited = true,
        Flag::UnauthorizedExternalService => {
            use data::response_flags::Unauthorized;
            use data::response_flags::unauthorized::Reason;
            told.unauthorized_details = Some(Unauthorized {
                reason: Reason::ExternalService as i32,
            });
        }
        Flag::DownstreamProtocolError => told.downstream_protocol_error = true,
        Flag::UpstreamProtocolError => told.upstream_protocol_error = true,
        Flag::StreamIdleTimeout => told.stream_idle_timeout = true,
        Flag::DurationTimeout => told.duration_timeout = true,
    }
}

fn address(told: SocketAddr) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: told.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(told.port()))),
            ..Default::default()
        })),
    }
}

fn timestamp(told: SystemTime) -> pb::Timestamp {
    let since = told.duration_since(UNIX_EPOCH).unwrap_or_default();
    pb::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn duration(told: Duration) -> pb::Duration {
    pb::Duration {
        seconds: i64::try_from(told.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(told.subsec_nanos()).unwrap_or_default(),
    }
}
