//! All that a proxy runs from at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::cluster::{Cluster, Discovery};
use crate::endpoint::ClusterLoadAssignment;
use crate::listener::Listener;
use crate::route::RouteConfiguration;
use crate::secret::Secret;

/// Resources of one kind by name. A clone shares them; changing a clone copies the table of pointers, not the resources.
#[derive(Debug)]
pub struct Table<T> {
    entries: Arc<HashMap<Arc<str>, Entry<T>>>,
}

/// A resource and the version under which the control plane sent it.
#[derive(Debug)]
pub struct Entry<T> {
    pub version: Arc<str>,
    pub value: Arc<T>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            version: Arc::clone(&self.version),
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
        }
    }
}

impl<T> Table<T> {
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    pub fn entry(&self, name: &str) -> Option<&Entry<T>> {
        self.entries.get(name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry<T>)> {
        self.entries.iter()
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.entries.values().map(|entry| &entry.value)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn insert(&mut self, name: Arc<str>, version: Arc<str>, value: Arc<T>) {
        Arc::make_mut(&mut self.entries).insert(name, Entry { version, value });
    }

    /// Whether there was such a resource.
    pub fn remove(&mut self, name: &str) -> bool {
        self.contains(name) && Arc::make_mut(&mut self.entries).remove(name).is_some()
    }

    /// Whether both are the same table, not only equal ones.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }
}

/// Immutable once published: clone it, change the clone, publish that. What did not change stays shared.
///
/// In a published snapshot every listener has its routes and secrets, and every cluster its endpoints and secrets.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts publications, from 1; 0 is the empty one before the first.
    pub generation: u64,
    pub listeners: Table<Listener>,
    pub routes: Table<RouteConfiguration>,
    pub clusters: Table<Cluster>,
    /// By EDS service name.
    pub endpoints: Table<ClusterLoadAssignment>,
    pub secrets: Table<Secret>,
    /// Listeners that the control plane has named and that cannot run yet: their routes or secrets are on their way.
    pub waiting: Vec<Arc<str>>,
    /// By the name of the kind: the last answer of the control plane, where it was refused.
    pub refused: BTreeMap<Arc<str>, Refusal>,
}

/// Why an answer of the control plane was refused (a NACK); what was there before runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub time: SystemTime,
}

impl Snapshot {
    /// The endpoints of a cluster; `None` for `ORIGINAL_DST`, or if they are not known.
    pub fn endpoints_of<'a>(
        &'a self,
        cluster: &'a Cluster,
    ) -> Option<&'a Arc<ClusterLoadAssignment>> {
        match &cluster.discovery {
            Discovery::Eds { service_name } => self.endpoints.get(service_name),
            Discovery::Static(endpoints)
            | Discovery::StrictDns { endpoints, .. }
            | Discovery::LogicalDns { endpoints, .. } => Some(endpoints),
            Discovery::OriginalDestination { .. } => None,
        }
    }
}
