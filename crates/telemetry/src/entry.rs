//! Calls and connections that have ended, as collectors of access logs hear of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::flags::Flags;

/// A request, or (without `http`) a TCP connection.
#[derive(Debug, Clone)]
pub struct Entry {
    pub started: SystemTime,
    pub duration: Duration,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub upstream: Option<SocketAddr>,
    pub cluster: Option<Arc<str>>,
    pub flags: Flags,
    /// From the caller.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Of the caller's connection; `None`: it is plain text.
    pub tls: Option<Tls>,
    /// The AUDIT policy that matched.
    pub audit: Option<Arc<str>>,
    pub http: Option<Http>,
}

#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.3`, `TLSv1.2`.
    pub version: &'static str,
    /// What the caller asked for; may be empty.
    pub server_name: String,
    /// URI names of our own certificate.
    pub own: Vec<String>,
    /// URI names of the caller's certificate, if it was verified.
    pub peer: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Http {
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    pub method: String,
    pub scheme: &'static str,
    pub authority: String,
    pub path: String,
    pub user_agent: String,
    pub referer: String,
    pub forwarded_for: String,
    pub request_id: String,
    /// Empty if it is not known: see Envoy's response code details.
    pub details: String,
    pub status: u16,
    pub route: Arc<str>,
}
