//! What the control plane has said so far, and what follows from it: what to ask for, and what to run. No I/O.
//!
//! A listener runs once its routes and secrets are there, a cluster once its endpoints and secrets are; until then the
//! old one runs on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use hauberk_config::cluster::{Cluster, Discovery};
use hauberk_config::connection_manager::RouteSource;
use hauberk_config::endpoint::ClusterLoadAssignment;
use hauberk_config::listener::{Listener, TerminalFilter, Traffic};
use hauberk_config::route::RouteConfiguration;
use hauberk_config::secret::Secret;
use hauberk_config::snapshot::Table;
use hauberk_config::tls::DownstreamTransport;
use hauberk_config::{Refusal, Snapshot};

use crate::decode::{self, Decoded};
use crate::fields;

pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

type Name = Arc<str>;

/// Resources of one kind, by name, with the version they came in; empty for what we have made up ourselves.
type Resources<T> = HashMap<Name, (Name, Arc<T>)>;

#[derive(Default)]
pub struct State {
    listeners: Resources<Listener>,
    clusters: Resources<Cluster>,
    routes: Resources<RouteConfiguration>,
    endpoints: Resources<ClusterLoadAssignment>,
    secrets: Resources<Secret>,
    /// Routes and secrets that the control plane has said do not exist.
    absent: BTreeSet<Name>,
    answered: BTreeSet<&'static str>,
    refused: BTreeMap<Name, Refusal>,
    published: Snapshot,
}

impl State {
    /// Takes an answer as a whole, or nothing of it.
    ///
    /// # Errors
    /// What is wrong with it: the resource, the field, what was expected and what was found.
    pub fn apply(&mut self, answer: &DeltaDiscoveryResponse) -> Decoded<()> {
        let result = self.take(answer);
        let kind = decode::kind(&answer.type_url);
        match &result {
            Ok(()) => {
                self.refused.remove(kind);
            }
            Err(reason) => {
                let refusal = Refusal {
                    reason: reason.clone(),
                    time: SystemTime::now(),
                };
                self.refused.insert(kind.into(), refusal);
            }
        }
        result
    }

    fn take(&mut self, answer: &DeltaDiscoveryResponse) -> Decoded<()> {
        let removed = &answer.removed_resources;
        match answer.type_url.as_str() {
            LISTENER => merge(
                &mut self.listeners,
                all(answer, LISTENER, decode::listener)?,
                removed,
            ),
            CLUSTER => merge(
                &mut self.clusters,
                all(answer, CLUSTER, decode::cluster)?,
                removed,
            ),
            ROUTE => {
                let found = all(answer, ROUTE, decode::route_configuration)?;
                self.absent
                    .extend(removed.iter().map(|name| name.as_str().into()));
                for (name, _, _) in &found {
                    self.absent.remove(name);
                }
                merge(&mut self.routes, found, removed);
            }
            SECRET => {
                let found = all(answer, SECRET, decode::secret)?;
                self.absent
                    .extend(removed.iter().map(|name| name.as_str().into()));
                for (name, _, _) in &found {
                    self.absent.remove(name);
                }
                merge(&mut self.secrets, found, removed);
            }
            ENDPOINT => {
                let found = all(answer, ENDPOINT, decode::load_assignment)?;
                for name in removed {
                    self.nobody_at(name.as_str().into());
                }
                merge(&mut self.endpoints, found, &[]);
            }
            other => {
                return Err(format!(
                    "type_url: expected listeners, clusters, routes, endpoints or secrets, found {other:?}"
                ));
            }
        }
        for known in [LISTENER, CLUSTER, ROUTE, ENDPOINT] {
            if known == answer.type_url {
                self.answered.insert(known);
            }
        }
        Ok(())
    }

    /// Takes the secrets that SDS sent; they add to and replace what is there.
    pub fn apply_secrets(&mut self, version: &str, secrets: Vec<Secret>) {
        let version: Name = version.into();
        for secret in secrets {
            let same = self
                .secrets
                .get(&secret.name)
                .is_some_and(|(_, old)| **old == secret);
            if !same {
                self.secrets.insert(
                    Arc::clone(&secret.name),
                    (Arc::clone(&version), Arc::new(secret)),
                );
            }
        }
    }

    /// There are no endpoints of this name, for now.
    fn nobody_at(&mut self, name: Name) {
        let someone = |(_, old): &(Name, Arc<ClusterLoadAssignment>)| !old.localities.is_empty();
        if self.endpoints.get(&name).is_none_or(someone) {
            let nobody = ClusterLoadAssignment {
                cluster: Arc::clone(&name),
                localities: Vec::new(),
                overprovisioning_factor: 140,
            };
            self.endpoints.insert(name, ("".into(), Arc::new(nobody)));
        }
    }

    /// The names that the listeners and clusters at hand need of a kind that is asked for by name.
    pub fn wanted(&self, kind: &str) -> BTreeSet<Name> {
        match kind {
            ROUTE => self
                .listeners
                .values()
                .flat_map(|(_, listener)| routes_of(listener))
                .collect(),
            ENDPOINT => self
                .clusters
                .values()
                .filter_map(|(_, cluster)| endpoints_of(cluster))
                .collect(),
            _ => {
                let listeners = self
                    .listeners
                    .values()
                    .flat_map(|(_, listener)| secrets_of(listener));
                let clusters = self
                    .clusters
                    .values()
                    .flat_map(|(_, cluster)| cluster.secrets().cloned());
                listeners.chain(clusters).collect()
            }
        }
    }

    /// The versions at hand, for a control plane that we come back to.
    pub fn versions(&self, kind: &str) -> HashMap<String, String> {
        fn of<T>(
            resources: &Resources<T>,
            wanted: impl Fn(&Name) -> bool,
        ) -> HashMap<String, String> {
            resources
                .iter()
                .filter(|(name, (version, _))| wanted(name) && !version.is_empty())
                .map(|(name, (version, _))| (name.to_string(), version.to_string()))
                .collect()
        }
        let wanted = self.wanted(kind);
        match kind {
            LISTENER => of(&self.listeners, |_| true),
            CLUSTER => of(&self.clusters, |_| true),
            ROUTE => of(&self.routes, |name| wanted.contains(name)),
            ENDPOINT => of(&self.endpoints, |name| wanted.contains(name)),
            _ => of(&self.secrets, |name| wanted.contains(name) && by_ads(name)),
        }
    }

    /// What was refused, before there is anything to run.
    pub fn refusals(&self) -> Snapshot {
        Snapshot {
            refused: self.refused.clone(),
            ..Snapshot::default()
        }
    }

    /// Whether listeners and clusters have been heard of at all.
    pub fn begun(&self) -> bool {
        self.answered.contains(LISTENER) && self.answered.contains(CLUSTER)
    }

    /// Whether the first answers and all that they mention are there: the moment for the first snapshot.
    pub fn complete(&self) -> bool {
        self.begun() && self.missing().is_empty()
    }

    /// What is waited for: names of routes, endpoints and secrets that may still come.
    pub fn missing(&self) -> Vec<String> {
        let known = |kind, name: &Name| match kind {
            ROUTE => self.routes.contains_key(name) || self.absent.contains(name),
            ENDPOINT => self.endpoints.contains_key(name),
            _ => self.secrets.contains_key(name) || self.absent.contains(name),
        };
        let mut missing = Vec::new();
        for kind in [ROUTE, ENDPOINT, SECRET] {
            for name in self.wanted(kind) {
                if !known(kind, &name) {
                    missing.push(name.to_string());
                }
            }
        }
        missing
    }

    /// Waits no longer: endpoints that have not come count as none until they do.
    pub fn give_up(&mut self) {
        for name in self.wanted(ENDPOINT) {
            if !self.endpoints.contains_key(&name) {
                self.nobody_at(name);
            }
        }
    }

    /// The next snapshot, sharing with the last one what did not change; `None` if it would be the same.
    pub fn publish(&mut self) -> Option<Arc<Snapshot>> {
        let old = self.published.clone();
        let mut new = Snapshot {
            generation: old.generation + 1,
            ..old.clone()
        };
        replace(
            &mut new.listeners,
            &self.listeners,
            |_| false,
            |listener| self.listener_ready(listener),
        );
        replace(
            &mut new.clusters,
            &self.clusters,
            |_| false,
            |cluster| self.cluster_ready(cluster),
        );
        let (mut routes, mut endpoints) = (self.wanted(ROUTE), self.wanted(ENDPOINT));
        let mut secrets = self.wanted(SECRET);
        self.absent
            .retain(|name| routes.contains(name) || secrets.contains(name));
        for listener in new.listeners.values() {
            routes.extend(routes_of(listener));
            secrets.extend(secrets_of(listener));
        }
        for cluster in new.clusters.values() {
            endpoints.extend(endpoints_of(cluster));
            secrets.extend(cluster.secrets().cloned());
        }
        // What nobody mentions is forgotten; what a listener or cluster that still runs needs stays, whatever was said.
        self.routes.retain(|name, _| routes.contains(name));
        self.endpoints.retain(|name, _| endpoints.contains(name));
        self.secrets.retain(|name, _| secrets.contains(name));
        replace(
            &mut new.routes,
            &self.routes,
            |name| routes.contains(name),
            |_| true,
        );
        replace(&mut new.endpoints, &self.endpoints, |_| false, |_| true);
        replace(
            &mut new.secrets,
            &self.secrets,
            |name| secrets.contains(name),
            |_| true,
        );
        new.waiting = self.waiting(&new);
        new.refused = self.refused.clone();
        let same = old.generation > 0
            && old.waiting == new.waiting
            && old.refused == new.refused
            && old.listeners.same(&new.listeners)
            && old.clusters.same(&new.clusters)
            && old.routes.same(&new.routes)
            && old.secrets.same(&new.secrets)
            && old.endpoints.same(&new.endpoints);
        if same {
            return None;
        }
        self.published = new.clone();
        Some(Arc::new(new))
    }

    /// Listeners that run in no version, and whose routes or secrets may still come.
    fn waiting(&self, running: &Snapshot) -> Vec<Name> {
        let comes =
            |known: bool, name: &Name| !known && !self.absent.contains(name) && !by_ads(name);
        let waits = |listener: &Listener| {
            routes_of(listener)
                .iter()
                .any(|name| comes(self.routes.contains_key(name), name))
                || secrets_of(listener)
                    .iter()
                    .any(|name| comes(self.secrets.contains_key(name), name))
        };
        let mut found: Vec<Name> = self
            .listeners
            .values()
            .filter(|(_, listener)| !running.listeners.contains(&listener.name) && waits(listener))
            .map(|(_, listener)| Arc::clone(&listener.name))
            .collect();
        found.sort();
        found
    }

    fn listener_ready(&self, listener: &Listener) -> bool {
        routes_of(listener)
            .iter()
            .all(|name| self.routes.contains_key(name))
            && secrets_of(listener)
                .iter()
                .all(|name| self.secrets.contains_key(name))
    }

    fn cluster_ready(&self, cluster: &Cluster) -> bool {
        endpoints_of(cluster).is_none_or(|name| self.endpoints.contains_key(&name))
            && cluster
                .secrets()
                .all(|name| self.secrets.contains_key(name))
    }
}

/// Whether a secret comes over ADS, being an object of the API, and not from the node's SDS.
pub fn by_ads(secret: &str) -> bool {
    secret.starts_with("kubernetes://")
}

/// Every resource of an answer, decoded: name, version, value.
fn all<M, T>(
    answer: &DeltaDiscoveryResponse,
    type_url: &str,
    decode: impl Fn(&M) -> Decoded<T>,
) -> Decoded<Vec<(Name, Name, Arc<T>)>>
where
    M: prost::Message + Default,
{
    let one = |resource: &Resource| -> Decoded<(Name, Name, Arc<T>)> {
        let any = resource
            .resource
            .as_ref()
            .ok_or("expected a resource, found nothing")?;
        fields::known(decode::kind(&any.type_url), &any.value)?;
        let value = decode(&decode::unpack::<M>(any, decode::kind(type_url))?)?;
        Ok((
            resource.name.as_str().into(),
            resource.version.as_str().into(),
            Arc::new(value),
        ))
    };
    answer
        .resources
        .iter()
        .map(|resource| {
            one(resource)
                .map_err(|error| format!("{} {}: {error}", decode::kind(type_url), resource.name))
        })
        .collect()
}

fn merge<T>(resources: &mut Resources<T>, found: Vec<(Name, Name, Arc<T>)>, removed: &[String]) {
    for name in removed {
        resources.remove(name.as_str());
    }
    for (name, version, value) in found {
        resources.insert(name, (version, value));
    }
}

/// Brings a published table up to what is known: what is not ready keeps its old version, and what is gone goes unless it
/// is to be kept.
fn replace<T>(
    table: &mut Table<T>,
    known: &Resources<T>,
    keep: impl Fn(&Name) -> bool,
    ready: impl Fn(&T) -> bool,
) {
    let gone = |name: &Name| !known.contains_key(name) && !keep(name);
    let gone: Vec<Name> = table
        .iter()
        .map(|(name, _)| name)
        .filter(|name| gone(name))
        .cloned()
        .collect();
    for name in gone {
        table.remove(&name);
    }
    for (name, (version, value)) in known {
        let same = table.get(name).is_some_and(|old| Arc::ptr_eq(old, value));
        if !same && ready(value) {
            table.insert(Arc::clone(name), Arc::clone(version), Arc::clone(value));
        }
    }
}

fn routes_of(listener: &Listener) -> BTreeSet<Name> {
    let Traffic::Tcp(tcp) = &listener.traffic else {
        return BTreeSet::new();
    };
    tcp.chains()
        .filter_map(|chain| match &chain.terminal {
            TerminalFilter::Http(manager) => match &manager.routes {
                RouteSource::Discovered(name) => Some(Arc::clone(name)),
                RouteSource::Inline(_) => None,
            },
            TerminalFilter::TcpProxy(_) => None,
        })
        .collect()
}

fn secrets_of(listener: &Listener) -> BTreeSet<Name> {
    let Traffic::Tcp(tcp) = &listener.traffic else {
        return BTreeSet::new();
    };
    tcp.chains()
        .filter_map(|chain| match &chain.transport {
            DownstreamTransport::Tls(tls) => Some(tls),
            DownstreamTransport::Plain => None,
        })
        .flat_map(|tls| tls.context.secrets().cloned())
        .collect()
}

fn endpoints_of(cluster: &Cluster) -> Option<Name> {
    match &cluster.discovery {
        Discovery::Eds { service_name } => Some(Arc::clone(service_name)),
        _ => None,
    }
}

/// A table of names for messages.
pub fn difference(wanted: &BTreeSet<Name>, asked: &BTreeSet<Name>) -> (Vec<String>, Vec<String>) {
    let list = |one: &BTreeSet<Name>, other: &BTreeSet<Name>| {
        one.difference(other).map(|name| name.to_string()).collect()
    };
    (list(wanted, asked), list(asked, wanted))
}

/// What was asked for by name, by kind.
pub type Asked = BTreeMap<&'static str, BTreeSet<Name>>;
