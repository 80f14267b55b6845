//! Limits on requests (`envoy.extensions.filters.http.local_ratelimit.v3` and `…ratelimit.v3`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::external_authorization::GrpcService;
use crate::matcher::HeaderMatcher;

/// Buckets of this proxy.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct LocalRateLimit {
    /// For records and metrics.
    pub name: Arc<str>,
    /// What a request counts against, each by the first of `buckets` that has its entries.
    pub descriptors: Vec<Descriptor>,
    pub buckets: Vec<DescribedBucket>,
    /// For requests that no described bucket is for; for those too if `always_consume_default`.
    pub default: Option<TokenBucket>,
    pub always_consume_default: bool,
    /// Buckets kept of descriptors whose values are not known beforehand.
    pub most_buckets: u32,
    pub answer: LimitedAnswer,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct DescribedBucket {
    /// Keys, and values; an empty value stands for any, each with a bucket of its own.
    pub entries: Vec<(String, String)>,
    pub bucket: TokenBucket,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenBucket {
    pub most: u32,
    pub fill: u32,
    pub interval: Duration,
}

/// Limits that a service knows.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct GlobalRateLimit {
    pub name: Arc<str>,
    pub domain: String,
    pub service: GrpcService,
    pub descriptors: Vec<Descriptor>,
    /// While the service does not answer, requests are refused.
    pub failure_mode_deny: bool,
    pub answer: LimitedAnswer,
}

/// How a request that is too many is answered.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitedAnswer {
    pub status: u16,
    /// To gRPC callers RESOURCE_EXHAUSTED, else UNAVAILABLE.
    pub resource_exhausted: bool,
    /// `x-ratelimit-limit`, `-remaining` and `-reset` on every answer.
    pub headers: bool,
}

/// How a request's descriptor is made: an entry of each, in order.
pub type Descriptor = Vec<DescriptorEntry>;

/// One that gives no entry leaves the request without a descriptor, unless it is to be skipped.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorEntry {
    Generic {
        key: String,
        value: String,
    },
    HeadersMatch {
        key: String,
        value: String,
        expected: bool,
        headers: Vec<HeaderMatcher>,
    },
    Header {
        key: String,
        /// In lower case.
        name: String,
        skip_if_absent: bool,
    },
    /// Under `remote_address`.
    Address,
    /// The URI name that the caller proved.
    Caller {
        key: String,
        skip_if_absent: bool,
    },
}
