//! One endpoint as a worker sees it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::endpoint::Endpoint;

use crate::target::Transport;

/// `P`: the pool of connections to it.
#[derive(Debug)]
pub struct Host<P> {
    pub address: SocketAddr,
    /// `None`: an original destination.
    pub endpoint: Option<Endpoint>,
    pub transport: Arc<Transport>,
    pub pool: P,
    /// Requests and TCP connections on the way.
    pub active: Cell<u32>,
    /// Smooth weighted round robin: what it is owed.
    pub(crate) credit: Cell<i64>,
    pub(crate) failures_in_a_row: Cell<u32>,
    pub(crate) ejected_until: Cell<Option<tokio::time::Instant>>,
    pub(crate) ejections: Cell<u32>,
}

impl<P: Default> Host<P> {
    pub(crate) fn new(
        address: SocketAddr,
        endpoint: Option<Endpoint>,
        transport: Arc<Transport>,
    ) -> Self {
        Self {
            address,
            endpoint,
            transport,
            pool: P::default(),
            active: Cell::new(0),
            credit: Cell::new(0),
            failures_in_a_row: Cell::new(0),
            ejected_until: Cell::new(None),
            ejections: Cell::new(0),
        }
    }
}

impl<P> Host<P> {
    pub(crate) fn weight(&self) -> u32 {
        self.endpoint
            .as_ref()
            .map_or(1, |endpoint| endpoint.weight.max(1))
    }

    pub(crate) fn usable(&self) -> bool {
        let ejected = self
            .ejected_until
            .get()
            .is_some_and(|until| until > tokio::time::Instant::now());
        !ejected
            && self
                .endpoint
                .as_ref()
                .is_none_or(|endpoint| endpoint.health.usable())
    }
}
