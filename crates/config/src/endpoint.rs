//! Endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`).

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct ClusterLoadAssignment {
    #[serde(rename = "cluster_name")]
    pub cluster: Arc<str>,
    pub localities: Vec<LocalityEndpoints>,
    /// Percent of its hosts that a priority may lose before traffic spills, times 100; Envoy's default is 140.
    pub overprovisioning_factor: u32,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct LocalityEndpoints {
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Share of traffic among localities of a priority, where the cluster weighs localities.
    pub weight: Option<u32>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash, Default)]
pub struct Locality {
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
    Draining,
    Timeout,
    Degraded,
}

impl Health {
    /// Whether requests may go there.
    pub fn usable(self) -> bool {
        matches!(self, Self::Unknown | Self::Healthy | Self::Degraded)
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAddress {
    Socket(SocketAddr),
    /// A name to resolve (`STRICT_DNS` and `LOGICAL_DNS` clusters only).
    Name {
        host: String,
        port: u16,
    },
    /// A Unix socket.
    Pipe(String),
}

impl EndpointAddress {
    /// `None`: a name to be resolved first, or a Unix socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Name { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
            Self::Pipe(_) => None,
        }
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: EndpointAddress,
    /// For logs and for the `:authority` of health checks; may be empty.
    pub hostname: String,
    /// Share of traffic within the locality, at least 1.
    pub weight: u32,
    pub health: Health,
    /// String fields of metadata `envoy.transport_socket_match`, such as `tlsMode: istio`, sorted by key.
    pub transport_labels: Vec<(String, String)>,
    /// String fields of metadata `envoy.lb`, sorted by key.
    pub subset_labels: Vec<(String, String)>,
    /// Metadata `istio.workload`.
    pub workload: Option<Workload>,
}

/// `NAME;NAMESPACE;APP;VERSION;CLUSTER`.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash, Default)]
pub struct Workload {
    pub name: String,
    pub namespace: String,
    pub app: String,
    pub version: String,
    pub cluster: String,
}

impl Workload {
    /// Fields that are missing are empty.
    pub fn parse(text: &str) -> Self {
        let mut fields = text.split(';').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Self {
            name: next(),
            namespace: next(),
            app: next(),
            version: next(),
            cluster: next(),
        }
    }
}
