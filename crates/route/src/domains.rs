//! Virtual hosts by the names that a request may give them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hauberk_config::route::VirtualHost;

use crate::prefixes::Prefixes;

/// Finds a virtual host: by its exact name, then the longest `*.suffix`, then the longest `prefix.*`, then `*`.
#[derive(Debug)]
pub struct Domains {
    /// Sorted. Names themselves stay where they are stated: ten thousand hosts have many of them.
    exact: Vec<Exact>,
    /// Spelled backwards.
    suffixes: Prefixes<u32>,
    prefixes: Prefixes<u32>,
    any: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Exact {
    hash: u64,
    host: u32,
    domain: u32,
}

impl Domains {
    pub fn new(hosts: &[Arc<VirtualHost>]) -> Self {
        let mut exact = Vec::new();
        let (mut suffixes, mut prefixes, mut any) = (Vec::new(), Vec::new(), None);
        for (number, host) in (0_u32..).zip(hosts) {
            for (place, domain) in (0_u32..).zip(&host.domains) {
                if domain == "*" {
                    any = Some(number);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    suffixes.push((suffix.bytes().rev().collect(), number));
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    prefixes.push((prefix.as_bytes().to_vec(), number));
                } else {
                    exact.push(Exact {
                        hash: hash(domain),
                        host: number,
                        domain: place,
                    });
                }
            }
        }
        exact.sort_unstable();
        exact.shrink_to_fit();
        Self {
            exact,
            suffixes: Prefixes::new(suffixes),
            prefixes: Prefixes::new(prefixes),
            any,
        }
    }

    /// The number of the host that has `name`, which is in lower case. Of several with the same domain it is the last.
    pub fn find(&self, hosts: &[Arc<VirtualHost>], name: &str) -> Option<u32> {
        self.find_exact(hosts, name)
            .or_else(|| {
                if self.suffixes.is_empty() {
                    return None;
                }
                let backwards: Vec<u8> = name.bytes().rev().collect();
                wildcard(&self.suffixes, &backwards)
            })
            .or_else(|| wildcard(&self.prefixes, name.as_bytes()))
            .or(self.any)
    }

    fn find_exact(&self, hosts: &[Arc<VirtualHost>], name: &str) -> Option<u32> {
        let hash = hash(name);
        let from = self.exact.partition_point(|one| one.hash < hash);
        let same = self.exact[from..].iter().take_while(|one| one.hash == hash);
        same.filter(|one| hosts[one.host as usize].domains[one.domain as usize] == name)
            .last()
            .map(|one| one.host)
    }
}

/// A wildcard stands for one character at least (Envoy).
fn wildcard(prefixes: &Prefixes<u32>, name: &[u8]) -> Option<u32> {
    let shorter = name.get(..name.len().checked_sub(1)?)?;
    prefixes.of(shorter).next()?.last().copied()
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
