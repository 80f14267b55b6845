//! A listener made ready, and the choice of a filter chain for a connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hauberk_config::Snapshot;
use hauberk_config::connection_manager::{
    ConnectionManager, HttpFilter, HttpFilterKind, RouteSource,
};
use hauberk_config::listener::{
    self as stated, FilterChain, FilterChainMatch, SourceKind, TcpProxy, TerminalFilter, Traffic,
    TransportProtocol,
};
use hauberk_config::matcher::PrefixRange;
use hauberk_config::secret::Secret;
use hauberk_config::tls::DownstreamTransport;
use hauberk_tls::{ContextError, ServerContext};

use hauberk_policy::Access;
use hauberk_route::Routes;

use crate::access_log::Logs;
use crate::filters::{Authorizer, Filters, Limits};

pub struct Listener {
    pub config: Arc<stated::Listener>,
    chains: Vec<Arc<Chain>>,
    default: Option<Arc<Chain>>,
    secrets: Vec<Option<Arc<Secret>>>,
}

pub struct Chain {
    pub config: Arc<FilterChain>,
    pub transport: Transport,
    pub rbac: Vec<Access>,
    pub authorizers: Vec<Authorizer>,
    pub http: Option<Manager>,
    /// Of the connection manager, or of the TCP proxy.
    pub access_logs: Logs,
}

pub enum Transport {
    Plain,
    Tls(ServerContext),
    /// Connections are closed; they never fall back to plain text.
    Broken(ContextError),
}

/// The HTTP side of a chain.
pub struct Manager {
    pub config: Arc<ConnectionManager>,
    pub filters: Filters,
    pub routes: RouteTable,
    /// `suppress_envoy_headers` of the router.
    pub suppress_envoy_headers: bool,
    /// A log asks for headers of requests.
    pub keeps_headers: bool,
}

pub enum RouteTable {
    Named(Arc<str>),
    Inline(Arc<Routes>),
}

/// What is known of a connection when its chain is chosen.
#[derive(Debug, Clone)]
pub struct Facts {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub tls: bool,
    /// In lower case.
    pub server_name: Option<String>,
    /// ALPN, or what the bytes showed.
    pub protocols: Vec<String>,
}

impl Listener {
    pub fn new(config: &Arc<stated::Listener>, snapshot: &Snapshot, limits: &Limits) -> Self {
        let (chains, default) = match &config.traffic {
            Traffic::Tcp(tcp) => (
                tcp.filter_chains
                    .iter()
                    .map(|chain| Arc::new(Chain::new(chain, snapshot, limits)))
                    .collect(),
                tcp.default_filter_chain
                    .as_ref()
                    .map(|chain| Arc::new(Chain::new(chain, snapshot, limits))),
            ),
            Traffic::Dns(_) => (Vec::new(), None),
        };
        Self {
            config: Arc::clone(config),
            chains,
            default,
            secrets: secrets(config, snapshot),
        }
    }

    /// Whether a snapshot with this `config` would give the same listener.
    pub fn current(&self, config: &Arc<stated::Listener>, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(&self.config, config) && self.secrets == secrets(config, snapshot)
    }

    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.chains
            .iter()
            .chain(&self.default)
            .filter_map(|chain| match &chain.transport {
                Transport::Broken(error) => Some(error.to_string()),
                _ => None,
            })
    }

    /// The chain for a connection, as Envoy chooses it: field by field, each time keeping the most specific matches
    /// and never coming back, so that a port with stricter rules cannot be entered by a laxer chain.
    pub fn chain(&self, facts: &Facts) -> Option<&Arc<Chain>> {
        let mut left: Vec<&Arc<Chain>> = self.chains.iter().collect();
        for specificity in FIELDS {
            let best = left
                .iter()
                .filter_map(|chain| specificity(&chain.config.matches, facts))
                .max();
            let Some(best) = best else {
                return self.default.as_ref();
            };
            left.retain(|chain| specificity(&chain.config.matches, facts) == Some(best));
        }
        left.first().copied().or(self.default.as_ref())
    }
}

fn secrets(config: &stated::Listener, snapshot: &Snapshot) -> Vec<Option<Arc<Secret>>> {
    let Traffic::Tcp(tcp) = &config.traffic else {
        return Vec::new();
    };
    tcp.chains()
        .filter_map(|chain| match &chain.transport {
            DownstreamTransport::Tls(tls) => Some(tls),
            DownstreamTransport::Plain => None,
        })
        .flat_map(|tls| tls.context.secrets())
        .map(|name| snapshot.secrets.get(name).cloned())
        .collect()
}

impl Chain {
    /// The chain of connections that no chain takes.
    pub fn closed() -> &'static Arc<Self> {
        static CLOSED: OnceLock<Arc<Chain>> = OnceLock::new();
        CLOSED.get_or_init(|| {
            Arc::new(Self {
                config: Arc::new(FilterChain {
                    name: Arc::from(""),
                    matches: FilterChainMatch::default(),
                    transport: DownstreamTransport::Plain,
                    transport_timeout: None,
                    rbac: Vec::new(),
                    external_authorizations: Vec::new(),
                    terminal: TerminalFilter::TcpProxy(Arc::new(TcpProxy {
                        stat_prefix: String::new(),
                        clusters: Vec::new(),
                        idle_timeout: None,
                        max_connect_attempts: 1,
                        access_logs: Vec::new(),
                        hash_source_ip: false,
                        longest: None,
                        tunnel: None,
                    })),
                }),
                transport: Transport::Plain,
                rbac: Vec::new(),
                authorizers: Vec::new(),
                http: None,
                access_logs: Logs::default(),
            })
        })
    }

    fn new(config: &Arc<FilterChain>, snapshot: &Snapshot, limits: &Limits) -> Self {
        let transport = match &config.transport {
            DownstreamTransport::Plain => Transport::Plain,
            DownstreamTransport::Tls(tls) => match ServerContext::new(tls, &snapshot.secrets) {
                Ok(context) => Transport::Tls(context),
                Err(error) => Transport::Broken(error),
            },
        };
        let access_logs = match &config.terminal {
            TerminalFilter::Http(manager) => Logs::new(&manager.access_logs),
            TerminalFilter::TcpProxy(proxy) => Logs::new(&proxy.access_logs),
        };
        Self {
            config: Arc::clone(config),
            transport,
            rbac: config.rbac.iter().map(Access::new).collect(),
            authorizers: config
                .external_authorizations
                .iter()
                .map(Authorizer::new)
                .collect(),
            http: match &config.terminal {
                TerminalFilter::Http(manager) => {
                    let keeps_headers = access_logs.want_headers();
                    Some(Manager::new(manager, limits, keeps_headers))
                }
                TerminalFilter::TcpProxy(_) => None,
            },
            access_logs,
        }
    }
}

impl Manager {
    fn new(config: &Arc<ConnectionManager>, limits: &Limits, keeps_headers: bool) -> Self {
        let suppresses = |filter: &HttpFilter| {
            let HttpFilterKind::Router {
                suppress_envoy_headers,
            } = filter.kind
            else {
                return false;
            };
            suppress_envoy_headers
        };
        Self {
            config: Arc::clone(config),
            filters: Filters::new(&config.filters, limits),
            routes: match &config.routes {
                RouteSource::Discovered(name) => RouteTable::Named(Arc::clone(name)),
                RouteSource::Inline(routes) => RouteTable::Inline(Arc::new(Routes::new(routes))),
            },
            suppress_envoy_headers: config.filters.iter().any(suppresses),
            keeps_headers,
        }
    }
}

/// How specifically a match fits; `None`: it does not. 0: it asks nothing.
type Specificity = fn(&FilterChainMatch, &Facts) -> Option<usize>;

const FIELDS: [Specificity; 9] = [
    |matches, facts| one(matches.destination_port.as_ref(), &facts.destination.port()),
    |matches, facts| range(&matches.destination_ranges, facts.destination),
    server_name,
    |matches, facts| {
        let transport = if facts.tls {
            TransportProtocol::Tls
        } else {
            TransportProtocol::RawBuffer
        };
        one(matches.transport_protocol.as_ref(), &transport)
    },
    |matches, facts| {
        let wanted = &matches.application_protocols;
        any(wanted.is_empty(), || {
            facts
                .protocols
                .iter()
                .any(|protocol| wanted.contains(protocol))
        })
    },
    |matches, facts| range(&matches.direct_source_ranges, facts.source),
    |matches, facts| {
        let local = facts.source.ip() == facts.destination.ip() || facts.source.ip().is_loopback();
        match matches.source_kind {
            SourceKind::Any => Some(0),
            SourceKind::SameAddressOrLoopback => local.then_some(1),
            SourceKind::External => (!local).then_some(1),
        }
    },
    |matches, facts| range(&matches.source_ranges, facts.source),
    |matches, facts| {
        let ports = &matches.source_ports;
        any(ports.is_empty(), || ports.contains(&facts.source.port()))
    },
];

fn one<T: PartialEq>(wanted: Option<&T>, found: &T) -> Option<usize> {
    match wanted {
        None => Some(0),
        Some(wanted) => (wanted == found).then_some(1),
    }
}

fn any(unasked: bool, fits: impl FnOnce() -> bool) -> Option<usize> {
    if unasked {
        Some(0)
    } else {
        fits().then_some(1)
    }
}

fn range(ranges: &[PrefixRange], address: SocketAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges
        .iter()
        .filter(|range| range.contains(address.ip()))
        .map(|range| usize::from(range.length()) + 1)
        .max()
}

fn server_name(matches: &FilterChainMatch, facts: &Facts) -> Option<usize> {
    if matches.server_names.is_empty() {
        return Some(0);
    }
    let name = facts.server_name.as_deref()?;
    matches
        .server_names
        .iter()
        .filter_map(|pattern| match pattern.strip_prefix('*') {
            None => (pattern == name).then_some(usize::MAX),
            Some(suffix) => name.ends_with(suffix).then_some(suffix.len() + 1),
        })
        .max()
}
