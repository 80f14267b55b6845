//! The table that the proxy's DNS listener answers from.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct DnsTable {
    /// By name in lower case without the final dot. A name starting with `*.` covers every name below it.
    pub records: HashMap<String, DnsRecord>,
    /// Suffixes (lower case, no final dot) for which the table is the authority: an unknown name there does not exist.
    pub known_suffixes: Vec<String>,
    /// Where other names are asked; empty: they are refused.
    pub upstream_resolvers: Vec<SocketAddr>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct DnsRecord {
    pub addresses: Vec<IpAddr>,
    pub time_to_live: Duration,
}

impl DnsTable {
    /// The record of `name` (lower case, no final dot): its own, else that of the closest `*.` above it.
    pub fn lookup(&self, name: &str) -> Option<&DnsRecord> {
        if let Some(record) = self.records.get(name) {
            return Some(record);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(record) = self.records.get(&format!("*.{parent}")) {
                return Some(record);
            }
            rest = parent;
        }
        None
    }
}
