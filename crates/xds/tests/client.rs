//! The client against a control plane on a Unix socket.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod control_plane;
mod resources;

use std::sync::Arc;
use std::time::Duration;

use control_plane::{Ads, ControlPlane};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, secret,
};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use hauberk_config::Snapshot;
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use hauberk_xds::{Client, Node};
use resources::{answer, any, eds_cluster, endpoints, http_listener, routes, tls_cluster};
use tokio::sync::watch;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

type Snapshots = watch::Receiver<Arc<Snapshot>>;

fn connected(plane: &ControlPlane, patience: Duration) -> Snapshots {
    let node = Node {
        id: "sidecar~10.0.0.1~web.n~n.svc.cluster.local".into(),
        ..Default::default()
    };
    let (client, snapshots) = Client::new(node, plane.socket.clone());
    tokio::spawn(client.with_patience(patience).run());
    snapshots
}

/// The first snapshot of which `holds` is true.
async fn until(snapshots: &mut Snapshots, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let found = timeout(DEADLINE, snapshots.wait_for(|found| holds(found))).await;
    Arc::clone(&found.expect("a snapshot in time").expect("the client runs"))
}

/// Answers, and returns the reason for which that was refused; empty if it was not.
async fn sent(ads: &mut Ads, mut answer: DeltaDiscoveryResponse, nonce: &str) -> String {
    nonce.clone_into(&mut answer.nonce);
    ads.answer(answer).await;
    loop {
        let request = ads.request().await;
        if request.response_nonce == nonce {
            return request
                .error_detail
                .map(|status| status.message)
                .unwrap_or_default();
        }
    }
}

/// Tells the client of listener `web`, routes `r`, cluster `c` and its endpoint 10.0.0.1.
async fn first_configuration(ads: &mut Ads) {
    let clusters = ads.request().await;
    assert_eq!(clusters.type_url, CLUSTER);
    assert!(clusters.node.expect("who it is").id.starts_with("sidecar~"));
    assert!(clusters.resource_names_subscribe.is_empty(), "all of them");
    assert_eq!(ads.request().await.type_url, LISTENER);
    let cluster = [("c", "1", eds_cluster("c"))];
    assert_eq!(sent(ads, answer(CLUSTER, &cluster, &[]), "1").await, "");
    let asked = ads.request().await;
    assert_eq!(
        (&*asked.type_url, &*asked.resource_names_subscribe),
        (ENDPOINT, &["c".to_owned()][..])
    );
    let assignment = [("c", "1", endpoints("c", "10.0.0.1"))];
    assert_eq!(sent(ads, answer(ENDPOINT, &assignment, &[]), "2").await, "");
    let listener = [("web", "1", http_listener("web", "r"))];
    assert_eq!(sent(ads, answer(LISTENER, &listener, &[]), "3").await, "");
    let asked = ads.request().await;
    assert_eq!(
        (&*asked.type_url, &*asked.resource_names_subscribe),
        (ROUTE, &["r".to_owned()][..])
    );
    assert_eq!(
        sent(
            ads,
            answer(ROUTE, &[("r", "1", routes("r", "c"))], &[]),
            "4"
        )
        .await,
        ""
    );
}

#[tokio::test]
async fn a_first_configuration_then_a_change() {
    let mut plane = ControlPlane::start();
    let mut snapshots = connected(&plane, DEADLINE);
    let mut ads = plane.ads().await;
    first_configuration(&mut ads).await;
    let first = until(&mut snapshots, |found| found.generation > 0).await;
    assert_eq!(first.generation, 1, "nothing is published in parts");
    assert!(first.listeners.contains("web") && first.routes.contains("r"));
    assert!(first.clusters.contains("c") && first.endpoints.contains("c"));
    let other = [("c", "2", endpoints("c", "10.0.0.2"))];
    assert_eq!(sent(&mut ads, answer(ENDPOINT, &other, &[]), "5").await, "");
    let second = until(&mut snapshots, |found| found.generation == 2).await;
    assert_eq!(
        &*second.endpoints.entry("c").expect("it is there").version,
        "2"
    );
}

#[tokio::test]
async fn what_is_refused_leaves_the_old_running_and_says_why() {
    let mut plane = ControlPlane::start();
    let mut snapshots = connected(&plane, DEADLINE);
    let mut ads = plane.ads().await;
    first_configuration(&mut ads).await;
    let first = until(&mut snapshots, |found| found.generation == 1).await;
    let mut bad = routes("r", "c");
    bad.virtual_hosts[0].routes[0].action = None;
    let reason = sent(&mut ads, answer(ROUTE, &[("r", "2", bad)], &[]), "5").await;
    assert!(
        reason.contains("RouteConfiguration r") && reason.contains("routes[0]"),
        "{reason}"
    );
    let told = until(&mut snapshots, |found| found.generation == 2).await;
    let refusal = &told.refused["envoy.config.route.v3.RouteConfiguration"];
    assert_eq!(refusal.reason, reason);
    assert!(first.routes.same(&told.routes), "the old one runs on");
    let good = [("r", "3", routes("r", "elsewhere"))];
    assert_eq!(sent(&mut ads, answer(ROUTE, &good, &[]), "6").await, "");
    let second = until(&mut snapshots, |found| found.generation == 3).await;
    assert!(second.refused.is_empty(), "{:?}", second.refused);
    assert!(first.listeners.same(&second.listeners));
}

#[tokio::test]
async fn a_client_that_comes_back_says_what_it_has() {
    let mut plane = ControlPlane::start();
    let mut snapshots = connected(&plane, DEADLINE);
    let mut ads = plane.ads().await;
    first_configuration(&mut ads).await;
    until(&mut snapshots, |found| found.generation == 1).await;
    drop(ads);
    let mut ads = plane.ads().await;
    let mut versions = Vec::new();
    for _ in 0..4 {
        // Also what it needs by name is asked for at once, though nothing has been answered yet.
        let request = ads.request().await;
        let name = request.initial_resource_versions.keys().next().cloned();
        versions.push((request.type_url, name.unwrap_or_default()));
    }
    let expected = [
        (CLUSTER, "c"),
        (LISTENER, "web"),
        (ENDPOINT, "c"),
        (ROUTE, "r"),
    ];
    assert_eq!(
        versions,
        expected.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
    );
    assert!(snapshots.borrow().listeners.contains("web"), "it serves on");
    let other = [("c", "2", endpoints("c", "10.0.0.2"))];
    assert_eq!(sent(&mut ads, answer(ENDPOINT, &other, &[]), "1").await, "");
    until(&mut snapshots, |found| found.generation == 2).await;
}

#[tokio::test]
async fn without_secrets_the_rest_runs_after_a_bounded_wait() {
    let mut plane = ControlPlane::start();
    let mut snapshots = connected(&plane, SHORT);
    let ads = plane.ads().await;
    ads.answer(answer(CLUSTER, &[("t", "1", tls_cluster("t"))], &[]))
        .await;
    ads.answer(answer(
        LISTENER,
        &[("web", "1", http_listener("web", "r"))],
        &[],
    ))
    .await;
    ads.answer(answer(ROUTE, &[("r", "1", routes("r", "t"))], &[]))
        .await;
    let first = until(&mut snapshots, |found| found.generation == 1).await;
    assert!(first.listeners.contains("web") && !first.clusters.contains("t"));
    // They come after all, and ADS is away.
    drop(ads);
    let mut sds = plane.sds().await;
    assert_eq!(sds.request().await.resource_names, ["ROOTCA", "default"]);
    let bundle = |name: &str| Secret {
        name: name.into(),
        r#type: Some(secret::Type::ValidationContext(
            CertificateValidationContext::default(),
        )),
    };
    let kind = "envoy.extensions.transport_sockets.tls.v3.Secret";
    sds.answer(DiscoveryResponse {
        version_info: "7".into(),
        nonce: "n".into(),
        type_url: SECRET.into(),
        resources: vec![any(kind, &bundle("ROOTCA")), any(kind, &bundle("default"))],
        ..Default::default()
    })
    .await;
    let acknowledged = sds.request().await;
    assert_eq!(
        (&*acknowledged.response_nonce, &*acknowledged.version_info),
        ("n", "7")
    );
    assert!(acknowledged.error_detail.is_none());
    let second = until(&mut snapshots, |found| found.clusters.contains("t")).await;
    assert_eq!(second.secrets.len(), 2);
}
