//! A snapshot made ready to run: rules compiled, TLS contexts built, listeners found by address. Shared by all workers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::Snapshot;
use hauberk_config::listener::Traffic;
use hauberk_upstream::Target;

use crate::filters::Limits;
use crate::listener::Listener;
use hauberk_route::Routes;

#[derive(Default)]
pub struct Program {
    pub snapshot: Arc<Snapshot>,
    pub listeners: HashMap<Arc<str>, Arc<Listener>>,
    /// Listeners without a socket, by the address that they serve.
    unbound: HashMap<SocketAddr, Arc<Listener>>,
    pub routes: HashMap<Arc<str>, Arc<Routes>>,
    pub clusters: HashMap<Arc<str>, Arc<Target>>,
    limits: Arc<Limits>,
}

impl Program {
    /// Compiles what changed since `previous` and takes over the rest.
    pub fn new(snapshot: Arc<Snapshot>, previous: &Self) -> Self {
        let listeners: HashMap<_, _> = snapshot
            .listeners
            .iter()
            .map(|(name, entry)| {
                let old = previous.listeners.get(name);
                let new = match old.filter(|old| old.current(&entry.value, &snapshot)) {
                    Some(old) => Arc::clone(old),
                    None => Arc::new(Listener::new(&entry.value, &snapshot, &previous.limits)),
                };
                (Arc::clone(name), new)
            })
            .collect();
        let routes = snapshot
            .routes
            .iter()
            .map(|(name, entry)| {
                let old = previous.routes.get(name);
                let new = match old.filter(|old| Arc::ptr_eq(old.config(), &entry.value)) {
                    Some(old) => Arc::clone(old),
                    None => Arc::new(Routes::new(&entry.value)),
                };
                (Arc::clone(name), new)
            })
            .collect();
        let clusters = snapshot
            .clusters
            .iter()
            .map(|(name, entry)| {
                let old = previous.clusters.get(name);
                let new = Arc::new(Target::new(&entry.value, &snapshot, old.map(Arc::as_ref)));
                let kept = old.filter(|old| old.same(&new)).cloned();
                (Arc::clone(name), kept.unwrap_or(new))
            })
            .collect();
        let unbound = listeners
            .values()
            .filter(|listener| !listener.config.bind)
            .flat_map(|listener| {
                let addresses = listener.config.addresses();
                addresses.map(|address| (address, Arc::clone(listener)))
            })
            .collect();
        Self {
            snapshot,
            listeners,
            unbound,
            limits: Arc::clone(&previous.limits),
            routes,
            clusters,
        }
    }

    /// The listener without a socket that serves `destination`: of exactly that address, else of every address at that port.
    pub fn listener_at(&self, destination: SocketAddr) -> Option<&Arc<Listener>> {
        let everywhere = match destination {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], destination.port())),
            SocketAddr::V6(_) => SocketAddr::from(([0; 16], destination.port())),
        };
        self.unbound
            .get(&destination)
            .or_else(|| self.unbound.get(&everywhere))
    }

    /// Listeners with a socket of their own.
    pub fn bound(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values().filter(|listener| {
            listener.config.bind || matches!(listener.config.traffic, Traffic::Dns(_))
        })
    }

    /// What is configured and cannot be used, in words.
    pub fn problems(&self) -> Vec<String> {
        let listeners = self.listeners.values().flat_map(|listener| {
            listener
                .problems()
                .map(|problem| format!("listener {}: {problem}", listener.config.name))
        });
        let clusters = self.clusters.iter().flat_map(|(name, target)| {
            target
                .problems()
                .map(move |problem| format!("cluster {name}: {problem}"))
        });
        listeners.chain(clusters).collect()
    }
}
