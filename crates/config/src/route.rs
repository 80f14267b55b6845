//! Route configurations (`envoy.config.route.v3`), as stated; `hauberk-route` compiles them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::fault::{Fault, Fraction};
use crate::matcher::{HeaderMatcher, QueryMatcher, StringMatcher};
use crate::rbac::RbacFilter;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct RouteConfiguration {
    pub name: Arc<str>,
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    pub headers: HeaderMutations,
    /// Compare authorities without their port.
    pub ignore_port_in_host: bool,
    /// Apply the most specific header mutations last, so that they win (Envoy's default is the other way round).
    pub most_specific_headers_win: bool,
    pub overrides: Overrides,
    pub mirrors: Vec<Mirror>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    pub name: Arc<str>,
    /// In lower case: exact, `*.suffix`, `prefix.*` or `*`.
    pub domains: Vec<String>,
    pub routes: Vec<Arc<Route>>,
    pub headers: HeaderMutations,
    pub require_tls: RequireTls,
    pub retry: Option<Arc<RetryPolicy>>,
    pub include_attempt_count_in_request: bool,
    pub include_attempt_count_in_response: bool,
    pub overrides: Overrides,
    pub mirrors: Vec<Mirror>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum RequireTls {
    #[default]
    No,
    ExternalOnly,
    All,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Route {
    /// May be empty.
    pub name: Arc<str>,
    pub matches: RouteMatch,
    pub action: RouteAction,
    pub headers: HeaderMutations,
    pub overrides: Overrides,
    /// String fields of `metadata.filter_metadata.istio`, such as `config`.
    pub metadata: BTreeMap<String, String>,
    /// Name of the span and of the operation; `None`: the default.
    pub operation: Option<String>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    pub path: PathMatch,
    /// Of paths and prefixes.
    pub case_sensitive: bool,
    pub headers: Vec<HeaderMatcher>,
    pub query: Vec<QueryMatcher>,
    /// Share of requests that may match; `None`: all.
    pub share: Option<Fraction>,
    /// Only gRPC requests.
    pub grpc: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    Prefix(String),
    Exact(String),
    /// `/a` matches `/a` and `/a/b`, not `/ab`; it does not end in a slash.
    SeparatedPrefix(String),
    /// The whole path, without the query.
    Regex(String),
    /// A CONNECT request; nothing else matches it.
    Connect,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    Forward(Box<Forward>),
    Redirect(Redirect),
    Direct(DirectResponse),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Forward {
    pub target: ClusterTarget,
    /// Status when the cluster does not exist (503, 404 or 500).
    pub cluster_not_found_status: u16,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    pub append_x_forwarded_host: bool,
    /// For the whole response after the request ended; `None`: no limit. Envoy's default is 15 s.
    pub timeout: Option<Duration>,
    /// Without a byte either way; `None`: the connection manager's. `Some(ZERO)`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Honour `grpc-timeout` up to this; `None`: it is ignored. `Some(ZERO)`: any.
    pub max_grpc_timeout: Option<Duration>,
    /// `None`: the virtual host's.
    pub retry: Option<Arc<RetryPolicy>>,
    pub hash_policy: Vec<HashPolicy>,
    /// In place of the virtual host's and route configuration's, if not empty.
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Arc<CorsPolicy>>,
    pub priority: Priority,
    /// Upgrades allowed or forbidden here, over the connection manager's.
    pub upgrades: Vec<crate::connection_manager::Upgrade>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    #[default]
    Default,
    High,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ClusterTarget {
    Single(Arc<str>),
    /// The weights' sum is above 0.
    Weighted(Vec<WeightedCluster>),
    /// The value of this request header names the cluster.
    Header(String),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct WeightedCluster {
    pub cluster: Arc<str>,
    pub weight: u32,
    pub headers: HeaderMutations,
    pub host_rewrite: Option<String>,
    pub overrides: Overrides,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum PathRewrite {
    /// In place of the matched prefix, or of the whole matched path.
    Prefix(String),
    /// RE2 pattern over the path without the query; all matches are replaced. `\1` is a group.
    Regex {
        pattern: String,
        substitution: String,
    },
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HostRewrite {
    Literal(String),
    /// The endpoint's host name.
    Auto,
    Header(String),
    /// Over the path without the query.
    PathRegex {
        pattern: String,
        substitution: String,
    },
}

/// What is done to the headers of requests and responses. Most hosts and routes do nothing, which takes no room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderMutations(Option<Box<Mutations>>);

/// Headers added to and removed from requests and responses; removal comes after addition.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct Mutations {
    pub request_add: Vec<HeaderAddition>,
    /// In lower case.
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderAddition>,
    pub response_remove: Vec<String>,
}

impl From<Mutations> for HeaderMutations {
    fn from(mutations: Mutations) -> Self {
        Self((mutations != Mutations::default()).then(|| Box::new(mutations)))
    }
}

impl Deref for HeaderMutations {
    type Target = Mutations;

    fn deref(&self) -> &Mutations {
        static NOTHING: Mutations = Mutations {
            request_add: Vec::new(),
            request_remove: Vec::new(),
            response_add: Vec::new(),
            response_remove: Vec::new(),
        };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Serialize for HeaderMutations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Mutations::serialize(self, serializer)
    }
}

/// What the value of a header may name between percent signs.
pub const HEADER_COMMANDS: [&str; 9] = [
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_PEER_URI_SAN",
    "REQUESTED_SERVER_NAME",
    "START_TIME",
];

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct HeaderAddition {
    /// In lower case.
    pub name: String,
    /// May hold `%COMMAND%`s of [`HEADER_COMMANDS`]; `%%` is a percent sign.
    pub value: String,
    pub action: AppendAction,
    /// Add it even if the value turns out empty.
    pub keep_empty: bool,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum AppendAction {
    #[default]
    AppendOrAdd,
    AddIfAbsent,
    OverwriteOrAdd,
    OverwriteIfPresent,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: RedirectScheme,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: RedirectPath,
    pub status: u16,
    pub strip_query: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RedirectScheme {
    Keep,
    Https,
    Other(String),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RedirectPath {
    Keep,
    /// May have a query of its own, which then replaces the request's.
    Replace(String),
    Prefix(String),
    Regex {
        pattern: String,
        substitution: String,
    },
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Vec<u8>,
}

/// What may be retried, how often and when (`envoy.config.route.v3.RetryPolicy`).
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    pub on: RetryOn,
    /// Retries beside the first attempt.
    pub retries: u32,
    /// For each attempt; `None`: only the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// With `RetryOn::retriable_status_codes`.
    pub status_codes: Vec<u16>,
    /// With `RetryOn::retriable_headers`: any of these on the response.
    pub response_headers: Vec<HeaderMatcher>,
    /// Only requests that match one of these are retried; empty: all.
    pub request_headers: Vec<HeaderMatcher>,
    pub back_off: BackOff,
    /// Do not try a host again that was tried (`previous_hosts`), picking anew at most this often.
    pub avoid_previous_hosts: Option<u32>,
    /// Leave out the priorities of the hosts that were tried, told anew after so many attempts (`previous_priorities`).
    pub avoid_previous_priorities: Option<u32>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackOff {
    pub base: Duration,
    pub maximum: Duration,
}

impl Default for BackOff {
    /// Envoy's: 25 ms up to ten times that.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            maximum: Duration::from_millis(250),
        }
    }
}

/// The conditions of `retry_on`.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RetryOn {
    pub server_error: bool,
    pub gateway_error: bool,
    pub reset: bool,
    pub reset_before_request: bool,
    pub connect_failure: bool,
    pub envoy_ratelimited: bool,
    pub retriable_4xx: bool,
    pub refused_stream: bool,
    pub retriable_status_codes: bool,
    pub retriable_headers: bool,
    pub http3_post_connect_failure: bool,
    pub grpc_cancelled: bool,
    pub grpc_deadline_exceeded: bool,
    pub grpc_internal: bool,
    pub grpc_resource_exhausted: bool,
    pub grpc_unavailable: bool,
}

impl RetryOn {
    /// Parses a comma-separated list, also of numeric status codes, which are returned beside the flags.
    ///
    /// # Errors
    /// The first word that is no condition.
    pub fn parse(text: &str) -> Result<(Self, Vec<u16>), String> {
        let mut on = Self::default();
        let mut codes = Vec::new();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "5xx" => on.server_error = true,
                "gateway-error" => on.gateway_error = true,
                "reset" => on.reset = true,
                "reset-before-request" => on.reset_before_request = true,
                "connect-failure" => on.connect_failure = true,
                "envoy-ratelimited" => on.envoy_ratelimited = true,
                "retriable-4xx" => on.retriable_4xx = true,
                "refused-stream" => on.refused_stream = true,
                "retriable-status-codes" => on.retriable_status_codes = true,
                "retriable-headers" => on.retriable_headers = true,
                "http3-post-connect-failure" => on.http3_post_connect_failure = true,
                "cancelled" => on.grpc_cancelled = true,
                "deadline-exceeded" => on.grpc_deadline_exceeded = true,
                "internal" => on.grpc_internal = true,
                "resource-exhausted" => on.grpc_resource_exhausted = true,
                "unavailable" => on.grpc_unavailable = true,
                _ => match word.parse::<u16>() {
                    Ok(code) if (100..600).contains(&code) => {
                        on.retriable_status_codes = true;
                        codes.push(code);
                    }
                    _ => return Err(word.to_owned()),
                },
            }
        }
        Ok((on, codes))
    }
}

/// What a consistent-hash balancer hashes.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct HashPolicy {
    pub source: HashSource,
    /// Stop here if this one gave a hash.
    pub terminal: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HashSource {
    Header(String),
    /// `time_to_live`: set the cookie if it is missing.
    Cookie {
        name: String,
        time_to_live: Option<Duration>,
        path: String,
        /// Further attributes of the cookie that is set, such as `SameSite=Lax`; the value may be empty.
        attributes: Vec<(String, String)>,
    },
    SourceIp,
    QueryParameter(String),
}

/// A copy of the request to another cluster, whose answer is thrown away.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub cluster: Arc<str>,
    pub share: Fraction,
    /// Do not add `-shadow` to the copy's host.
    pub keep_host: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct CorsPolicy {
    pub allow_origins: Vec<StringMatcher>,
    pub allow_methods: String,
    pub allow_headers: String,
    pub expose_headers: String,
    pub max_age: String,
    pub allow_credentials: bool,
    /// Pass preflight requests of other origins on instead of answering them here.
    pub forward_not_matching_preflights: bool,
    pub enabled: Fraction,
    pub shadow_enabled: Fraction,
}

/// Settings of HTTP filters for a route, virtual host or weighted cluster, by the filter's name
/// (`typed_per_filter_config`). The most specific one replaces the filter's own.
pub type Overrides = BTreeMap<Arc<str>, FilterOverride>;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FilterOverride {
    Fault(Fault),
    /// `None`: no RBAC here.
    Rbac(Option<Arc<RbacFilter>>),
    Cors(Arc<CorsPolicy>),
    Disabled,
}
