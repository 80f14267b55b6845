//! A snapshot from resources at hand, without a control plane: read by the same decoder, refused for the same reasons.

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use hauberk_config::Snapshot;
use hauberk_config::secret::{Material, Secret};

use crate::state::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, State};

/// One encoded resource.
pub struct Encoded {
    pub type_url: String,
    pub name: String,
    pub value: Vec<u8>,
}

/// What a proxy would run from these. Secrets are taken to be empty: nothing can be proved or opened with this.
///
/// # Errors
/// Why a proxy would refuse them.
pub fn snapshot(resources: Vec<Encoded>) -> Result<Arc<Snapshot>, String> {
    let mut answers: Vec<DeltaDiscoveryResponse> = [CLUSTER, ENDPOINT, LISTENER, ROUTE]
        .map(|type_url| DeltaDiscoveryResponse {
            type_url: type_url.into(),
            ..Default::default()
        })
        .into();
    for one in resources {
        let answer = answers
            .iter_mut()
            .find(|answer| answer.type_url == one.type_url);
        let answer = answer.ok_or_else(|| {
            format!(
                "expected listeners, routes, clusters or endpoints, found {:?}",
                one.type_url
            )
        })?;
        answer.resources.push(Resource {
            name: one.name,
            version: "0".into(),
            resource: Some(Any {
                type_url: one.type_url,
                value: one.value,
            }),
            ..Default::default()
        });
    }
    let mut state = State::default();
    for answer in &answers {
        state.apply(answer)?;
    }
    state.give_up();
    // Listeners and clusters run once their secrets are there; empty ones will do, since nothing is opened with them.
    let empty = state.wanted(SECRET).into_iter().map(|name| Secret {
        name,
        material: Material::TrustBundle { pem: Bytes::new() },
    });
    state.apply_secrets("0", empty.collect());
    Ok(state.publish().unwrap_or_default())
}
