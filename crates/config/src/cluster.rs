//! Clusters: where calls go (`envoy.config.cluster.v3.Cluster`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::endpoint::{ClusterLoadAssignment, Endpoint};
use crate::tls::UpstreamTransport;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub name: Arc<str>,
    /// For statistics; the name if it says nothing else.
    pub alternate_name: Arc<str>,
    pub discovery: Discovery,
    pub load_balancing: LoadBalancing,
    /// Localities are weighed by their own weights.
    pub locality_weighted: bool,
    /// New hosts take their full share only after a while.
    pub slow_start: Option<SlowStart>,
    /// Percent of usable hosts below which all hosts are used; 0: never.
    pub panic_threshold: u8,
    pub connect_timeout: Duration,
    pub default_limits: Limits,
    pub high_priority_limits: Limits,
    pub outlier_detection: Option<OutlierDetection>,
    pub http: UpstreamHttp,
    /// Of an idle TCP or HTTP connection; `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Requests on one connection before it is replaced; `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// How old an HTTP connection may be and still take a request; `None`: no limit.
    pub max_connection_duration: Option<Duration>,
    /// Used unless one of `transport_matches` applies.
    pub transport: UpstreamTransport,
    /// First match wins.
    pub transport_matches: Vec<TransportMatch>,
    /// Local address toward the endpoints; `None`: the bootstrap's.
    pub bind: Option<UpstreamBind>,
    pub keepalive: Option<TcpKeepalive>,
    /// From `filter_metadata.istio.services[0]`, for metrics.
    pub service: Option<ServiceName>,
}

impl Cluster {
    /// The transport to use toward `endpoint`.
    pub fn transport_for(&self, endpoint: &Endpoint) -> &UpstreamTransport {
        let fits = |candidate: &&TransportMatch| {
            candidate
                .labels
                .iter()
                .all(|label| endpoint.transport_labels.contains(label))
        };
        self.transport_matches
            .iter()
            .find(fits)
            .map_or(&self.transport, |found| &found.transport)
    }

    /// Every secret that this cluster needs before it can be used.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        let transports = self
            .transport_matches
            .iter()
            .map(|candidate| &candidate.transport);
        std::iter::once(&self.transport)
            .chain(transports)
            .filter_map(|transport| match transport {
                UpstreamTransport::Plain => None,
                UpstreamTransport::Tls(tls) => Some(tls),
            })
            .flat_map(|tls| tls.context.secrets())
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct ServiceName {
    pub host: String,
    pub name: String,
    pub namespace: String,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// Endpoints come over EDS under this name.
    Eds {
        service_name: Arc<str>,
    },
    Static(Arc<ClusterLoadAssignment>),
    /// Every address of every name is an endpoint.
    StrictDns {
        endpoints: Arc<ClusterLoadAssignment>,
        refresh: Duration,
    },
    /// The first address of the name is the endpoint.
    LogicalDns {
        endpoints: Arc<ClusterLoadAssignment>,
        refresh: Duration,
    },
    /// The address that the client meant. `port`: replace its port.
    OriginalDestination {
        port: Option<u16>,
    },
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    RoundRobin,
    /// Of `choices` hosts picked at random, the one with fewest requests.
    LeastRequest {
        choices: u32,
    },
    Random,
    RingHash {
        minimum_size: u64,
        maximum_size: u64,
    },
    Maglev {
        table_size: u64,
    },
    /// The discovery chooses (`ORIGINAL_DST`).
    ClusterProvided,
}

/// `envoy.config.cluster.v3.Cluster.SlowStartConfig`.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    pub window: Duration,
    /// Thousandths: 1000 grows evenly, more grows faster at first.
    pub aggression: u32,
    /// Percent of its weight that a host has from the first moment.
    pub least_weight: u8,
}

impl SlowStart {
    /// The share of its weight that a host has so long after it came: above 0, at most 1.
    pub fn share(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let passed = age.as_secs_f64().max(0.001) / self.window.as_secs_f64();
        let grown = passed.powf(1000.0 / f64::from(self.aggression.max(1)));
        grown
            .max(f64::from(self.least_weight) / 100.0)
            .clamp(0.001, 1.0)
    }
}

/// Circuit breaker thresholds of one priority.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
    /// In place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
}

/// Retries at one time as a share of the requests under way.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Hundredths of a percent.
    pub share: u32,
    /// So many are always allowed.
    pub least: u32,
}

impl RetryBudget {
    pub fn most(&self, under_way: u32) -> u32 {
        let share = u64::from(under_way) * u64::from(self.share) / 10_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.least)
    }
}

impl Default for Limits {
    /// Envoy's: 1024 of each, 3 retries.
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
        }
    }
}

/// `envoy.config.cluster.v3.OutlierDetection`; percentages are whole numbers, 0 switches a check off.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    pub interval: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    pub max_ejection_percent: u8,
    /// One host may be ejected whatever the percentage says.
    pub always_eject_one_host: bool,
    pub consecutive_5xx: u32,
    pub enforcing_consecutive_5xx: u8,
    pub consecutive_gateway_failure: u32,
    pub enforcing_consecutive_gateway_failure: u8,
    /// Failures of this side (no connection, no answer in time) are counted apart from the host's own errors.
    pub split_local_origin_errors: bool,
    pub consecutive_local_origin_failure: u32,
    pub enforcing_consecutive_local_origin_failure: u8,
    pub answers: Rate,
    /// Of connecting, where local failures are split off.
    pub local_origin: Rate,
}

/// Judging hosts by their share of successes in an interval.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    pub enforcing_success_rate: u8,
    /// Fewer hosts are not compared.
    pub success_rate_minimum_hosts: u32,
    /// With fewer calls in an interval a host's rate says nothing.
    pub success_rate_request_volume: u32,
    /// Thousandths of a standard deviation that a host may be below the mean.
    pub success_rate_stdev_factor: u32,
    pub enforcing_failure_percentage: u8,
    pub failure_percentage_threshold: u8,
    pub failure_percentage_minimum_hosts: u32,
    pub failure_percentage_request_volume: u32,
}

impl OutlierDetection {
    /// Whether anything looks at rates.
    pub fn by_rate(&self) -> bool {
        let used =
            |rate: &Rate| rate.enforcing_success_rate > 0 || rate.enforcing_failure_percentage > 0;
        used(&self.answers) || (self.split_local_origin_errors && used(&self.local_origin))
    }
}

impl Default for OutlierDetection {
    /// Envoy's.
    fn default() -> Self {
        let rate = Rate {
            enforcing_success_rate: 100,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            enforcing_failure_percentage: 0,
            failure_percentage_threshold: 85,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
        };
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            always_eject_one_host: false,
            consecutive_5xx: 5,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            split_local_origin_errors: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            answers: rate,
            local_origin: rate,
        }
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct UpstreamHttp {
    pub protocol: UpstreamProtocol,
    /// HTTP/2 streams at one time on a connection; `None`: what the peer allows.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 flow control windows in bytes; `None`: 65 535.
    pub initial_stream_window: Option<u32>,
    pub initial_connection_window: Option<u32>,
    /// PING frames of HTTP/2; `None`: the proxy's own.
    pub keep_alive: Option<Http2KeepAlive>,
    /// Which statuses outlier detection counts as errors; empty: 500 and above.
    pub errors: Vec<u16>,
}

/// `envoy.config.core.v3.KeepaliveSettings`.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct Http2KeepAlive {
    pub interval: Duration,
    /// The connection is closed if the answer takes longer.
    pub timeout: Duration,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// The same as the client speaks.
    UseDownstream,
    /// What ALPN settles on.
    Negotiated,
}

impl Default for UpstreamHttp {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            max_concurrent_streams: None,
            initial_stream_window: None,
            initial_connection_window: None,
            keep_alive: None,
            errors: Vec::new(),
        }
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct TransportMatch {
    pub name: String,
    /// All must be among the endpoint's `transport_labels`; empty matches every endpoint.
    pub labels: Vec<(String, String)>,
    pub transport: UpstreamTransport,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamBind {
    pub address: IpAddr,
    /// `IP_FREEBIND` or `IP_TRANSPARENT`.
    pub freebind: bool,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    pub probes: Option<u32>,
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
}
