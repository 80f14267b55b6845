//! Limits on requests. One that is not understood is refused, so that nobody relies on what does not hold.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as local;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3 as global;
use envoy_types::pb::envoy::extensions::rate_limit_descriptors::expr::v3 as expr;
use envoy_types::pb::envoy::r#type::v3 as kinds;
use hauberk_config::fault::Fraction;
use hauberk_config::rate_limit::{
    DescribedBucket, Descriptor, DescriptorEntry, GlobalRateLimit, LimitedAnswer, LocalRateLimit,
    TokenBucket,
};

use super::value::{duration, grpc_service, header_matchers, number, on, runtime_fraction};
use super::{At, Decoded, required, unpack};

const TOO_MANY: u16 = 429;
const SERVICE_PATIENCE: Duration = Duration::from_millis(20);
/// Envoy's, where nothing is told.
const BUCKETS: u32 = 20;
/// Buckets are bounded in any case.
const MOST_BUCKETS: u32 = 100_000;
const EXPRESSION: &str = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor";
/// The only expression that is understood: what the caller proved.
const CALLER: &str = "connection.uri_san_peer_certificate";

pub fn local(told: &local::LocalRateLimit) -> Decoded<LocalRateLimit> {
    let refused = [
        (
            "filter_enabled: expected 100 %",
            !always(told.filter_enabled.as_ref())?,
        ),
        (
            "filter_enforced: expected 100 %",
            !always(told.filter_enforced.as_ref())?,
        ),
        (
            "request_headers_to_add_when_not_enforced",
            !told.request_headers_to_add_when_not_enforced.is_empty(),
        ),
        (
            "response_headers_to_add",
            !told.response_headers_to_add.is_empty(),
        ),
        (
            "local_rate_limit_per_downstream_connection",
            told.local_rate_limit_per_downstream_connection,
        ),
        (
            "local_cluster_rate_limit",
            told.local_cluster_rate_limit.is_some(),
        ),
        ("stage", told.stage > 0),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    let default = told.token_bucket.as_ref().map(token_bucket);
    Ok(LocalRateLimit {
        name: told.stat_prefix.as_str().into(),
        descriptors: descriptors(&told.rate_limits)?,
        buckets: told
            .descriptors
            .iter()
            .map(described)
            .collect::<Decoded<_>>()
            .at("descriptors")?,
        default: default.transpose().at("token_bucket")?,
        always_consume_default: told
            .always_consume_default_token_bucket
            .as_ref()
            .is_none_or(|always| always.value),
        most_buckets: number(told.max_dynamic_descriptors.as_ref())
            .unwrap_or(BUCKETS)
            .clamp(1, MOST_BUCKETS),
        answer: LimitedAnswer {
            status: status(told.status.as_ref())?,
            resource_exhausted: told.rate_limited_as_resource_exhausted,
            headers: told.enable_x_ratelimit_headers != 0,
        },
    })
}

pub fn global(told: &global::RateLimit) -> Decoded<GlobalRateLimit> {
    let refused = [
        (
            "response_headers_to_add",
            !told.response_headers_to_add.is_empty(),
        ),
        ("stage", told.stage > 0),
        (
            "request_type",
            !matches!(told.request_type.as_str(), "" | "both"),
        ),
        ("status_on_error", told.status_on_error.is_some()),
        (
            "filter_enabled: expected 100 %",
            told.filter_enabled.is_some() && !always(told.filter_enabled.as_ref())?,
        ),
        (
            "filter_enforced: expected 100 %",
            told.filter_enforced.is_some() && !always(told.filter_enforced.as_ref())?,
        ),
        (
            "failure_mode_deny_percent",
            told.failure_mode_deny_percent.is_some(),
        ),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(format!("{field}: not honoured"));
    }
    let service = required(told.rate_limit_service.as_ref(), "rate_limit_service")?;
    let mut service = grpc_service(service.grpc_service.as_ref()).at("rate_limit_service")?;
    let patience = told.timeout.as_ref().map(duration).transpose()?;
    service.timeout = Some(patience.unwrap_or(SERVICE_PATIENCE));
    Ok(GlobalRateLimit {
        name: if told.stat_prefix.is_empty() {
            told.domain.as_str().into()
        } else {
            told.stat_prefix.as_str().into()
        },
        domain: told.domain.clone(),
        service,
        descriptors: descriptors(&told.rate_limits)?,
        failure_mode_deny: told.failure_mode_deny,
        answer: LimitedAnswer {
            status: status(told.rate_limited_status.as_ref())?,
            resource_exhausted: told.rate_limited_as_resource_exhausted,
            headers: told.enable_x_ratelimit_headers != 0,
        },
    })
}

/// Where nothing is told of these fields, Envoy's filter does nothing.
fn always(told: Option<&core::RuntimeFractionalPercent>) -> Decoded<bool> {
    let share = match told {
        Some(_) => runtime_fraction(told)?,
        None => Fraction::NEVER,
    };
    Ok(share.numerator >= share.denominator)
}

fn status(told: Option<&kinds::HttpStatus>) -> Decoded<u16> {
    match told.map_or(0, |status| status.code) {
        0 => Ok(TOO_MANY),
        code @ 400..=599 => Ok(code as u16),
        code => Err(format!("status: expected 400 to 599, found {code}")),
    }
}

fn token_bucket(told: &kinds::TokenBucket) -> Decoded<TokenBucket> {
    let interval = duration(required(told.fill_interval.as_ref(), "fill_interval")?)?;
    let made = TokenBucket {
        most: told.max_tokens,
        fill: number(told.tokens_per_fill.as_ref()).unwrap_or(1),
        interval,
    };
    if made.most == 0 || made.fill == 0 || interval.is_zero() {
        return Err("expected tokens and an interval above 0".into());
    }
    Ok(made)
}

fn described(told: &common::LocalRateLimitDescriptor) -> Decoded<DescribedBucket> {
    let bucket = required(told.token_bucket.as_ref(), "token_bucket")?;
    let entries = told.entries.iter();
    Ok(DescribedBucket {
        entries: entries
            .map(|one| (one.key.clone(), one.value.clone()))
            .collect(),
        bucket: token_bucket(bucket)?,
    })
}

fn descriptors(told: &[route::RateLimit]) -> Decoded<Vec<Descriptor>> {
    if told.is_empty() {
        return Err(
            "rate_limits: expected at least one, since those of routes are not honoured".into(),
        );
    }
    told.iter()
        .map(|one| {
            if one.stage.is_some()
                || !one.disable_key.is_empty()
                || one.limit.is_some()
                || one.hits_addend.is_some()
                || one.apply_on_stream_done
            {
                return Err("rate_limits: expected actions alone".into());
            }
            one.actions.iter().map(entry).collect()
        })
        .collect()
}

fn entry(told: &route::rate_limit::Action) -> Decoded<DescriptorEntry> {
    use route::rate_limit::action::ActionSpecifier as A;
    let named = |key: &str, otherwise: &str| {
        if key.is_empty() {
            otherwise.to_owned()
        } else {
            key.to_owned()
        }
    };
    Ok(match required(told.action_specifier.as_ref(), "action")? {
        A::GenericKey(told) => DescriptorEntry::Generic {
            key: named(&told.descriptor_key, "generic_key"),
            value: told.descriptor_value.clone(),
        },
        A::HeaderValueMatch(told) => DescriptorEntry::HeadersMatch {
            key: named(&told.descriptor_key, "header_match"),
            value: told.descriptor_value.clone(),
            expected: told.expect_match.is_none() || on(told.expect_match.as_ref()),
            headers: header_matchers(&told.headers)?,
        },
        A::RequestHeaders(told) => DescriptorEntry::Header {
            key: told.descriptor_key.clone(),
            name: told.header_name.to_ascii_lowercase(),
            skip_if_absent: told.skip_if_absent,
        },
        A::RemoteAddress(_) => DescriptorEntry::Address,
        A::Extension(told) => {
            let any = required(told.typed_config.as_ref(), "extension")?;
            let told: expr::Descriptor = unpack(any, EXPRESSION)?;
            match &told.expr_specifier {
                Some(expr::descriptor::ExprSpecifier::Text(text)) if text == CALLER => {
                    DescriptorEntry::Caller {
                        key: told.descriptor_key.clone(),
                        skip_if_absent: told.skip_if_error,
                    }
                }
                other => {
                    return Err(format!("expression: expected {CALLER}, found {other:?}"));
                }
            }
        }
        other => return Err(format!("action: not understood: {other:?}")),
    })
}
