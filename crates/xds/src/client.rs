//! The client: delta ADS over a Unix socket. Whatever happens to the control plane, the last snapshot runs on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;
use hauberk_config::Snapshot;
use hauberk_net::back_off::BackOff;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use crate::answers::Answers;
use crate::connection::{INVALID_ARGUMENT, REQUESTS, connect};
use crate::secrets::{self, Found};
use crate::state::{Asked, CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, State, by_ads, difference};

/// How long the first snapshot waits for what the first listeners and clusters need.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(5);
/// Secrets, routes and endpoints of a large mesh come in messages of this size at most.
const LARGEST_MESSAGE: usize = 64 << 20;

/// Follows the control plane for as long as somebody holds the receiver.
pub struct Client {
    node: Node,
    socket: PathBuf,
    state: State,
    patience: Duration,
    first_deadline: Option<Instant>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Client {
    /// The receiver holds an empty snapshot of generation 0 until the first is there.
    pub fn new(node: Node, socket: PathBuf) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let (snapshots, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let client = Self {
            node,
            socket,
            state: State::default(),
            patience: FIRST_SNAPSHOT,
            first_deadline: None,
            snapshots,
        };
        (client, receiver)
    }

    /// The same, but the first snapshot waits no longer than `patience` for what listeners and clusters mention.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Never ends but by being dropped, or when nobody listens any more.
    pub async fn run(self) {
        let (wanted, names) = watch::channel(BTreeSet::new());
        let (sender, found) = mpsc::channel(1);
        let (node, socket) = (self.node.clone(), self.socket.clone());
        tokio::select! {
            () = self.follow(&wanted, found) => {}
            () = secrets::follow(node, &socket, names, sender) => {}
        }
    }

    async fn follow(
        mut self,
        wanted: &watch::Sender<BTreeSet<Arc<str>>>,
        mut found: mpsc::Receiver<Found>,
    ) {
        let mut back_off = BackOff::new();
        while !self.snapshots.is_closed() {
            let began = Instant::now();
            let Err(reason) = self.converse(wanted, &mut found).await else {
                return;
            };
            let wait = back_off.after(began.elapsed());
            tracing::info!(
                reason,
                wait_ms = wait.as_millis(),
                "the control plane is gone; what it said runs on"
            );
            self.pause(Instant::now() + wait, &mut found).await;
        }
    }

    /// One connection. `Ok` if nobody listens to us any more.
    async fn converse(
        &mut self,
        wanted: &watch::Sender<BTreeSet<Arc<str>>>,
        found: &mut mpsc::Receiver<Found>,
    ) -> Result<(), String> {
        let channel = connect(&self.socket).await?;
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let mut answers = Answers::new(async move {
            AggregatedDiscoveryServiceClient::new(channel)
                .max_decoding_message_size(LARGEST_MESSAGE)
                .delta_aggregated_resources(ReceiverStream::new(receiver))
                .await
        });
        self.begin(&requests)?;
        let mut asked = Asked::new();
        loop {
            self.subscribe(&mut asked, &requests)?;
            wanted.send_if_modified(|names| {
                let mut needed = self.state.wanted(SECRET);
                needed.retain(|name| !by_ads(name));
                let differs = *names != needed;
                *names = needed;
                differs
            });
            let deadline = self.first_deadline;
            tokio::select! {
                answer = answers.next() => self.take(answer?, &requests)?,
                Some((version, secrets)) = found.recv() => self.state.apply_secrets(&version, secrets),
                () = at(deadline) => {}
                () = self.snapshots.closed() => return Ok(()),
            }
            self.publish();
        }
    }

    /// Waits, but takes secrets meanwhile.
    async fn pause(&mut self, until: Instant, found: &mut mpsc::Receiver<Found>) {
        loop {
            let deadline = self.first_deadline;
            tokio::select! {
                () = sleep_until(until) => return,
                Some((version, secrets)) = found.recv() => self.state.apply_secrets(&version, secrets),
                () = at(deadline) => {}
                () = self.snapshots.closed() => return,
            }
            self.publish();
        }
    }

    fn begin(&self, requests: &mpsc::Sender<DeltaDiscoveryRequest>) -> Result<(), String> {
        for (index, kind) in [CLUSTER, LISTENER].into_iter().enumerate() {
            let request = DeltaDiscoveryRequest {
                node: (index == 0).then(|| self.node.clone()),
                type_url: kind.into(),
                initial_resource_versions: self.state.versions(kind),
                ..Default::default()
            };
            ask(requests, request)?;
        }
        Ok(())
    }

    /// Asks for the routes, endpoints and secrets that are newly mentioned, and no longer for those that are not.
    fn subscribe(
        &self,
        asked: &mut Asked,
        requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), String> {
        for kind in [ENDPOINT, ROUTE, SECRET] {
            let mut wanted = self.state.wanted(kind);
            if kind == SECRET {
                wanted.retain(|name| by_ads(name));
            }
            let first = !asked.contains_key(kind);
            if first && wanted.is_empty() {
                // A first request without names would ask for everything.
                continue;
            }
            let before = asked.entry(kind).or_default();
            let (subscribe, unsubscribe) = difference(&wanted, before);
            if subscribe.is_empty() && unsubscribe.is_empty() {
                continue;
            }
            *before = wanted;
            let versions = first.then(|| self.state.versions(kind));
            let request = DeltaDiscoveryRequest {
                type_url: kind.into(),
                resource_names_subscribe: subscribe,
                resource_names_unsubscribe: unsubscribe,
                initial_resource_versions: versions.unwrap_or_default(),
                ..Default::default()
            };
            ask(requests, request)?;
        }
        Ok(())
    }

    /// Takes an answer and says whether it was good.
    fn take(
        &mut self,
        answer: DeltaDiscoveryResponse,
        requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<(), String> {
        let error_detail = self.state.apply(&answer).err().map(|message| {
            tracing::warn!(
                kind = answer.type_url,
                message,
                "refused what the control plane sent"
            );
            Status {
                code: INVALID_ARGUMENT,
                message,
                details: Vec::new(),
            }
        });
        let acknowledgement = DeltaDiscoveryRequest {
            type_url: answer.type_url,
            response_nonce: answer.nonce,
            error_detail,
            ..Default::default()
        };
        ask(requests, acknowledgement)
    }

    fn publish(&mut self) {
        let first = self.snapshots.borrow().generation == 0;
        if first && !self.state.complete() {
            let refusals = self.state.refusals();
            if self.snapshots.borrow().refused != refusals.refused {
                self.snapshots.send_replace(Arc::new(refusals));
            }
            if !self.state.begun() {
                return;
            }
            let now = Instant::now();
            if now < *self.first_deadline.get_or_insert(now + self.patience) {
                return;
            }
            tracing::warn!(
                missing = self.state.missing().join(", "),
                "starting without all that the listeners and clusters mention"
            );
            self.state.give_up();
        }
        self.first_deadline = None;
        if let Some(snapshot) = self.state.publish() {
            self.snapshots.send_replace(snapshot);
        }
    }
}

fn ask(
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), String> {
    requests
        .try_send(request)
        .map_err(|error| format!("the control plane does not read: {error}"))
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
