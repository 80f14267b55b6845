//! A worker's view of a cluster.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::cluster::{Discovery, Limits, LoadBalancing};
use hauberk_config::endpoint::{Endpoint, EndpointAddress};
use hauberk_config::route::Priority;

use crate::balance::{self, Level, Locality, Rule};
use crate::host::Host;
use crate::target::Target;

/// Original destinations kept with their connections.
const MOST_ORIGINAL_DESTINATIONS: usize = 1024;

#[derive(Debug)]
pub struct Cluster<P> {
    pub target: Arc<Target>,
    levels: Vec<Level<P>>,
    rule: Rule,
    original: RefCell<HashMap<SocketAddr, Rc<Host<P>>>>,
    usage: Rc<Usage>,
}

/// What counts against the circuit breakers' thresholds, by priority.
#[derive(Debug, Default)]
struct Usage {
    requests: [Cell<u32>; 2],
    connections: [Cell<u32>; 2],
    pending: [Cell<u32>; 2],
    retries: [Cell<u32>; 2],
}

/// What of a call its host depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice {
    /// Where the caller meant to go, for clusters that follow it.
    pub original: Option<SocketAddr>,
    /// What consistent hashing goes by; `None`: any host will do.
    pub hash: Option<u64>,
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
    usage: Rc<Usage>,
    kind: Limited,
    priority: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let counter = self.usage.counter(self.kind, self.priority);
        counter.set(counter.get() - 1);
    }
}

impl Usage {
    /// Requests sent or waiting.
    fn under_way(&self, priority: usize) -> u32 {
        self.requests[priority].get()
    }

    fn counter(&self, kind: Limited, priority: usize) -> &Cell<u32> {
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
        };
        let usage = previous.map_or_else(Rc::default, |previous| Rc::clone(&previous.usage));
        Self {
            target,
            levels,
            rule,
            original: RefCell::default(),
            usage,
        }
    }

    /// The host for one call. `avoid`: hosts that were tried in vain.
    pub fn choose(&self, choice: Choice, avoid: &dyn Fn(&Host<P>) -> bool) -> Option<Rc<Host<P>>> {
        if let Discovery::OriginalDestination { port } = self.target.config.discovery {
            let mut address = choice.original?;
            if let Some(port) = port {
                address.set_port(port);
            }
            return Some(self.original(address));
        }
        balance::choose(&self.levels, self.rule, choice.hash, avoid)
    }

    fn original(&self, address: SocketAddr) -> Rc<Host<P>> {
        let mut known = self.original.borrow_mut();
        if known.len() >= MOST_ORIGINAL_DESTINATIONS && !known.contains_key(&address) {
            known.retain(|_, host| host.active.get() > 0);
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
            Rc::new(Host::new(address, None, transport))
        };
        Rc::clone(known.entry(address).or_insert_with(new))
    }
}

impl<P> Cluster<P> {
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

    /// A place under a limit; `None`: the circuit breaker is open.
    pub fn admit(&self, kind: Limited, priority: Priority) -> Option<Slot> {
        let (index, limits) = self.limits(priority);
        let most = match kind {
            Limited::Request => limits.max_requests,
            Limited::Connection => limits.max_connections,
            Limited::Pending => limits.max_pending_requests,
            Limited::Retry => match limits.retry_budget {
                None => limits.max_retries,
                Some(budget) => budget.most(self.usage.under_way(index)),
            },
        };
        (self.usage.counter(kind, index).get() < most).then(|| self.slot(kind, index))
    }

    /// A place whatever the limit says; it counts all the same.
    pub fn admit_anyway(&self, kind: Limited, priority: Priority) -> Slot {
        self.slot(kind, self.limits(priority).0)
    }

    fn limits(&self, priority: Priority) -> (usize, &Limits) {
        match priority {
            Priority::Default => (0, &self.target.config.default_limits),
            Priority::High => (1, &self.target.config.high_priority_limits),
        }
    }

    fn slot(&self, kind: Limited, priority: usize) -> Slot {
        let counter = self.usage.counter(kind, priority);
        counter.set(counter.get() + 1);
        Slot {
            usage: Rc::clone(&self.usage),
            kind,
            priority,
        }
    }

    /// Tells how a call to `host` went; hosts that fail too often in a row are left out for a while
    /// (outlier detection, consecutive failures only).
    pub fn judge(&self, host: &Host<P>, status: Option<u16>) {
        let Some(detection) = &self.target.config.outlier_detection else {
            return;
        };
        let failed = status.is_none_or(|status| status >= 500);
        let gateway = status.is_none_or(|status| (502..=504).contains(&status));
        if !failed {
            host.failures_in_a_row.set(0);
            return;
        }
        let failures = host.failures_in_a_row.get() + 1;
        host.failures_in_a_row.set(failures);
        let over = |limit: u32, enforcing: u8| limit > 0 && enforcing > 0 && failures >= limit;
        let out = over(
            detection.consecutive_5xx,
            detection.enforcing_consecutive_5xx,
        ) || gateway
            && over(
                detection.consecutive_gateway_failure,
                detection.enforcing_consecutive_gateway_failure,
            );
        let total = self.hosts().count();
        let ejected = self.hosts().filter(|host| !host.usable()).count();
        let may = (ejected + 1) * 100 <= total * usize::from(detection.max_ejection_percent)
            || ejected == 0 && total > 1;
        if out && may {
            host.ejections.set(host.ejections.get() + 1);
            let time = (detection.base_ejection_time * host.ejections.get()).min(
                detection
                    .max_ejection_time
                    .max(detection.base_ejection_time),
            );
            host.ejected_until
                .set(Some(tokio::time::Instant::now() + time));
            host.failures_in_a_row.set(0);
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
    let address = match &endpoint.address {
        EndpointAddress::Socket(address) => *address,
        EndpointAddress::Name { host, port } => SocketAddr::new(host.parse().ok()?, *port),
        EndpointAddress::Pipe(_) => return None,
    };
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
        ))),
    }
}
