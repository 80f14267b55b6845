//! A worker's view of a cluster.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use hauberk_config::cluster::{Discovery, Limits, LoadBalancing, OutlierDetection};
use hauberk_config::endpoint::{Endpoint, EndpointAddress};
use hauberk_config::route::Priority;
use tokio::time::Instant;

use crate::balance::{self, Level, Locality, Rule};
use crate::host::Host;
use crate::outlier::{self, Outcome};
use crate::random::random;
use crate::standing::{Shared, Standing, Usage};
use crate::target::Target;

/// Original destinations kept with their connections.
const MOST_ORIGINAL_DESTINATIONS: usize = 1024;

#[derive(Debug)]
pub struct Cluster<P> {
    pub target: Arc<Target>,
    levels: Vec<Level<P>>,
    rule: Rule,
    original: RefCell<HashMap<SocketAddr, Rc<Host<P>>>>,
}

/// What of a call its host depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Where the caller meant to go, for clusters that follow it.
    pub original: Option<SocketAddr>,
    /// What consistent hashing goes by; `None`: any host will do.
    pub hash: Option<u64>,
    /// Priorities to leave out if another has hosts to use.
    pub tried: &'a [u32],
}

/// The kind of thing a circuit breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Request,
    Connection,
    /// A request that waits for a connection.
    Pending,
    Retry,
}

/// A place under a circuit breaker's threshold, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    kind: Limited,
    priority: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let counter = self.shared.usage.counter(self.kind, self.priority);
        counter.fetch_sub(1, Relaxed);
    }
}

impl Usage {
    fn counter(&self, kind: Limited, priority: usize) -> &AtomicU32 {
        match kind {
            Limited::Request => &self.requests[priority],
            Limited::Connection => &self.connections[priority],
            Limited::Pending => &self.pending[priority],
            Limited::Retry => &self.retries[priority],
        }
    }
}

impl<P: Default> Cluster<P> {
    /// Hosts that are in `previous` too, and spoken to in the same way, stay with their connections.
    pub fn new(target: Arc<Target>, previous: Option<&Self>) -> Self {
        let config = &target.config;
        let mut kept: HashMap<SocketAddr, Rc<Host<P>>> = previous
            .iter()
            .flat_map(|previous| previous.hosts())
            .map(|host| (host.address, Rc::clone(host)))
            .collect();
        let mut levels: Vec<Level<P>> = Vec::new();
        let assignment = target.endpoints.clone();
        for group in assignment.iter().flat_map(|all| &all.localities) {
            let hosts = group
                .endpoints
                .iter()
                .filter_map(|endpoint| host(&target, endpoint, &mut kept))
                .collect();
            let priority = group.priority as usize;
            while levels.len() <= priority {
                levels.push(Level {
                    localities: Vec::new(),
                    consistent: OnceCell::new(),
                });
            }
            levels[priority].localities.push(Locality {
                weight: group.weight.unwrap_or(1),
                hosts,
            });
        }
        let rule = Rule {
            balancing: config.load_balancing,
            locality_weighted: config.locality_weighted,
            panic_threshold: config.panic_threshold,
            overprovisioning: assignment.map_or(140, |all| all.overprovisioning_factor.max(100)),
            slow_start: config.slow_start,
        };
        Self {
            target,
            levels,
            rule,
            original: RefCell::default(),
        }
    }

    /// The host for one call. `avoid`: hosts that were tried in vain.
    pub fn choose(
        &self,
        choice: Choice<'_>,
        avoid: &dyn Fn(&Host<P>) -> bool,
    ) -> Option<Rc<Host<P>>> {
        if let Discovery::OriginalDestination { port } = self.target.config.discovery {
            let mut address = choice.original?;
            if let Some(port) = port {
                address.set_port(port);
            }
            return Some(self.original(address));
        }
        balance::choose(&self.levels, self.rule, choice.hash, choice.tried, avoid)
    }

    fn original(&self, address: SocketAddr) -> Rc<Host<P>> {
        let mut known = self.original.borrow_mut();
        if known.len() >= MOST_ORIGINAL_DESTINATIONS && !known.contains_key(&address) {
            known.retain(|_, host| host.active() > 0);
        }
        let new = || {
            let endpoint = Endpoint {
                address: EndpointAddress::Socket(address),
                hostname: String::new(),
                weight: 1,
                health: hauberk_config::endpoint::Health::Unknown,
                transport_labels: Vec::new(),
                subset_labels: Vec::new(),
                workload: None,
            };
            let transport = Arc::clone(self.target.transport(&endpoint));
            let standing = Arc::new(Standing::new(Instant::now()));
            Rc::new(Host::new(address, None, transport, standing))
        };
        Rc::clone(known.entry(address).or_insert_with(new))
    }
}

impl<P> Cluster<P> {
    /// The priority that a host is of.
    pub fn priority_of(&self, host: &Rc<Host<P>>) -> u32 {
        let has = |level: &Level<P>| level.localities.iter().any(|one| one.has(host));
        let place = self.levels.iter().position(has).unwrap_or(0);
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Every host with its connections.
    pub fn each_host(&self, mut act: impl FnMut(&Rc<Host<P>>)) {
        self.hosts().for_each(&mut act);
        self.original.borrow().values().for_each(act);
    }

    fn hosts(&self) -> impl Iterator<Item = &Rc<Host<P>>> {
        self.levels
            .iter()
            .flat_map(|level| &level.localities)
            .flat_map(|locality| &locality.hosts)
    }

    /// A place under a limit, which all workers share; `None`: the circuit breaker is open.
    pub fn admit(&self, kind: Limited, priority: Priority) -> Option<Slot> {
        let (index, limits) = self.limits(priority);
        let usage = &self.target.shared.usage;
        let most = match kind {
            Limited::Request => limits.max_requests,
            Limited::Connection => limits.max_connections,
            Limited::Pending => limits.max_pending_requests,
            Limited::Retry => match limits.retry_budget {
                None => limits.max_retries,
                Some(budget) => budget.most(usage.requests[index].load(Relaxed)),
            },
        };
        // Taken first and looked at then, so that two workers never take the last place both.
        let before = usage.counter(kind, index).fetch_add(1, Relaxed);
        let slot = self.taken(kind, index);
        (before < most).then_some(slot)
    }

    /// A place whatever the limit says; it counts all the same.
    pub fn admit_anyway(&self, kind: Limited, priority: Priority) -> Slot {
        let index = self.limits(priority).0;
        let usage = &self.target.shared.usage;
        usage.counter(kind, index).fetch_add(1, Relaxed);
        self.taken(kind, index)
    }

    fn limits(&self, priority: Priority) -> (usize, &Limits) {
        match priority {
            Priority::Default => (0, &self.target.config.default_limits),
            Priority::High => (1, &self.target.config.high_priority_limits),
        }
    }

    fn taken(&self, kind: Limited, priority: usize) -> Slot {
        Slot {
            shared: Arc::clone(&self.target.shared),
            kind,
            priority,
        }
    }

    /// Tells how a call to `host` went; hosts that fail too often are left out for a while (outlier detection).
    pub fn judge(&self, host: &Host<P>, outcome: Outcome) {
        let Some(detection) = &self.target.config.outlier_detection else {
            return;
        };
        let by_chance = |enforcing: u8| random() % 100 < u64::from(enforcing);
        let errors = &self.target.config.http.errors;
        let outcome = match outcome {
            // Where errors are told, nothing else is one.
            Outcome::Answered(status) if !errors.is_empty() => {
                Outcome::Answered(if errors.contains(&status) { 500 } else { 200 })
            }
            other => other,
        };
        if let Some(enforcing) = host.standing.verdicts.note(outcome, detection)
            && by_chance(enforcing)
        {
            self.eject(host, detection);
        }
        if detection.by_rate() && self.target.shared.interval_ended(detection.interval) {
            self.compare(detection, by_chance);
        }
    }

    /// At the end of an interval: hosts whose share of successes is too low.
    fn compare(&self, detection: &OutlierDetection, by_chance: impl Fn(u8) -> bool) {
        let hosts: Vec<_> = self.hosts().filter(|host| host.usable()).collect();
        let closed = hosts
            .iter()
            .map(|host| host.standing.verdicts.close_interval());
        let (answers, local): (Vec<_>, Vec<_>) = closed.map(|[one, other]| (one, other)).unzip();
        let mut out = outlier::outliers(&answers, &detection.answers);
        if detection.split_local_origin_errors {
            out.extend(outlier::outliers(&local, &detection.local_origin));
        }
        for (place, enforcing) in out {
            if by_chance(enforcing) {
                self.eject(hosts[place], detection);
            }
        }
    }

    fn eject(&self, host: &Host<P>, detection: &OutlierDetection) {
        let all = self.hosts().map(|one| Arc::clone(&one.standing));
        if self.target.shared.eject(&host.standing, detection, all) {
            let (name, address) = (&self.target.config.name, host.address);
            tracing::info!(cluster = %name, %address, "a host fails and is left out for a while");
        }
    }

    pub fn connect_timeout(&self) -> Duration {
        self.target.config.connect_timeout
    }

    pub fn follows_original_destination(&self) -> bool {
        self.target.config.load_balancing == LoadBalancing::ClusterProvided
            || matches!(
                self.target.config.discovery,
                Discovery::OriginalDestination { .. }
            )
    }
}

fn host<P: Default>(
    target: &Target,
    endpoint: &Endpoint,
    kept: &mut HashMap<SocketAddr, Rc<Host<P>>>,
) -> Option<Rc<Host<P>>> {
    let address = endpoint.address.socket()?;
    let transport = target.transport(endpoint);
    match kept.remove(&address) {
        Some(host)
            if Arc::ptr_eq(&host.transport, transport)
                && host.endpoint.as_ref() == Some(endpoint) =>
        {
            Some(host)
        }
        _ => Some(Rc::new(Host::new(
            address,
            Some(endpoint.clone()),
            Arc::clone(transport),
            target.shared.host(address),
        ))),
    }
}
