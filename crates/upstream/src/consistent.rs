//! Consistent hashing: a key stays with its host while others come and go.
//!
//! Both tables hold all hosts, usable or not: a key whose host may not be used goes to the next that may, and comes back
//! when its own does.

use std::net::SocketAddr;

use hauberk_config::cluster::LoadBalancing;

use crate::hash::{hash, mix};

/// Hosts are numbers: their places in the list that the table was made from.
#[derive(Debug)]
pub(crate) enum Consistent {
    /// Points on a circle, each of a host's; sorted.
    Ring(Vec<(u64, u32)>),
    /// Maglev (Eisenbud et al., NSDI 2016, §3.4): each place belongs to a host.
    Maglev(Vec<u32>),
}

impl Consistent {
    /// `None`: there is nobody, or `rule` hashes nothing. Weights are above 0.
    pub fn new(rule: LoadBalancing, hosts: &[(SocketAddr, f64)]) -> Option<Self> {
        if hosts.is_empty() {
            return None;
        }
        match rule {
            LoadBalancing::RingHash {
                minimum_size,
                maximum_size,
            } => Some(Self::ring(hosts, minimum_size, maximum_size)),
            LoadBalancing::Maglev { table_size } => Some(Self::maglev(hosts, table_size)),
            _ => None,
        }
    }

    /// The lightest host has at least one point, and all together at least `minimum` and at most `maximum`.
    fn ring(hosts: &[(SocketAddr, f64)], minimum: u64, maximum: u64) -> Self {
        let total: f64 = hosts.iter().map(|(_, weight)| weight).sum();
        let least = hosts.iter().map(|(_, weight)| weight / total);
        let least = least.fold(f64::INFINITY, f64::min);
        let size = ((least * minimum as f64).ceil() / least).min(maximum as f64);
        let mut points = Vec::new();
        let (mut wanted, mut made) = (0.0, 0_u64);
        for (index, (address, weight)) in (0_u32..).zip(hosts) {
            wanted += weight / total * size;
            let name = address.to_string();
            let mut turn = 0;
            while (made as f64) < wanted.round() {
                points.push((hash(name.as_bytes(), turn), index));
                turn += 1;
                made += 1;
            }
        }
        points.sort_unstable();
        Self::Ring(points)
    }

    /// `size` is a prime, so that every host's order of preference covers all places.
    fn maglev(hosts: &[(SocketAddr, f64)], size: u64) -> Self {
        struct Candidate {
            offset: u64,
            step: u64,
            next: u64,
            credit: f64,
        }
        let heaviest = hosts.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        let mut candidates: Vec<Candidate> = hosts
            .iter()
            .map(|(address, _)| {
                let name = address.to_string();
                Candidate {
                    offset: hash(name.as_bytes(), 0) % size,
                    step: hash(name.as_bytes(), 1) % (size - 1) + 1,
                    next: 0,
                    credit: 0.0,
                }
            })
            .collect();
        let mut places: Vec<Option<u32>> = vec![None; usize::try_from(size).unwrap_or(usize::MAX)];
        let mut free = places.len();
        while free > 0 {
            for (index, (candidate, (_, weight))) in (0_u32..).zip(candidates.iter_mut().zip(hosts))
            {
                candidate.credit += weight / heaviest;
                if candidate.credit < 1.0 || free == 0 {
                    continue;
                }
                candidate.credit -= 1.0;
                loop {
                    let place = (candidate.offset + candidate.next * candidate.step) % size;
                    candidate.next += 1;
                    let place = &mut places[place as usize];
                    if place.is_none() {
                        *place = Some(index);
                        free -= 1;
                        break;
                    }
                }
            }
        }
        Self::Maglev(places.into_iter().flatten().collect())
    }

    /// The host of `key` among those for which `allowed` says true.
    pub fn find(&self, key: u64, allowed: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < key);
                let (before, from) = points.split_at(start);
                let mut order = from.iter().chain(before).map(|(_, host)| *host);
                order.find(|host| allowed(*host))
            }
            Self::Maglev(places) => {
                let size = places.len() as u64;
                let mut tries = (0..64_u64).map(|turn| {
                    let key = if turn == 0 { key } else { mix(key ^ turn) };
                    places[(key % size) as usize]
                });
                tries
                    .find(|host| allowed(*host))
                    .or_else(|| places.iter().copied().find(|host| allowed(*host)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn hosts(weights: &[f64]) -> Vec<(SocketAddr, f64)> {
        let address = |index| SocketAddr::from(([10, 0, 0, index], 80));
        (1_u8..).map(address).zip(weights.iter().copied()).collect()
    }

    fn rules() -> [LoadBalancing; 2] {
        let ring = LoadBalancing::RingHash {
            minimum_size: 4096,
            maximum_size: 1 << 20,
        };
        [ring, LoadBalancing::Maglev { table_size: 65_537 }]
    }

    fn share(table: &Consistent, allowed: impl Fn(u32) -> bool) -> HashMap<u32, f64> {
        let mut counts = HashMap::new();
        for key in 0..20_000_u64 {
            let host = table.find(hash(&key.to_le_bytes(), 0), &allowed);
            *counts.entry(host.unwrap_or(u32::MAX)).or_default() += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn hosts_get_their_weights() {
        for rule in rules() {
            let table = Consistent::new(rule, &hosts(&[1.0, 2.0, 1.0])).unwrap_or_else(|| panic!());
            let share = share(&table, |_| true);
            for (host, wanted) in [(0, 0.25), (1, 0.5), (2, 0.25)] {
                let found: f64 = share[&host];
                assert!((found - wanted).abs() < 0.03, "{rule:?} {host}: {found}");
            }
        }
    }

    #[test]
    fn only_the_keys_of_a_lost_host_move() {
        for rule in rules() {
            let table = Consistent::new(rule, &hosts(&[1.0; 5])).unwrap_or_else(|| panic!());
            for key in (0..2000_u64).map(mix) {
                let before = table.find(key, |_| true);
                let after = table.find(key, |host| host != 3);
                assert_ne!(after, Some(3));
                assert!(before == Some(3) || before == after, "{rule:?} {key}");
            }
            assert_eq!(table.find(7, |_| false), None);
        }
    }

    #[test]
    fn few_keys_move_when_a_host_comes() {
        for rule in rules() {
            let small = Consistent::new(rule, &hosts(&[1.0; 9])).unwrap_or_else(|| panic!());
            let large = Consistent::new(rule, &hosts(&[1.0; 10])).unwrap_or_else(|| panic!());
            let keys = (0..10_000_u64).map(mix);
            let moved = keys
                .filter(|key| small.find(*key, |_| true) != large.find(*key, |_| true))
                .count();
            assert!(
                (800..2500).contains(&moved),
                "{rule:?}: {moved} of 10000 moved"
            );
        }
    }

    #[test]
    fn nobody_is_no_table() {
        assert!(Consistent::new(rules()[0], &[]).is_none());
        assert!(Consistent::new(LoadBalancing::Random, &hosts(&[1.0])).is_none());
    }
}
