//! Listeners and filter chains (`envoy.config.listener.v3`).

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::access_log::AccessLog;
use crate::connection_manager::ConnectionManager;
use crate::dns::DnsTable;
use crate::external_authorization::ExternalAuthorization;
use crate::matcher::PrefixRange;
use crate::rbac::RbacFilter;
use crate::tls::DownstreamTransport;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: Arc<str>,
    pub address: SocketAddr,
    /// Where it listens, or is meant, as well: the same service in the other version of IP.
    pub additional_addresses: Vec<SocketAddr>,
    /// False: no socket of its own; a `use_original_dst` listener hands it connections meant for `address`.
    pub bind: bool,
    /// `IP_TRANSPARENT` on the listening socket.
    pub transparent: bool,
    pub direction: Direction,
    /// Of the policies that decide here (`filter_metadata.hauberk.io.policy_revision`); may be empty.
    pub policy_revision: Arc<str>,
    /// The service behind it (`filter_metadata.hauberk.io.service`); may be empty.
    pub service: Arc<str>,
    pub traffic: Traffic,
}

impl Listener {
    /// All addresses, the first one first.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.address).chain(self.additional_addresses.iter().copied())
    }
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Unspecified,
    Inbound,
    Outbound,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    Tcp(TcpTraffic),
    /// UDP, answered from a table.
    Dns(Arc<DnsTable>),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct TcpTraffic {
    /// Look for a listener at the connection's original destination before serving it here.
    pub use_original_dst: bool,
    pub inspection: Inspection,
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// Where a connection goes that no chain matches; `None`: it is closed.
    pub default_filter_chain: Option<Arc<FilterChain>>,
}

impl TcpTraffic {
    /// All filter chains, the default one last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.filter_chains
            .iter()
            .chain(self.default_filter_chain.iter())
    }
}

/// What is looked at before a filter chain is chosen (listener filters).
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub http: HttpInspection,
    pub tls: TlsInspection,
    /// Destination ports at which the bytes are not looked at for HTTP.
    pub http_off_at: Vec<RangeInclusive<u16>>,
    /// Destination ports at which the bytes are not looked at for TLS.
    pub tls_off_at: Vec<RangeInclusive<u16>>,
    /// Toward the endpoint, take the caller's address as our own.
    pub original_source: Option<OriginalSource>,
    /// How long to wait for the bytes to look at; `None`: for ever.
    pub timeout: Option<Duration>,
    /// After the timeout go on with what is known, instead of closing.
    pub continue_on_timeout: bool,
}

/// Whether to tell HTTP from other protocols by the first bytes.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum HttpInspection {
    Off,
    On,
}

/// Whether to read server name and ALPN from a ClientHello.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum TlsInspection {
    Off,
    On,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalSource {
    /// `SO_MARK` of the upstream socket; 0: none.
    pub mark: u32,
    /// Bind the caller's port too.
    pub bind_port: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct FilterChain {
    /// May be empty.
    pub name: Arc<str>,
    pub matches: FilterChainMatch,
    pub transport: DownstreamTransport,
    /// How long the TLS handshake may take; `None`: for ever.
    pub transport_timeout: Option<Duration>,
    /// Asked in order before the terminal filter.
    pub rbac: Vec<RbacFilter>,
    /// Asked in order about what RBAC lets through.
    pub external_authorizations: Vec<Arc<ExternalAuthorization>>,
    pub terminal: TerminalFilter,
}

/// Empty fields match everything. Chosen by the most specific match, in the order of the fields
/// (port, addresses, server name, transport, application protocol, direct source, source).
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct FilterChainMatch {
    pub destination_port: Option<u16>,
    pub destination_ranges: Vec<PrefixRange>,
    /// Exact in lower case, or `*.suffix`.
    pub server_names: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
    pub application_protocols: Vec<String>,
    pub direct_source_ranges: Vec<PrefixRange>,
    pub source_kind: SourceKind,
    pub source_ranges: Vec<PrefixRange>,
    pub source_ports: Vec<u16>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum TransportProtocol {
    Tls,
    RawBuffer,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    #[default]
    Any,
    SameAddressOrLoopback,
    External,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TerminalFilter {
    TcpProxy(Arc<TcpProxy>),
    Http(Arc<ConnectionManager>),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct TcpProxy {
    pub stat_prefix: String,
    /// At least one, the weights' sum above 0.
    pub clusters: Vec<WeightedTcpCluster>,
    /// Without a byte either way; `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// From the caller's connection on; `None`: no limit.
    pub longest: Option<Duration>,
    /// Attempts to connect, at least 1.
    pub max_connect_attempts: u32,
    pub access_logs: Vec<AccessLog>,
    pub hash_source_ip: bool,
    pub tunnel: Option<Tunnel>,
}

/// Connections are carried through an HTTP proxy, which the clusters are (`TcpProxy.TunnelingConfig`).
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// `HOST:PORT` that the proxy is asked for.
    pub target: String,
    /// By POST in place of CONNECT.
    pub post: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct WeightedTcpCluster {
    pub cluster: Arc<str>,
    pub weight: u32,
}

impl TcpProxy {
    /// The cluster for a connection that drew `random` (uniform over all `u64`).
    pub fn choose(&self, random: u64) -> Option<&Arc<str>> {
        let total: u64 = self
            .clusters
            .iter()
            .map(|entry| u64::from(entry.weight))
            .sum();
        let mut left = random.checked_rem(total)?;
        for entry in &self.clusters {
            let weight = u64::from(entry.weight);
            if left < weight {
                return Some(&entry.cluster);
            }
            left -= weight;
        }
        None
    }
}
