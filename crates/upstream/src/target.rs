//! A cluster made ready: its endpoints and its TLS contexts, with the secrets in them.

use std::sync::Arc;

use hauberk_config::cluster::Cluster;
use hauberk_config::endpoint::{ClusterLoadAssignment, Endpoint};
use hauberk_config::secret::Secret;
use hauberk_config::tls::UpstreamTransport;
use hauberk_config::{Snapshot, Table};
use hauberk_tls::{ClientContext, ContextError};

use crate::standing::Shared;

/// How an endpoint is spoken to.
#[derive(Debug, Clone)]
pub enum Transport {
    Plain,
    Tls(Box<ClientContext>),
    /// Calls fail with this reason; they never fall back to plain text.
    Broken(ContextError),
}

#[derive(Debug)]
pub struct Target {
    pub config: Arc<Cluster>,
    /// `None`: the caller's original destination.
    pub endpoints: Option<Arc<ClusterLoadAssignment>>,
    /// The default, then one for each `transport_matches`.
    transports: Vec<Arc<Transport>>,
    secrets: Vec<Option<Arc<Secret>>>,
    /// What workers know of it together; the same one as long as the cluster is there.
    pub(crate) shared: Arc<Shared>,
}

impl Target {
    /// Takes what did not change from `previous`, so that its connections stay.
    pub fn new(config: &Arc<Cluster>, snapshot: &Snapshot, previous: Option<&Self>) -> Self {
        let secrets: Vec<_> = config
            .secrets()
            .map(|name| snapshot.secrets.get(name).cloned())
            .collect();
        let same =
            |previous: &&Self| Arc::ptr_eq(&previous.config, config) && previous.secrets == secrets;
        let transports = match previous.filter(same) {
            Some(previous) => previous.transports.clone(),
            None => std::iter::once(&config.transport)
                .chain(config.transport_matches.iter().map(|one| &one.transport))
                .map(|transport| Arc::new(Transport::new(transport, &snapshot.secrets)))
                .collect(),
        };
        let endpoints = snapshot.endpoints_of(config).cloned();
        let shared = previous.map_or_else(
            || Arc::new(Shared::new()),
            |previous| Arc::clone(&previous.shared),
        );
        let localities = endpoints.iter().flat_map(|all| &all.localities);
        let addresses = localities.flat_map(|locality| &locality.endpoints);
        shared.keep(&addresses.filter_map(|one| one.address.socket()).collect());
        Self {
            config: Arc::clone(config),
            endpoints,
            transports,
            secrets,
            shared,
        }
    }

    /// Whether calls would go the same way.
    pub fn same(&self, other: &Self) -> bool {
        let same_endpoints = match (&self.endpoints, &other.endpoints) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.config, &other.config) && same_endpoints && self.secrets == other.secrets
    }

    /// First match wins (`transport_socket_matches`).
    pub fn transport(&self, endpoint: &Endpoint) -> &Arc<Transport> {
        let fits = |labels: &[(String, String)]| {
            labels
                .iter()
                .all(|label| endpoint.transport_labels.contains(label))
        };
        let index = self
            .config
            .transport_matches
            .iter()
            .position(|one| fits(&one.labels))
            .map_or(0, |index| index + 1);
        &self.transports[index]
    }

    /// Why some endpoints cannot be spoken to.
    pub fn problems(&self) -> impl Iterator<Item = &ContextError> {
        self.transports
            .iter()
            .filter_map(|transport| match &**transport {
                Transport::Broken(error) => Some(error),
                _ => None,
            })
    }
}

impl Transport {
    fn new(transport: &UpstreamTransport, secrets: &Table<Secret>) -> Self {
        match transport {
            UpstreamTransport::Plain => Self::Plain,
            UpstreamTransport::Tls(tls) => match ClientContext::new(tls, secrets) {
                Ok(context) => Self::Tls(Box::new(context)),
                Err(error) => Self::Broken(error),
            },
        }
    }
}
