//! What a proxy runs from: immutable snapshots of listeners, routes, clusters, endpoints and secrets. No I/O, no protobuf.
//!
//! | where | what |
//! |---|---|
//! | [`snapshot`] | [`Snapshot`]: everything by name with versions; [`Table`] shares what did not change |
//! | [`listener`] | [`Listener`](listener::Listener), filter chains and their matches, TCP proxy |
//! | [`connection_manager`] | HTTP connection manager: codec, HTTP filters, tracing, forwarding headers, path normalization |
//! | [`access_log`] | sinks, formats and filters of access logs |
//! | [`route`] | route configurations, virtual hosts, routes, actions, retries, mirrors, CORS, overrides by route |
//! | [`matcher`] | strings, headers, query parameters, CIDR blocks |
//! | [`fault`] | delays and aborts; [`Fraction`](fault::Fraction), a share of calls |
//! | [`rbac`] | permissions and principals |
//! | [`jwt`] | tokens of end users: providers, their keys, what a request must have |
//! | [`external_authorization`] | authorizers outside the proxy: who is asked, about what, and what an answer may do |
//! | [`external_processor`] | a service that sees requests and responses: how much of them |
//! | [`rate_limit`] | buckets of this proxy, limits that a service knows, and what is counted apart |
//! | [`cluster`] | clusters: discovery, balancing, limits, outlier detection, upstream HTTP, transport by endpoint |
//! | [`endpoint`] | localities, endpoints, their health, labels and workload |
//! | [`tls`] | TLS contexts of both sides; secrets by name |
//! | [`secret`] | keys, chains and trust bundles; never printed |
//! | [`dns`] | the table of the DNS listener |
//!
//! Everything compares with `==`, so that an update that changes nothing can be told from one that does.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod cluster;
pub mod connection_manager;
pub mod dns;
pub mod endpoint;
pub mod external_authorization;
pub mod external_processor;
pub mod fault;
pub mod jwt;
pub mod listener;
pub mod matcher;
pub mod rate_limit;
pub mod rbac;
pub mod route;
pub mod secret;
pub mod snapshot;
pub mod tls;

pub use snapshot::{Entry, Refusal, Snapshot, Table};
