//! The HTTP connection manager. What is passed over, and why, stands in `fields.rs`.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::http as filters;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use hauberk_config::connection_manager::{
    ClientCertificateDetails, ClientCertificateHeader, Codec, ConnectionManager, EscapedSlashes,
    Forwarding, HttpFilter, HttpFilterKind, PathNormalization, RequestId, RouteSource,
    ServerHeader, StripPort, Upgrade,
};

use super::access_log::access_logs;
use super::external_authorization::Selections;
use super::tracing::tracing;
use super::value::{limit, limit_or, number, on};
use super::{
    At, Decoded, external_authorization, external_processor, jwt, kind, rate_limit, rbac, required,
    route, unpack,
};
use crate::fields;

const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const EXTERNAL_AUTHORIZATION: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
const EXTERNAL_PROCESSOR: &str = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor";
const LOCAL_RATE_LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const RATE_LIMIT: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimit";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const UUID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
const STREAM_IDLE: Duration = Duration::from_secs(300);
const CONNECTION_IDLE: Duration = Duration::from_secs(3600);

pub fn connection_manager(told: &http::HttpConnectionManager) -> Decoded<ConnectionManager> {
    if told.local_reply_config.is_some() || !told.original_ip_detection_extensions.is_empty() {
        return Err("local_reply_config, original_ip_detection_extensions: not honoured".into());
    }
    refuse(told)?;
    let common = told.common_http_protocol_options.unwrap_or_default();
    let http1 = told.http_protocol_options.clone().unwrap_or_default();
    let http2 = told.http2_protocol_options.clone().unwrap_or_default();
    Ok(ConnectionManager {
        stat_prefix: told.stat_prefix.clone(),
        codec: codec(told.codec_type)?,
        routes: routes(told)?,
        filters: filters(&told.http_filters)?,
        access_logs: access_logs(&told.access_log)?,
        tracing: told
            .tracing
            .as_ref()
            .map(tracing)
            .transpose()
            .at("tracing")?,
        server_name: if told.server_name.is_empty() {
            "envoy".into()
        } else {
            told.server_name.clone()
        },
        server_header: server_header(told.server_header_transformation)?,
        stream_idle_timeout: limit_or(told.stream_idle_timeout.as_ref(), STREAM_IDLE)?,
        request_timeout: limit(told.request_timeout.as_ref())?,
        request_headers_timeout: limit(told.request_headers_timeout.as_ref())?,
        idle_timeout: limit_or(common.idle_timeout.as_ref(), CONNECTION_IDLE)?,
        max_connection_duration: limit(common.max_connection_duration.as_ref())?,
        max_requests_per_connection: number(common.max_requests_per_connection.as_ref())
            .filter(|&most| most > 0),
        max_request_headers_kb: number(told.max_request_headers_kb.as_ref()).unwrap_or(60),
        max_headers_count: number(common.max_headers_count.as_ref()).unwrap_or(100),
        max_concurrent_streams: number(http2.max_concurrent_streams.as_ref()),
        upgrades: told
            .upgrade_configs
            .iter()
            .map(|one| Upgrade {
                kind: one.upgrade_type.clone(),
                enabled: one.enabled.as_ref().is_none_or(|e| e.value),
            })
            .collect(),
        forwarding: forwarding(told)?,
        request_id: RequestId {
            generate: told
                .generate_request_id
                .as_ref()
                .is_none_or(|value| value.value),
            preserve_external: told.preserve_external_request_id,
            always_in_response: told.always_set_request_id_in_response,
        },
        path: PathNormalization {
            normalize: on(told.normalize_path.as_ref()),
            merge_slashes: told.merge_slashes,
            escaped_slashes: escaped_slashes(told.path_with_escaped_slashes_action)?,
        },
        strip_port: strip_port(told),
        accept_http_10: http1.accept_http_10,
        default_host_for_http_10: (!http1.default_host_for_http_10.is_empty())
            .then_some(http1.default_host_for_http_10),
    })
}

/// What would change who is let in or what is sent, and is not honoured.
fn refuse(told: &http::HttpConnectionManager) -> Decoded<()> {
    let common = told.common_http_protocol_options.unwrap_or_default();
    let found = [
        ("max_stream_duration", common.max_stream_duration.is_some()),
        (
            "headers_with_underscores_action",
            common.headers_with_underscores_action != 0,
        ),
        (
            "internal_address_config",
            told.internal_address_config.is_some(),
        ),
        (
            "early_header_mutation_extensions",
            !told.early_header_mutation_extensions.is_empty(),
        ),
        (
            "scheme_header_transformation",
            told.scheme_header_transformation.is_some(),
        ),
        (
            "path_normalization_options",
            told.path_normalization_options.is_some(),
        ),
        ("strip_trailing_host_dot", told.strip_trailing_host_dot),
        ("append_x_forwarded_port", told.append_x_forwarded_port),
    ];
    if let Some((field, _)) = found.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    // Request IDs are such UUIDs; who asks for another kind is told.
    let ids = told.request_id_extension.as_ref();
    match ids.and_then(|extension| extension.typed_config.as_ref()) {
        Some(any) if kind(&any.type_url) != UUID => Err(format!(
            "request_id_extension: expected {UUID}, found {:?}",
            any.type_url
        )),
        _ => Ok(()),
    }
}

fn codec(told: i32) -> Decoded<Codec> {
    use http::http_connection_manager::CodecType as C;
    match C::try_from(told) {
        Ok(C::Auto) => Ok(Codec::Auto),
        Ok(C::Http1) => Ok(Codec::Http1),
        Ok(C::Http2) => Ok(Codec::Http2),
        _ => Err(format!(
            "codec_type: expected AUTO, HTTP1 or HTTP2, found {told}"
        )),
    }
}

fn routes(told: &http::HttpConnectionManager) -> Decoded<RouteSource> {
    use http::http_connection_manager::RouteSpecifier as R;
    match required(told.route_specifier.as_ref(), "route_specifier")? {
        R::Rds(rds) => Ok(RouteSource::Discovered(
            rds.route_config_name.as_str().into(),
        )),
        R::RouteConfig(inline) => Ok(RouteSource::Inline(Arc::new(
            route::route_configuration(inline).at("route_config")?,
        ))),
        R::ScopedRoutes(_) => {
            Err("route_specifier: expected rds or route_config, found scoped_routes".into())
        }
    }
}

fn filters(told: &[http::HttpFilter]) -> Decoded<Vec<HttpFilter>> {
    let mut selections = Selections::default();
    let mut found = Vec::with_capacity(told.len());
    for filter in told {
        found.extend(
            http_filter(filter, &mut selections).at(&format!("http_filters[{}]", filter.name))?,
        );
    }
    Ok(found)
}

/// `None`: rules that only select what a later filter asks about, which takes them over, or what may be passed over.
fn http_filter(
    told: &http::HttpFilter,
    selections: &mut Selections,
) -> Decoded<Option<HttpFilter>> {
    let Some(http::http_filter::ConfigType::TypedConfig(any)) = &told.config_type else {
        return Err("expected typed_config, found another".into());
    };
    if told.disabled {
        return Err("disabled: expected false".into());
    }
    let kind = match any.type_url.rsplit('/').next().unwrap_or_default() {
        JWT => HttpFilterKind::Jwt(Arc::new(jwt::authentication(&unpack(any, JWT)?)?)),
        RBAC => {
            let told: filters::rbac::v3::Rbac = unpack(any, RBAC)?;
            let rules = rbac::http_filter(&told)?;
            if selections.take(&told.shadow_rules_stat_prefix, &rules) {
                return Ok(None);
            }
            HttpFilterKind::Rbac(rules)
        }
        EXTERNAL_AUTHORIZATION => {
            let told = unpack(any, EXTERNAL_AUTHORIZATION)?;
            let found = external_authorization::http_filter(&told, selections)?;
            HttpFilterKind::ExternalAuthorization(Arc::new(found))
        }
        EXTERNAL_PROCESSOR => HttpFilterKind::ExternalProcessor(Arc::new(
            external_processor::external_processor(&unpack(any, EXTERNAL_PROCESSOR)?)?,
        )),
        LOCAL_RATE_LIMIT => HttpFilterKind::LocalRateLimit(Arc::new(rate_limit::local(&unpack(
            any,
            LOCAL_RATE_LIMIT,
        )?)?)),
        RATE_LIMIT => HttpFilterKind::GlobalRateLimit(Arc::new(rate_limit::global(&unpack(
            any, RATE_LIMIT,
        )?)?)),
        FAULT => HttpFilterKind::Fault(route::fault(&unpack(any, FAULT)?)?),
        CORS => HttpFilterKind::Cors,
        ROUTER => {
            let router: filters::router::v3::Router = unpack(any, ROUTER)?;
            HttpFilterKind::Router {
                suppress_envoy_headers: router.suppress_envoy_headers,
            }
        }
        _ if fields::passed_over(any).is_some() => return Ok(None),
        other => {
            return Err(format!(
                "expected jwt_authn, rbac, ext_authz, ext_proc, local_ratelimit, ratelimit, fault, cors or router, \
                  found {other:?}"
            ));
        }
    };
    Ok(Some(HttpFilter {
        name: told.name.as_str().into(),
        kind,
    }))
}

fn server_header(told: i32) -> Decoded<ServerHeader> {
    use http::http_connection_manager::ServerHeaderTransformation as S;
    match S::try_from(told) {
        Ok(S::Overwrite) => Ok(ServerHeader::Overwrite),
        Ok(S::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent),
        Ok(S::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(format!(
            "server_header_transformation: expected a known one, found {told}"
        )),
    }
}

fn forwarding(told: &http::HttpConnectionManager) -> Decoded<Forwarding> {
    use http::http_connection_manager::ForwardClientCertDetails as F;
    let client_certificate = match F::try_from(told.forward_client_cert_details) {
        Ok(F::Sanitize) => ClientCertificateHeader::Sanitize,
        Ok(F::ForwardOnly) => ClientCertificateHeader::ForwardOnly,
        Ok(F::AppendForward) => ClientCertificateHeader::AppendForward,
        Ok(F::SanitizeSet) => ClientCertificateHeader::SanitizeSet,
        Ok(F::AlwaysForwardOnly) => ClientCertificateHeader::AlwaysForwardOnly,
        Err(_) => {
            return Err(format!(
                "forward_client_cert_details: found {}",
                told.forward_client_cert_details
            ));
        }
    };
    let details = told.set_current_client_cert_details.unwrap_or_default();
    Ok(Forwarding {
        use_remote_address: on(told.use_remote_address.as_ref()),
        skip_xff_append: told.skip_xff_append,
        trusted_hops: told.xff_num_trusted_hops,
        client_certificate,
        client_certificate_details: ClientCertificateDetails {
            subject: on(details.subject.as_ref()),
            certificate: details.cert,
            chain: details.chain,
            dns: details.dns,
            uri: details.uri,
        },
    })
}

fn escaped_slashes(told: i32) -> Decoded<EscapedSlashes> {
    use http::http_connection_manager::PathWithEscapedSlashesAction as P;
    match P::try_from(told) {
        Ok(P::ImplementationSpecificDefault | P::KeepUnchanged) => Ok(EscapedSlashes::Keep),
        Ok(P::RejectRequest) => Ok(EscapedSlashes::Reject),
        Ok(P::UnescapeAndRedirect) => Ok(EscapedSlashes::UnescapeAndRedirect),
        Ok(P::UnescapeAndForward) => Ok(EscapedSlashes::UnescapeAndForward),
        Err(_) => Err(format!(
            "path_with_escaped_slashes_action: expected a known one, found {told}"
        )),
    }
}

fn strip_port(told: &http::HttpConnectionManager) -> StripPort {
    use http::http_connection_manager::StripPortMode as S;
    match told.strip_port_mode {
        Some(S::StripAnyHostPort(true)) => StripPort::Any,
        _ if told.strip_matching_host_port => StripPort::Matching,
        _ => StripPort::Keep,
    }
}
