//! The client: delta ADS and SDS over one Unix socket. Whatever happens to the control plane, the last snapshot runs on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use envoy_types::pb::google::rpc::Status;
use hauberk_config::Snapshot;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::state::{Asked, CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, State, difference};

/// How long the first snapshot waits for what the first listeners and clusters need.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(5);
const LEAST_WAIT: Duration = Duration::from_millis(50);
const MOST_WAIT: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next wait is the least again.
const STEADY: Duration = Duration::from_secs(10);
const REQUESTS: usize = 64;
const INVALID_ARGUMENT: i32 = 3;
/// Secrets, routes and endpoints of a large mesh come in messages of this size at most.
const LARGEST_MESSAGE: usize = 64 << 20;

/// Follows the control plane for as long as somebody holds the receiver.
pub struct Client {
    node: Node,
    socket: PathBuf,
    state: State,
    first_deadline: Option<Instant>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Client {
    pub fn new(node: Node, socket: PathBuf) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let (snapshots, receiver) = watch::channel(Arc::new(Snapshot::default()));
        (
            Client {
                node,
                socket,
                state: State::default(),
                first_deadline: None,
                snapshots,
            },
            receiver,
        )
    }

    /// Never ends but by being dropped, or when nobody listens any more.
    pub async fn run(mut self) {
        let mut wait = LEAST_WAIT;
        while !self.snapshots.is_closed() {
            let began = Instant::now();
            let ended = self.session().await;
            if began.elapsed() > STEADY {
                wait = LEAST_WAIT;
            }
            tracing::info!(
                reason = ended,
                wait_ms = wait.as_millis(),
                "the control plane is gone; what it said runs on"
            );
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(MOST_WAIT);
        }
    }

    /// One connection; the result is why it ended.
    async fn session(&mut self) -> String {
        match self.converse().await {
            Ok(()) => "the stream ended".into(),
            Err(error) => error,
        }
    }

    async fn converse(&mut self) -> Result<(), String> {
        let channel = connect(&self.socket).await?;
        let (mut ads, mut requests) = self.open_ads(channel.clone()).await?;
        let mut secrets: Option<Secrets> = None;
        let mut asked = Asked::new();
        loop {
            self.subscribe(&mut asked, &requests).await?;
            let wanted = self.state.wanted(SECRET);
            if !wanted.is_empty()
                && secrets
                    .as_ref()
                    .is_none_or(|secrets| secrets.asked != wanted)
            {
                secrets = Some(self.open_secrets(channel.clone(), wanted).await?);
            }
            let deadline = self.first_deadline;
            tokio::select! {
                answer = ads.message() => {
                    let answer = answer.map_err(|status| said(&status))?.ok_or("the control plane ended the stream")?;
                    self.take(answer, &mut requests).await?;
                }
                answer = next_secrets(&mut secrets) => self.take_secrets(answer?, secrets.as_mut()).await?,
                () = at(deadline) => {}
                () = self.snapshots.closed() => return Ok(()),
            }
            self.publish();
        }
    }

    async fn open_ads(
        &self,
        channel: Channel,
    ) -> Result<
        (
            tonic::Streaming<discovery::DeltaDiscoveryResponse>,
            mpsc::Sender<discovery::DeltaDiscoveryRequest>,
        ),
        String,
    > {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        for (index, kind) in [CLUSTER, LISTENER].into_iter().enumerate() {
            let request = discovery::DeltaDiscoveryRequest {
                node: (index == 0).then(|| self.node.clone()),
                type_url: kind.into(),
                initial_resource_versions: self.state.versions(kind),
                ..Default::default()
            };
            sender
                .send(request)
                .await
                .map_err(|_| "the request stream is closed")?;
        }
        let answers = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .map_err(|status| said(&status))?
            .into_inner();
        Ok((answers, sender))
    }

    /// Asks for the routes and endpoints that are newly mentioned, and no longer for those that are not.
    async fn subscribe(
        &self,
        asked: &mut Asked,
        requests: &mpsc::Sender<discovery::DeltaDiscoveryRequest>,
    ) -> Result<(), String> {
        for kind in [ENDPOINT, ROUTE] {
            let wanted = self.state.wanted(kind);
            let first = !asked.contains_key(kind);
            let before = asked.entry(kind).or_default();
            let (subscribe, unsubscribe) = difference(&wanted, before);
            if subscribe.is_empty() && unsubscribe.is_empty() {
                if first {
                    asked.remove(kind);
                }
                continue;
            }
            *before = wanted;
            let request = discovery::DeltaDiscoveryRequest {
                type_url: kind.into(),
                resource_names_subscribe: subscribe,
                resource_names_unsubscribe: unsubscribe,
                initial_resource_versions: if first {
                    self.state.versions(kind)
                } else {
                    Default::default()
                },
                ..Default::default()
            };
            requests
                .send(request)
                .await
                .map_err(|_| "the request stream is closed")?;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        answer: discovery::DeltaDiscoveryResponse,
        requests: &mut mpsc::Sender<discovery::DeltaDiscoveryRequest>,
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
        let acknowledgement = discovery::DeltaDiscoveryRequest {
            type_url: answer.type_url,
            response_nonce: answer.nonce,
            error_detail,
            ..Default::default()
        };
        requests
            .send(acknowledgement)
            .await
            .map_err(|_| "the request stream is closed".into())
    }

    async fn open_secrets(
        &self,
        channel: Channel,
        wanted: BTreeSet<Arc<str>>,
    ) -> Result<Secrets, String> {
        let (sender, receiver) = mpsc::channel(REQUESTS);
        let names = wanted.iter().map(ToString::to_string).collect::<Vec<_>>();
        let request = discovery::DiscoveryRequest {
            node: Some(self.node.clone()),
            resource_names: names.clone(),
            type_url: SECRET.into(),
            ..Default::default()
        };
        sender
            .send(request)
            .await
            .map_err(|_| "the request stream is closed")?;
        let answers = SecretDiscoveryServiceClient::new(channel)
            .stream_secrets(ReceiverStream::new(receiver))
            .await
            .map_err(|status| said(&status))?
            .into_inner();
        Ok(Secrets {
            asked: wanted,
            names,
            requests: sender,
            answers,
        })
    }

    async fn take_secrets(
        &mut self,
        answer: discovery::DiscoveryResponse,
        secrets: Option<&mut Secrets>,
    ) -> Result<(), String> {
        let error_detail = self
            .state
            .apply_secrets(&answer.version_info, &answer.resources)
            .err()
            .map(|message| {
                tracing::warn!(message, "refused the secrets that the node sent");
                Status {
                    code: INVALID_ARGUMENT,
                    message,
                    details: Vec::new(),
                }
            });
        let Some(secrets) = secrets else {
            return Ok(());
        };
        let acknowledgement = discovery::DiscoveryRequest {
            resource_names: secrets.names.clone(),
            type_url: SECRET.into(),
            version_info: answer.version_info,
            response_nonce: answer.nonce,
            error_detail,
            ..Default::default()
        };
        secrets
            .requests
            .send(acknowledgement)
            .await
            .map_err(|_| "the request stream is closed".into())
    }

    fn publish(&mut self) {
        let first = self.snapshots.borrow().generation == 0;
        if first && !self.state.complete() {
            if !self.state.begun() {
                return;
            }
            match self.first_deadline {
                None => {
                    self.first_deadline = Some(Instant::now() + FIRST_SNAPSHOT);
                    return;
                }
                Some(deadline) if Instant::now() < deadline => return,
                Some(_) => {
                    tracing::warn!("starting without all that the listeners and clusters mention")
                }
            }
        }
        self.first_deadline = None;
        self.snapshots.send_replace(self.state.publish());
    }
}

struct Secrets {
    asked: BTreeSet<Arc<str>>,
    names: Vec<String>,
    requests: mpsc::Sender<discovery::DiscoveryRequest>,
    answers: tonic::Streaming<discovery::DiscoveryResponse>,
}

async fn next_secrets(
    secrets: &mut Option<Secrets>,
) -> Result<discovery::DiscoveryResponse, String> {
    match secrets {
        None => std::future::pending().await,
        Some(secrets) => secrets
            .answers
            .message()
            .await
            .map_err(|status| said(&status))?
            .ok_or_else(|| "the node ended the stream of secrets".into()),
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn connect(socket: &Path) -> Result<Channel, String> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://xds")
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| format!("cannot connect to {}: {error:?}", socket.display()))
}

fn said(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Between half and all of a wait, so that proxies do not come back in step.
fn jittered(wait: Duration) -> Duration {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.subsec_nanos());
    wait / 2 + (wait / 2).mul_f64(f64::from(nanos % 1_000) / 1_000.0)
}
