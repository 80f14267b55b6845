//! What all workers of a proxy know of a cluster and of its hosts together: circuit breakers' counts, the load of each
//! host and how its calls went. Counters are atomic and never waited for; a lock is taken only when a host is ejected.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hauberk_config::cluster::OutlierDetection;
use tokio::time::Instant;

use crate::outlier::Verdicts;

/// Of one cluster; it stays while the cluster does, whatever changes in it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub usage: Usage,
    /// From here on intervals are counted.
    started: Instant,
    hosts: Mutex<HashMap<SocketAddr, Arc<Standing>>>,
    /// The interval for which rates were last looked at.
    looked_at: AtomicU64,
}

/// What counts against the circuit breakers' thresholds, by priority.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub requests: [AtomicU32; 2],
    pub connections: [AtomicU32; 2],
    pub pending: [AtomicU32; 2],
    pub retries: [AtomicU32; 2],
}

/// Of one host.
#[derive(Debug)]
pub struct Standing {
    /// Requests and TCP connections on the way.
    pub(crate) active: AtomicU32,
    pub(crate) verdicts: Verdicts,
    /// When it was first heard of.
    pub(crate) since: Instant,
    /// Its cluster's.
    started: Instant,
    /// Milliseconds since then; 0: it is not ejected.
    ejected_until: AtomicU64,
    ejections: Mutex<Ejections>,
}

/// How often a host was ejected, less the intervals that it has stood since.
#[derive(Debug, Default)]
struct Ejections {
    count: u32,
    /// The interval in which it came back last.
    back_at: u64,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            usage: Usage::default(),
            started: Instant::now(),
            hosts: Mutex::default(),
            looked_at: AtomicU64::new(0),
        }
    }

    pub fn host(&self, address: SocketAddr) -> Arc<Standing> {
        let new = || Arc::new(Standing::new(self.started));
        Arc::clone(lock(&self.hosts).entry(address).or_insert_with(new))
    }

    /// Forgets hosts that are gone; one that comes back is a new one.
    pub fn keep(&self, addresses: &HashSet<SocketAddr>) {
        lock(&self.hosts).retain(|address, _| addresses.contains(address));
    }

    /// Whether an interval has ended for which nobody has looked at the rates yet; true for one worker alone.
    pub fn interval_ended(&self, interval: Duration) -> bool {
        let current = milliseconds(self.started.elapsed()) / milliseconds(interval).max(1);
        self.looked_at.fetch_max(current, Relaxed) < current
    }

    /// Ejects `host`, unless too many are: `of` are the cluster's hosts.
    pub fn eject(
        &self,
        host: &Standing,
        detection: &OutlierDetection,
        of: impl Iterator<Item = Arc<Standing>>,
    ) -> bool {
        // All workers decide one after the other, so that they never eject too many together.
        let _turn = lock(&self.hosts);
        let now = milliseconds(self.started.elapsed());
        let (mut total, mut out) = (0_usize, 0_usize);
        for one in of {
            total += 1;
            out += usize::from(one.ejected());
        }
        let most = usize::from(detection.max_ejection_percent);
        let always = detection.always_eject_one_host && out == 0;
        if host.ejected() || (!always && (out + 1) * 100 > total * most) {
            return false;
        }
        let interval = milliseconds(detection.interval).max(1);
        let mut ejections = lock(&host.ejections);
        let stood = (now / interval).saturating_sub(ejections.back_at);
        let stood = u32::try_from(stood).unwrap_or(u32::MAX);
        ejections.count = ejections.count.saturating_sub(stood).saturating_add(1);
        let time = detection
            .base_ejection_time
            .saturating_mul(ejections.count)
            .min(
                detection
                    .max_ejection_time
                    .max(detection.base_ejection_time),
            );
        // Hosts come back at the end of an interval.
        let back_at = (now + milliseconds(time)).div_ceil(interval);
        ejections.back_at = back_at;
        host.ejected_until.store(back_at * interval, Relaxed);
        host.verdicts.forget_row();
        true
    }
}

impl Standing {
    /// Of a host of a cluster whose time began at `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            active: AtomicU32::new(0),
            verdicts: Verdicts::default(),
            since: Instant::now(),
            started,
            ejected_until: AtomicU64::new(0),
            ejections: Mutex::default(),
        }
    }

    pub fn ejected(&self) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until > 0 && until > milliseconds(self.started.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection() -> OutlierDetection {
        OutlierDetection {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }
    }

    fn shared() -> (Shared, Vec<Arc<Standing>>) {
        let shared = Shared::new();
        let hosts = (1..=4_u8).map(|last| shared.host(SocketAddr::from(([10, 0, 0, last], 80))));
        let hosts = hosts.collect();
        (shared, hosts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_comes_back_at_the_end_of_an_interval_and_stays_away_longer_each_time() {
        let (shared, hosts) = shared();
        let eject = |host: &Standing| shared.eject(host, &detection(), hosts.iter().cloned());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(eject(&hosts[0]));
        assert!(!eject(&hosts[0]), "it is ejected already");
        tokio::time::advance(Duration::from_secs(35)).await;
        assert!(hosts[0].ejected(), "its 30 s are over, the interval is not");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!hosts[0].ejected());
        assert!(eject(&hosts[0]));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(hosts[0].ejected(), "the second time it is a minute");
        tokio::time::advance(Duration::from_secs(41)).await;
        assert!(eject(&hosts[0]));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(
            !hosts[0].ejected(),
            "four intervals of standing are forgiven"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_percentage_are_ejected() {
        let (shared, hosts) = shared();
        let eject = |host: &Standing, detection: &OutlierDetection| {
            shared.eject(host, detection, hosts.iter().cloned())
        };
        assert!(eject(&hosts[0], &detection()) && eject(&hosts[1], &detection()));
        assert!(!eject(&hosts[2], &detection()), "two of four are half");
        tokio::time::advance(Duration::from_secs(40)).await;
        let mut few = detection();
        few.max_ejection_percent = 10;
        assert!(!eject(&hosts[0], &few));
        few.always_eject_one_host = true;
        assert!(eject(&hosts[0], &few) && !eject(&hosts[1], &few));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_ends_for_one_worker_alone() {
        let (shared, _) = shared();
        let interval = Duration::from_secs(10);
        assert!(!shared.interval_ended(interval));
        tokio::time::advance(interval).await;
        assert!(shared.interval_ended(interval) && !shared.interval_ended(interval));
    }
}
