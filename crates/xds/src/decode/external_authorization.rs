//! Authorizers outside the proxy. An RBAC filter whose shadow rules only select what such a filter asks about becomes a
//! part of that filter.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as http;
use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3 as network;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use hauberk_config::external_authorization::{
    AuthorizationService, ExternalAuthorization, HttpAuthorization, Selection, ShownBody,
};
use hauberk_config::rbac::RbacFilter;

use super::value::{duration, grpc_service, string_matcher, string_matchers};
use super::{At, Decoded, required};

/// Under such names shadow rules select, as Istio and we send them; under any other they only note what they match.
const SELECTING: &str = "istio_ext_authz_";
const FORBIDDEN: u16 = 403;

/// The selecting rules of a chain so far, by the key under which Envoy would keep what matched.
#[derive(Default)]
pub struct Selections(HashMap<String, RbacFilter>);

impl Selections {
    /// Whether these rules only select.
    pub fn take(&mut self, prefix: &str, rules: &RbacFilter) -> bool {
        let selects =
            rules.rules.is_none() && rules.shadow_rules.is_some() && prefix.starts_with(SELECTING);
        if selects {
            let key = format!("{prefix}shadow_effective_policy_id");
            self.0.insert(key, rules.clone());
        }
        selects
    }

    fn named(&self, told: Option<&matcher::MetadataMatcher>) -> Decoded<Option<Selection>> {
        use matcher::metadata_matcher::path_segment::Segment;
        use matcher::value_matcher::MatchPattern;
        let Some(told) = told else {
            return Ok(None);
        };
        let [segment] = told.path.as_slice() else {
            return Err(format!("path: expected one key, found {}", told.path.len()));
        };
        let Some(Segment::Key(key)) = &segment.segment else {
            return Err("path: expected a key".into());
        };
        let value = required(told.value.as_ref(), "value")?;
        let (Some(MatchPattern::StringMatch(policy)), false) = (&value.match_pattern, told.invert)
        else {
            return Err("value: expected a string match that is not inverted".into());
        };
        let rules = self.0.get(key);
        let rules = rules.ok_or_else(|| {
            format!("expected a key that shadow rules before this filter write, found {key:?}")
        })?;
        Ok(Some(Selection {
            rules: rules.clone(),
            policy: string_matcher(policy)?,
        }))
    }
}

pub fn http_filter(
    told: &http::ExtAuthz,
    selections: &Selections,
) -> Decoded<ExternalAuthorization> {
    refuse(told)?;
    let (service, cluster) = match required(told.services.as_ref(), "services")? {
        http::ext_authz::Services::GrpcService(told) => {
            let service = grpc_service(Some(told)).at("grpc_service")?;
            let cluster = service.cluster.clone();
            (AuthorizationService::Grpc(service), cluster)
        }
        http::ext_authz::Services::HttpService(told) => {
            let service = http_service(told).at("http_service")?;
            let cluster = service.cluster.clone();
            (AuthorizationService::Http(service), cluster)
        }
    };
    let status = told.status_on_error.map_or(0, |status| status.code);
    Ok(ExternalAuthorization {
        authorizer: name(&told.stat_prefix, &cluster),
        service,
        selection: selections
            .named(told.filter_enabled_metadata.as_ref())
            .at("filter_enabled_metadata")?,
        failure_mode_allow: told.failure_mode_allow,
        status_on_error: match status {
            0 => FORBIDDEN,
            200..=599 => status as u16,
            _ => {
                return Err(format!(
                    "status_on_error: expected 200 to 599, found {status}"
                ));
            }
        },
        body: told.with_request_body.map(|body| ShownBody {
            max_bytes: body.max_request_bytes,
            allow_partial: body.allow_partial_message,
            as_bytes: body.pack_as_bytes,
        }),
        shown_headers: told
            .allowed_headers
            .as_ref()
            .map(|list| string_matchers(Some(list)))
            .transpose()
            .at("allowed_headers")?,
        clear_route_cache: told.clear_route_cache,
        validate_mutations: told.validate_mutations,
    })
}

/// What would change who is asked about what, or what an answer may do, and is not honoured.
fn refuse(told: &http::ExtAuthz) -> Decoded<()> {
    let found = [
        (
            "failure_mode_allow_header_add",
            told.failure_mode_allow_header_add,
        ),
        (
            "metadata_context_namespaces",
            !told.metadata_context_namespaces.is_empty()
                || !told.typed_metadata_context_namespaces.is_empty()
                || !told.route_metadata_context_namespaces.is_empty()
                || !told.route_typed_metadata_context_namespaces.is_empty(),
        ),
        ("filter_enabled", told.filter_enabled.is_some()),
        ("deny_at_disable", told.deny_at_disable.is_some()),
        ("include_peer_certificate", told.include_peer_certificate),
        (
            "bootstrap_metadata_labels_key",
            !told.bootstrap_metadata_labels_key.is_empty(),
        ),
        ("disallowed_headers", told.disallowed_headers.is_some()),
        ("include_tls_session", told.include_tls_session),
        ("encode_raw_headers", told.encode_raw_headers),
        (
            "decoder_header_mutation_rules",
            told.decoder_header_mutation_rules.is_some(),
        ),
        ("filter_metadata", told.filter_metadata.is_some()),
        (
            "max_denied_response_body_bytes",
            told.max_denied_response_body_bytes > 0,
        ),
    ];
    match found.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(format!("{field}: not honoured")),
        None => Ok(()),
    }
}

fn http_service(told: &http::HttpService) -> Decoded<HttpAuthorization> {
    use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
    if told.retry_policy.is_some() {
        return Err("retry_policy: not honoured".into());
    }
    let uri = required(told.server_uri.as_ref(), "server_uri")?;
    let HttpUpstreamType::Cluster(cluster) =
        required(uri.http_upstream_type.as_ref(), "server_uri.cluster")?;
    let timeout: Duration = duration(required(uri.timeout.as_ref(), "server_uri.timeout")?)?;
    let request = told.authorization_request.clone().unwrap_or_default();
    let response = told.authorization_response.clone().unwrap_or_default();
    if response.dynamic_metadata_from_headers.is_some() {
        return Err("dynamic_metadata_from_headers: not honoured".into());
    }
    let headers_to_add = request.headers_to_add.iter();
    Ok(HttpAuthorization {
        cluster: cluster.as_str().into(),
        timeout,
        path_prefix: told.path_prefix.clone(),
        headers_to_add: headers_to_add
            .map(|one| (one.key.to_ascii_lowercase(), one.value.clone()))
            .collect(),
        upstream_headers: string_matchers(response.allowed_upstream_headers.as_ref())?,
        upstream_headers_to_append: string_matchers(
            response.allowed_upstream_headers_to_append.as_ref(),
        )?,
        client_headers: string_matchers(response.allowed_client_headers.as_ref())?,
        client_headers_on_success: string_matchers(
            response.allowed_client_headers_on_success.as_ref(),
        )?,
    })
}

pub fn network_filter(
    told: &network::ExtAuthz,
    selections: &Selections,
) -> Decoded<ExternalAuthorization> {
    let refused = [
        ("include_peer_certificate", told.include_peer_certificate),
        ("include_tls_session", told.include_tls_session),
        ("send_tls_alert_on_denial", told.send_tls_alert_on_denial),
        (
            "bootstrap_metadata_labels_key",
            !told.bootstrap_metadata_labels_key.is_empty(),
        ),
        (
            "metadata_context_namespaces",
            !told.metadata_context_namespaces.is_empty()
                || !told.typed_metadata_context_namespaces.is_empty(),
        ),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    let service = grpc_service(told.grpc_service.as_ref()).at("grpc_service")?;
    Ok(ExternalAuthorization {
        authorizer: name(&told.stat_prefix, &service.cluster),
        service: AuthorizationService::Grpc(service),
        selection: selections
            .named(told.filter_enabled_metadata.as_ref())
            .at("filter_enabled_metadata")?,
        failure_mode_allow: told.failure_mode_allow,
        status_on_error: FORBIDDEN,
        body: None,
        shown_headers: None,
        clear_route_cache: false,
        validate_mutations: false,
    })
}

/// Ours names the provider there; Istio's control plane leaves it empty.
fn name(stat_prefix: &str, cluster: &str) -> std::sync::Arc<str> {
    if stat_prefix.is_empty() {
        cluster.into()
    } else {
        stat_prefix.into()
    }
}
