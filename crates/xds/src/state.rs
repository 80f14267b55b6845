//! What the control plane has said so far, and what follows from it: what to ask for, and what to run. No I/O.
//!
//! A listener runs once its routes and secrets are there, a cluster once its endpoints and secrets are; until then the
//! old one runs on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use hauberk_config::Snapshot;
use hauberk_config::cluster::{Cluster, Discovery};
use hauberk_config::connection_manager::RouteSource;
use hauberk_config::endpoint::ClusterLoadAssignment;
use hauberk_config::listener::{Listener, TerminalFilter, Traffic};
use hauberk_config::route::RouteConfiguration;
use hauberk_config::secret::Secret;
use hauberk_config::tls::DownstreamTransport;

use crate::decode::{self, Decoded};

pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

type Name = Arc<str>;

/// Resources of one kind, by name, with the version they came in.
type Resources<T> = HashMap<Name, (Name, Arc<T>)>;

#[derive(Default)]
pub struct State {
    listeners: Resources<Listener>,
    clusters: Resources<Cluster>,
    routes: Resources<RouteConfiguration>,
    endpoints: Resources<ClusterLoadAssignment>,
    secrets: Resources<Secret>,
    /// Names that the control plane has said do not exist.
    absent: BTreeSet<(&'static str, Name)>,
    answered: BTreeSet<&'static str>,
    published: Snapshot,
}

impl State {
    /// Takes an answer as a whole, or nothing of it.
    ///
    /// # Errors
    /// What is wrong with it: the resource, the field, what was expected and what was found.
    pub fn apply(&mut self, answer: &DeltaDiscoveryResponse) -> Decoded<()> {
        match answer.type_url.as_str() {
            LISTENER => merge(
                &mut self.listeners,
                &all(answer, LISTENER, decode::listener)?,
                &answer.removed_resources,
            ),
            CLUSTER => merge(
                &mut self.clusters,
                &all(answer, CLUSTER, decode::cluster)?,
                &answer.removed_resources,
            ),
            ROUTE => {
                let found = all(answer, ROUTE, decode::route_configuration)?;
                self.note(ROUTE, &found, &answer.removed_resources);
                merge(&mut self.routes, &found, &answer.removed_resources);
            }
            ENDPOINT => {
                let found = all(answer, ENDPOINT, decode::load_assignment)?;
                self.note(ENDPOINT, &found, &answer.removed_resources);
                merge(&mut self.endpoints, &found, &answer.removed_resources);
            }
            other => {
                return Err(format!(
                    "type_url: expected listeners, clusters, routes or endpoints, found {other:?}"
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
    ///
    /// # Errors
    /// As `apply`; no key is in the message.
    pub fn apply_secrets(&mut self, version: &str, resources: &[Any]) -> Decoded<()> {
        let version: Name = version.into();
        let found = resources
            .iter()
            .map(|any| decode::secret(&decode::unpack(any, kind(SECRET))?))
            .collect::<Decoded<Vec<_>>>()?;
        for secret in found {
            self.secrets.insert(
                Arc::clone(&secret.name),
                (Arc::clone(&version), Arc::new(secret)),
            );
        }
        Ok(())
    }

    fn note<T>(&mut self, kind: &'static str, found: &[(Name, Name, Arc<T>)], removed: &[String]) {
        for (name, _, _) in found {
            self.absent.remove(&(kind, Arc::clone(name)));
        }
        for name in removed {
            self.absent.insert((kind, name.as_str().into()));
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
        fn of<T>(resources: &Resources<T>) -> HashMap<String, String> {
            resources
                .iter()
                .map(|(name, (version, _))| (name.to_string(), version.to_string()))
                .collect()
        }
        match kind {
            LISTENER => of(&self.listeners),
            CLUSTER => of(&self.clusters),
            ROUTE => of(&self.routes),
            _ => of(&self.endpoints),
        }
    }

    /// Whether all that the first answers mention is there: the moment for the first snapshot.
    pub fn complete(&self) -> bool {
        self.answered.contains(LISTENER)
            && self.answered.contains(CLUSTER)
            && self
                .listeners
                .values()
                .all(|(_, listener)| self.listener_ready(listener))
            && self
                .clusters
                .values()
                .all(|(_, cluster)| self.cluster_ready(cluster))
    }

    /// Whether listeners and clusters have been heard of at all.
    pub fn begun(&self) -> bool {
        self.answered.contains(LISTENER) && self.answered.contains(CLUSTER)
    }

    /// The next snapshot, sharing with the last one what did not change.
    pub fn publish(&mut self) -> Arc<Snapshot> {
        let old = std::mem::take(&mut self.published);
        let mut new = Snapshot {
            generation: old.generation + 1,
            ..old.clone()
        };
        replace(&mut new.listeners, &self.listeners, |listener| {
            self.listener_ready(listener)
        });
        replace(&mut new.clusters, &self.clusters, |cluster| {
            self.cluster_ready(cluster)
        });
        replace(&mut new.routes, &self.routes, |_| true);
        replace(&mut new.secrets, &self.secrets, |_| true);
        replace(&mut new.endpoints, &self.endpoints, |_| true);
        for (kind, name) in &self.absent {
            if *kind == ENDPOINT && !new.endpoints.contains(name) {
                let nobody = ClusterLoadAssignment {
                    cluster: Arc::clone(name),
                    localities: Vec::new(),
                    overprovisioning_factor: 140,
                };
                new.endpoints
                    .insert(Arc::clone(name), "".into(), Arc::new(nobody));
            }
        }
        self.published = new.clone();
        Arc::new(new)
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
        let endpoints = endpoints_of(cluster).is_none_or(|name| {
            self.endpoints.contains_key(&name) || self.absent.contains(&(ENDPOINT, name))
        });
        endpoints
            && cluster
                .secrets()
                .all(|name| self.secrets.contains_key(name))
    }
}

fn kind(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
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
        let value = decode(&decode::unpack::<M>(any, kind(type_url))?)?;
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
            one(resource).map_err(|error| format!("{} {}: {error}", kind(type_url), resource.name))
        })
        .collect()
}

fn merge<T>(resources: &mut Resources<T>, found: &[(Name, Name, Arc<T>)], removed: &[String]) {
    for name in removed {
        resources.remove(name.as_str());
    }
    for (name, version, value) in found {
        resources.insert(Arc::clone(name), (Arc::clone(version), Arc::clone(value)));
    }
}

/// Brings a published table up to what is known; what is not ready keeps its old version.
fn replace<T>(
    table: &mut hauberk_config::snapshot::Table<T>,
    known: &Resources<T>,
    ready: impl Fn(&T) -> bool,
) {
    let gone: Vec<Name> = table
        .iter()
        .map(|(name, _)| Arc::clone(name))
        .filter(|name| !known.contains_key(name))
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
