//! One worker: a thread, its program, its clusters with their connections, its counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hauberk_config::rbac::RbacFilter;
use hauberk_net::socket::Origin;
use hauberk_policy::Access;
use hauberk_telemetry::edge::Peer;
use hauberk_telemetry::metrics::Metrics;
use hauberk_telemetry::writer::Sink;
use hauberk_upstream::{Cluster, random};
use tokio::sync::watch;

use crate::pool::{self, Pool};
use crate::program::Program;

/// Who this proxy serves.
#[derive(Debug, Clone)]
pub struct Workload {
    /// `NAME.NAMESPACE`.
    pub pod: Arc<str>,
    /// As metrics name it; its principal is that of each connection.
    pub peer: Peer,
    /// Shown to endpoints, with `SO_MARK`.
    pub origin: Origin,
    /// Whether there is an access log to write to.
    pub access_log: bool,
}

/// What a connection learns while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Of the program.
    pub generation: u64,
    /// The process is ending.
    pub draining: bool,
}

/// A route's policies as stated, and compiled.
type Special = (Arc<RbacFilter>, Rc<Access>);

pub struct Worker {
    pub workload: Workload,
    pub metrics: Metrics,
    pub sink: Sink,
    program: RefCell<Arc<Program>>,
    clusters: RefCell<HashMap<Arc<str>, Rc<Cluster<Pool>>>>,
    /// Policies that stand in routes, in place of a filter's own.
    special: RefCell<HashMap<*const RbacFilter, Special>>,
    state: watch::Sender<State>,
    pub connections: Cell<u64>,
    /// Accepts that failed for want of a descriptor or of memory.
    pub failed_accepts: Rc<Cell<u64>>,
    pub active_faults: Cell<u32>,
}

impl Worker {
    pub fn new(workload: Workload, sink: Sink) -> Rc<Self> {
        let (state, _) = watch::channel(State {
            generation: 0,
            draining: false,
        });
        Rc::new(Self {
            workload,
            metrics: Metrics::default(),
            sink,
            program: RefCell::default(),
            clusters: RefCell::default(),
            special: RefCell::default(),
            state,
            connections: Cell::new(0),
            failed_accepts: Rc::default(),
            active_faults: Cell::new(0),
        })
    }

    pub fn program(&self) -> Arc<Program> {
        Arc::clone(&self.program.borrow())
    }

    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Runs `program` from now on. Connections to endpoints that stay are kept.
    pub fn install(&self, program: Arc<Program>) {
        let mut clusters = self.clusters.borrow_mut();
        clusters.retain(|name, _| program.clusters.contains_key(name));
        for (name, cluster) in clusters.iter_mut() {
            if let Some(target) = program.clusters.get(name)
                && !Arc::ptr_eq(target, &cluster.target)
            {
                *cluster = Rc::new(Cluster::new(Arc::clone(target), Some(cluster)));
            }
        }
        drop(clusters);
        self.special.borrow_mut().clear();
        let generation = program.snapshot.generation;
        *self.program.borrow_mut() = program;
        self.state
            .send_modify(|state| state.generation = generation);
    }

    pub fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// A cluster is made ready here when the first call needs it.
    pub fn cluster(&self, name: &str) -> Option<Rc<Cluster<Pool>>> {
        if let Some(cluster) = self.clusters.borrow().get(name) {
            return Some(Rc::clone(cluster));
        }
        let program = self.program.borrow();
        let (name, target) = program.clusters.get_key_value(name)?;
        let cluster = Rc::new(Cluster::new(Arc::clone(target), None));
        self.clusters
            .borrow_mut()
            .insert(Arc::clone(name), Rc::clone(&cluster));
        Some(cluster)
    }

    /// The policies of a route are compiled here when the first request needs them.
    pub fn special_access(&self, filter: &Arc<RbacFilter>) -> Rc<Access> {
        let mut special = self.special.borrow_mut();
        // The filter is kept, so that no other one comes to have its address.
        let (_, access) = special
            .entry(Arc::as_ptr(filter))
            .or_insert_with(|| (Arc::clone(filter), Rc::new(Access::new(filter))));
        Rc::clone(access)
    }

    /// Closes connections to endpoints that were idle too long.
    pub fn sweep(&self) {
        for cluster in self.clusters.borrow().values() {
            pool::sweep(cluster);
        }
    }

    pub fn each_cluster(&self, mut act: impl FnMut(&Cluster<Pool>)) {
        for cluster in self.clusters.borrow().values() {
            act(cluster);
        }
    }

    /// Where calls to `cluster` come from. `caller`: the address to show in place of ours, and its mark.
    pub fn origin(&self, cluster: &Cluster<Pool>, caller: Option<(IpAddr, u32)>) -> Origin {
        if let Some((address, mark)) = caller {
            return Origin {
                address: Some(address),
                other: None,
                mark,
            };
        }
        match &cluster.target.config.bind {
            Some(bind) => Origin {
                address: Some(bind.address).filter(|address| !address.is_unspecified()),
                other: None,
                mark: self.workload.origin.mark,
            },
            None => self.workload.origin,
        }
    }

    pub fn new_id() -> hauberk_telemetry::record::Id {
        hauberk_telemetry::record::Id(random())
    }
}
