//! SDS: keys and trust bundles, from the same socket but on a stream and a connection of their own, so that they are
//! renewed while ADS is away, and ADS goes on where nobody serves secrets.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use envoy_types::pb::google::rpc::Status;
use hauberk_config::secret::Secret;
use hauberk_net::back_off::BackOff;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::answers::Answers;
use crate::connection::{INVALID_ARGUMENT, REQUESTS, connect};
use crate::decode;
use crate::state::SECRET;

/// Secrets that came together, and their version.
pub type Found = (String, Vec<Secret>);

/// Asks for what `wanted` names, again whenever that changes, and passes on what comes. Ends if nobody wants it any more.
pub async fn follow(
    node: Node,
    socket: &Path,
    mut wanted: watch::Receiver<BTreeSet<Arc<str>>>,
    found: mpsc::Sender<Found>,
) {
    let mut back_off = BackOff::new();
    loop {
        if wanted.wait_for(|names| !names.is_empty()).await.is_err() {
            return;
        }
        let began = Instant::now();
        let Err(reason) = stream(&node, socket, &mut wanted, &found).await else {
            return;
        };
        let wait = back_off.after(began.elapsed());
        tracing::info!(
            reason,
            wait_ms = wait.as_millis(),
            "no secrets at the moment"
        );
        sleep(wait).await;
    }
}

/// One stream. `Ok` if nobody wants secrets any more.
async fn stream(
    node: &Node,
    socket: &Path,
    wanted: &mut watch::Receiver<BTreeSet<Arc<str>>>,
    found: &mpsc::Sender<Found>,
) -> Result<(), String> {
    let channel = connect(socket).await?;
    let (requests, receiver) = mpsc::channel(REQUESTS);
    let mut answers = Answers::new(async move {
        SecretDiscoveryServiceClient::new(channel)
            .stream_secrets(ReceiverStream::new(receiver))
            .await
    });
    let ask = |request: DiscoveryRequest| {
        requests
            .try_send(request)
            .map_err(|error| format!("the request was not taken: {error}"))
    };
    // What the last answer was, as every later request has to say.
    let mut last = (String::new(), String::new());
    let mut names = list(&wanted.borrow_and_update());
    ask(DiscoveryRequest {
        node: Some(node.clone()),
        ..request(&names, &last)
    })?;
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                names = list(&wanted.borrow_and_update());
                if names.is_empty() {
                    return Err("no secrets are wanted".into());
                }
                ask(request(&names, &last))?;
            }
            answer = answers.next() => {
                let answer = answer?;
                last.1.clone_from(&answer.nonce);
                let error_detail = match secrets(&answer) {
                    Ok(secrets) => {
                        last.0.clone_from(&answer.version_info);
                        if found.send((answer.version_info, secrets)).await.is_err() {
                            return Ok(());
                        }
                        None
                    }
                    Err(message) => {
                        tracing::warn!(message, "refused the secrets that were sent");
                        Some(Status { code: INVALID_ARGUMENT, message, details: Vec::new() })
                    }
                };
                ask(DiscoveryRequest { error_detail, ..request(&names, &last) })?;
            }
        }
    }
}

fn secrets(answer: &DiscoveryResponse) -> decode::Decoded<Vec<Secret>> {
    let one = |any| decode::secret(&decode::unpack(any, decode::kind(SECRET))?);
    answer.resources.iter().map(one).collect()
}

fn list(names: &BTreeSet<Arc<str>>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn request(names: &[String], (version, nonce): &(String, String)) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.to_vec(),
        type_url: SECRET.into(),
        version_info: version.clone(),
        response_nonce: nonce.clone(),
        ..Default::default()
    }
}
