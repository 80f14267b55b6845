//! Tracing of HTTP requests. Ignored by design: `verbose`, the longest tag, what only Envoy's own spans need, and tags from
//! what Envoy's RBAC filter leaves of a dry run, which a span that has no such result goes without.

use std::sync::Arc;

use envoy_types::pb::envoy::config::trace::v3 as trace;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as http;
use envoy_types::pb::envoy::r#type::tracing::v3 as tags;
use envoy_types::pb::envoy::r#type::v3::Percent;
use hauberk_config::connection_manager::{CustomTag, CustomTagValue, SpanExporter, Tracing};
use hauberk_config::fault::Fraction;

use super::access_log::grpc_cluster;
use super::{At, Decoded, required, unpack};

const OPEN_TELEMETRY: &str = "envoy.config.trace.v3.OpenTelemetryConfig";
const MILLION: u32 = 1_000_000;

pub fn tracing(told: &http::Tracing) -> Decoded<Tracing> {
    if told.spawn_upstream_span.is_some_and(|value| value.value) {
        return Err("spawn_upstream_span: not honoured".into());
    }
    Ok(Tracing {
        client_sampling: share(told.client_sampling.as_ref()).at("client_sampling")?,
        random_sampling: share(told.random_sampling.as_ref()).at("random_sampling")?,
        overall_sampling: share(told.overall_sampling.as_ref()).at("overall_sampling")?,
        exporter: told
            .provider
            .as_ref()
            .map(exporter)
            .transpose()
            .at("provider")?,
        custom_tags: told
            .custom_tags
            .iter()
            .filter(|tag| !of_a_dry_run(tag))
            .map(custom_tag)
            .collect::<Decoded<_>>()?,
    })
}

/// A percentage, to four places; all if nothing is told.
fn share(told: Option<&Percent>) -> Decoded<Fraction> {
    let Some(told) = told else {
        return Ok(Fraction::ALWAYS);
    };
    if !(0.0..=100.0).contains(&told.value) {
        return Err(format!("expected 0 to 100, found {}", told.value));
    }
    Ok(Fraction {
        numerator: (told.value / 100.0 * f64::from(MILLION)).round() as u32,
        denominator: MILLION,
    })
}

fn exporter(told: &trace::tracing::Http) -> Decoded<Arc<SpanExporter>> {
    let trace::tracing::http::ConfigType::TypedConfig(any) =
        required(told.config_type.as_ref(), "typed_config")?;
    let told: trace::OpenTelemetryConfig = unpack(any, OPEN_TELEMETRY)?;
    if told.http_service.is_some() || told.sampler.is_some() {
        return Err("http_service, sampler: not honoured".into());
    }
    Ok(Arc::new(SpanExporter {
        cluster: grpc_cluster(told.grpc_service.as_ref()).at("grpc_service")?,
        service_name: told.service_name,
    }))
}

/// Whether a tag shows the result of a dry run: Istio's control plane asks for these in every mesh.
fn of_a_dry_run(told: &tags::CustomTag) -> bool {
    match &told.r#type {
        Some(tags::custom_tag::Type::Metadata(told)) => told
            .metadata_key
            .as_ref()
            .is_some_and(|key| key.key == "envoy.filters.http.rbac"),
        _ => false,
    }
}

fn custom_tag(told: &tags::CustomTag) -> Decoded<CustomTag> {
    use tags::custom_tag::Type as T;
    let value = match &told.r#type {
        Some(T::Literal(literal)) => CustomTagValue::Literal(literal.value.clone()),
        Some(T::RequestHeader(header)) => CustomTagValue::RequestHeader {
            name: header.name.to_ascii_lowercase(),
            default: header.default_value.clone(),
        },
        other => {
            return Err(format!(
                "custom_tags[{}]: expected literal or request_header, found {other:?}",
                told.tag
            ));
        }
    };
    Ok(CustomTag {
        tag: told.tag.clone(),
        value,
    })
}
