//! What goes to collectors: handed over by workers without ever waiting, taken by one task beside them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hauberk_config::access_log::LogService;
use hauberk_config::connection_manager::SpanExporter;
use tokio::sync::{Notify, mpsc};

use crate::entry::Entry;
use crate::span::Span;

/// Parcels that may wait to be taken.
const WAITING: usize = 4096;

/// Something for one collector.
#[derive(Debug)]
pub enum Parcel {
    Entry(Arc<LogService>, Box<Entry>),
    Span(Arc<SpanExporter>, Box<Span>),
}

/// Parcels of one sort, by what became of them.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: AtomicU64,
    /// Given up: too many were waiting, or the collector did not take them.
    pub dropped: AtomicU64,
}

#[derive(Debug, Clone)]
pub struct Outbox {
    parcels: mpsc::Sender<Parcel>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    receiver: Mutex<Option<mpsc::Receiver<Parcel>>>,
    /// The taker looks by itself, now and then, and need not be woken.
    looking: AtomicBool,
    wake: Notify,
    entries: Tally,
    spans: Tally,
}

impl Default for Outbox {
    fn default() -> Self {
        let (parcels, receiver) = mpsc::channel(WAITING);
        let shared = Shared {
            receiver: Mutex::new(Some(receiver)),
            looking: AtomicBool::new(false),
            wake: Notify::new(),
            entries: Tally::default(),
            spans: Tally::default(),
        };
        Self {
            parcels,
            shared: Arc::new(shared),
        }
    }
}

impl Outbox {
    /// A parcel that finds no room is dropped and counted.
    pub fn put(&self, parcel: Parcel) {
        if let Err(error) = self.parcels.try_send(parcel) {
            match error.into_inner() {
                Parcel::Entry(..) => self.entries(),
                Parcel::Span(..) => self.spans(),
            }
            .dropped
            .fetch_add(1, Ordering::Relaxed);
        } else if !self.shared.looking.swap(true, Ordering::AcqRel) {
            self.shared.wake.notify_one();
        }
    }

    /// The other end; there is one taker, so the second time it is `None`.
    pub fn take(&self) -> Option<mpsc::Receiver<Parcel>> {
        let mut receiver = self
            .shared
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        receiver.take()
    }

    /// The taker has found nothing: from now on it must be woken. It looks once more after this, then [`Self::woken`].
    pub fn rest(&self) {
        self.shared.looking.store(false, Ordering::Release);
    }

    pub async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    pub fn entries(&self) -> &Tally {
        &self.shared.entries
    }

    pub fn spans(&self) -> &Tally {
        &self.shared.spans
    }
}
