//! `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
use envoy_types::pb::envoy::service::ratelimit::v3 as rls;

use crate::grpc::{framed, unframed};

pub const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// What the service says of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The hits that were asked for are there.
    pub within: bool,
    /// Hits in each window; `None`: it is not told.
    pub limit: Option<u32>,
    /// The window.
    pub unit: Option<Duration>,
    pub remaining: u32,
    /// Until the window ends; `None`: it is not told.
    pub reset: Option<Duration>,
}

/// Asks for `hits` of one descriptor, in gRPC's frame.
pub fn question(domain: &str, entries: &[(String, String)], hits: u32) -> Bytes {
    let entry = |(key, value): &(String, String)| common::rate_limit_descriptor::Entry {
        key: key.clone(),
        value: value.clone(),
    };
    framed(&rls::RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: vec![common::RateLimitDescriptor {
            entries: entries.iter().map(entry).collect(),
            ..Default::default()
        }],
        hits_addend: hits,
    })
}

/// # Errors
/// It is no answer to such a question.
pub fn verdict(body: Bytes) -> Result<Verdict, String> {
    use rls::rate_limit_response::Code;
    let response: rls::RateLimitResponse = unframed(body)?;
    let within = match Code::try_from(response.overall_code) {
        Ok(Code::Ok) => true,
        Ok(Code::OverLimit) => false,
        _ => return Err(format!("unknown code {}", response.overall_code)),
    };
    let status = response.statuses.first();
    let current = status.and_then(|status| status.current_limit.as_ref());
    let reset = status.and_then(|status| status.duration_until_reset.as_ref());
    Ok(Verdict {
        within,
        limit: current.map(|limit| limit.requests_per_unit),
        unit: current.and_then(|limit| unit(limit.unit)),
        remaining: status.map_or(0, |status| status.limit_remaining),
        reset: reset.and_then(|told| {
            let nanos = u32::try_from(told.nanos).ok()?;
            Some(Duration::new(u64::try_from(told.seconds).ok()?, nanos))
        }),
    })
}

fn unit(told: i32) -> Option<Duration> {
    use rls::rate_limit_response::rate_limit::Unit;
    let seconds = match Unit::try_from(told).ok()? {
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3600,
        Unit::Day => 86_400,
        Unit::Week => 7 * 86_400,
        Unit::Month => 30 * 86_400,
        Unit::Year => 365 * 86_400,
        Unit::Unknown => return None,
    };
    Some(Duration::from_secs(seconds))
}
