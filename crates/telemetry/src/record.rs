//! Records of connections and requests, as `docs/architecture.md` has them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::flags::Flags;
use crate::timestamp::Timestamp;

/// A connection's or request's number, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub u64);

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reporter {
    Inbound,
    Outbound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Open,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allow,
    Deny,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// One end of a connection. SPIFFE ID and serial are empty where nothing was proved.
#[derive(Debug, Clone, Serialize)]
pub struct Party {
    pub address: IpAddr,
    pub port: u16,
    pub spiffe_id: Arc<str>,
    pub serial: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Tls {
    pub version: &'static str,
    pub cipher: Arc<str>,
    pub group: Arc<str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    pub revision: Arc<str>,
    pub verdict: Verdict,
    /// Empty: no policy was needed to decide.
    pub policy: Arc<str>,
    pub reason: Arc<str>,
    /// The AUDIT policy that matched, whatever the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Arc<str>>,
    /// What the policies in dry run would have decided, had they alone been enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRun>,
    /// The authorizer outside the proxy that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer: Option<Arc<str>>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct DryRun {
    pub verdict: Verdict,
    /// Empty: no policy matched.
    pub policy: Arc<str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Connection {
    pub phase: Phase,
    pub id: Id,
    pub time: Timestamp,
    pub reporter: Reporter,
    pub pod: Arc<str>,
    pub listener: Arc<str>,
    pub source: Party,
    pub destination: Party,
    pub tls: Option<Tls>,
    pub policy: Policy,
    #[serde(flatten)]
    pub counters: Option<Counters>,
    pub flags: Flags,
}

/// Known when a connection has ended.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counters {
    /// From the caller.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Request {
    pub id: Id,
    pub connection: Id,
    pub time: Timestamp,
    pub reporter: Reporter,
    pub method: String,
    pub authority: String,
    pub path: String,
    /// 0: the call ended without an answer.
    pub status: u16,
    pub duration_us: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub flags: Flags,
    pub route: Arc<str>,
    pub cluster: Arc<str>,
    pub upstream: String,
    pub policy: Policy,
    pub trace_id: String,
    pub request_id: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    Connection(Box<Connection>),
    Request(Box<Request>),
}
