//! What a connection heeds beside its caller: policies that change, a proxy that ends, its own age.

use std::pin::Pin;
use std::task::{Context, Poll};

use hauberk_config::connection_manager::ConnectionManager;
use tokio::sync::watch;

use crate::connection::{Connection, Standing};
use crate::worker::State;

type Change = Pin<Box<dyn Future<Output = Option<watch::Receiver<State>>>>>;

pub struct Attention {
    /// Registered once and asked again only after a change: a request does not pay for it.
    change: Option<Change>,
    seen: Option<State>,
    /// What is under way is finished, and no other request taken.
    pub finishing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    None,
    /// A policy forbids the connection now.
    Cut,
}

impl Attention {
    pub fn new(connection: &Connection) -> Self {
        Self {
            change: Some(change(connection.worker.watch())),
            seen: None,
            finishing: false,
        }
    }

    /// Looks at what has changed. The task is woken at the next change.
    pub fn poll(&mut self, connection: &Connection, context: &mut Context<'_>) -> Notice {
        let state = connection.worker.state();
        if self.seen == Some(state) {
            return Notice::None;
        }
        self.seen = Some(state);
        while let Some(waiting) = &mut self.change {
            match waiting.as_mut().poll(context) {
                Poll::Pending => break,
                Poll::Ready(receiver) => self.change = receiver.map(change),
            }
        }
        self.finishing |= state.draining || self.change.is_none();
        match connection.reconsider() {
            Standing::Good => Notice::None,
            Standing::Removed => {
                self.finishing = true;
                Notice::None
            }
            Standing::Forbidden => {
                connection.judged(connection.policy(&connection.decide()));
                Notice::Cut
            }
        }
    }
}

fn change(mut receiver: watch::Receiver<State>) -> Change {
    Box::pin(async move {
        let known = receiver.changed().await.is_ok();
        known.then_some(receiver)
    })
}

/// Whether a connection has served as long or as often as it may.
pub fn is_worn(connection: &Connection, config: &ConnectionManager) -> bool {
    let most = config.max_requests_per_connection;
    let age = config.max_connection_duration;
    most.is_some_and(|most| connection.requests.get() >= most)
        || age.is_some_and(|most| connection.age() >= most)
}
