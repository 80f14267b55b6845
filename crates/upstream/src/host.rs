//! One endpoint as a worker sees it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hauberk_config::endpoint::Endpoint;

use crate::standing::Standing;
use crate::target::Transport;

/// `P`: the pool of connections to it.
#[derive(Debug)]
pub struct Host<P> {
    pub address: SocketAddr,
    /// `None`: an original destination.
    pub endpoint: Option<Endpoint>,
    pub transport: Arc<Transport>,
    pub pool: P,
    /// What all workers know of it.
    pub(crate) standing: Arc<Standing>,
    /// Smooth weighted round robin: what it is owed.
    pub(crate) credit: Cell<i64>,
}

impl<P: Default> Host<P> {
    pub(crate) fn new(
        address: SocketAddr,
        endpoint: Option<Endpoint>,
        transport: Arc<Transport>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            address,
            endpoint,
            transport,
            pool: P::default(),
            standing,
            credit: Cell::new(0),
        }
    }
}

impl<P> Host<P> {
    /// Requests and TCP connections on the way, of all workers.
    pub fn active(&self) -> u32 {
        self.standing.active.load(Relaxed)
    }

    /// One more is on the way.
    pub fn begin(&self) {
        self.standing.active.fetch_add(1, Relaxed);
    }

    /// One that began is over.
    pub fn end(&self) {
        self.standing.active.fetch_sub(1, Relaxed);
    }

    pub(crate) fn weight(&self) -> u32 {
        self.endpoint
            .as_ref()
            .map_or(1, |endpoint| endpoint.weight.max(1))
    }

    pub(crate) fn usable(&self) -> bool {
        !self.standing.ejected()
            && self
                .endpoint
                .as_ref()
                .is_none_or(|endpoint| endpoint.health.usable())
    }
}
