//! What follows from what the control plane says: what is asked for, what runs, and what does not yet.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod resources;

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use hauberk_config::Snapshot;
use hauberk_config::secret::{Material, Secret};
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, State};
use resources::{answer, eds_cluster, endpoints, http_listener, routes, tls_cluster};

/// A state that runs listener `web` with routes `r` and cluster `c`.
fn running() -> State {
    let mut state = State::default();
    state
        .apply(&answer(CLUSTER, &[("c", "1", eds_cluster("c"))], &[]))
        .expect("clusters");
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "r"))],
            &[],
        ))
        .expect("listeners");
    state
        .apply(&answer(
            ENDPOINT,
            &[("c", "1", endpoints("c", "10.0.0.1"))],
            &[],
        ))
        .expect("endpoints");
    state
        .apply(&answer(ROUTE, &[("r", "1", routes("r", "c"))], &[]))
        .expect("routes");
    assert!(state.complete());
    assert_eq!(published(&mut state).generation, 1);
    state
}

fn published(state: &mut State) -> Arc<Snapshot> {
    state.publish().expect("something changed")
}

fn names(state: &State, kind: &str) -> Vec<String> {
    state.wanted(kind).iter().map(ToString::to_string).collect()
}

#[test]
fn what_listeners_and_clusters_mention_is_wanted_and_waited_for() {
    let mut state = State::default();
    assert!(!state.begun());
    let clusters = [("c", "1", eds_cluster("c")), ("t", "1", tls_cluster("t"))];
    state
        .apply(&answer(CLUSTER, &clusters, &[]))
        .expect("clusters");
    assert!(!state.begun());
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "r"))],
            &[],
        ))
        .expect("listeners");
    assert!(state.begun() && !state.complete());
    assert_eq!(names(&state, ROUTE), ["r"]);
    assert_eq!(names(&state, ENDPOINT), ["c", "t"]);
    assert_eq!(names(&state, SECRET), ["ROOTCA", "default"]);
    assert_eq!(state.missing(), ["r", "c", "t", "ROOTCA", "default"]);
}

#[test]
fn whom_nobody_waits_for_any_more_is_nobody() {
    let mut state = State::default();
    let clusters = [("c", "1", eds_cluster("c")), ("t", "1", tls_cluster("t"))];
    state
        .apply(&answer(CLUSTER, &clusters, &[]))
        .expect("clusters");
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "r"))],
            &[],
        ))
        .expect("listeners");
    state.give_up();
    let snapshot = published(&mut state);
    let none = snapshot.endpoints.get("c").expect("an empty assignment");
    assert!(none.localities.is_empty() && snapshot.clusters.contains("c"));
    // Without its secrets, a cluster would talk in plain text; without its routes, a listener would know nothing.
    assert!(!snapshot.clusters.contains("t") && !snapshot.listeners.contains("web"));
    assert!(state.versions(ENDPOINT).is_empty(), "we were sent none");
}

#[test]
fn secrets_make_a_cluster_ready() {
    let mut state = running();
    state
        .apply(&answer(CLUSTER, &[("t", "1", tls_cluster("t"))], &[]))
        .expect("clusters");
    state
        .apply(&answer(
            ENDPOINT,
            &[("t", "1", endpoints("t", "10.0.0.2"))],
            &[],
        ))
        .expect("endpoints");
    assert!(!published(&mut state).clusters.contains("t"));
    let secret = |name: &str| Secret {
        name: name.into(),
        material: Material::TrustBundle {
            pem: Bytes::from_static(b"pem"),
        },
    };
    state.apply_secrets("1", vec![secret("default")]);
    assert!(!published(&mut state).clusters.contains("t"));
    state.apply_secrets("2", vec![secret("default"), secret("ROOTCA")]);
    let snapshot = published(&mut state);
    assert!(snapshot.clusters.contains("t"));
    let kept = snapshot.secrets.entry("default").expect("it is there");
    assert_eq!(&*kept.version, "1", "the same secret is not a new one");
}

#[test]
fn a_new_listener_waits_for_its_routes_while_the_old_one_runs() {
    let mut state = running();
    state
        .apply(&answer(
            LISTENER,
            &[("web", "2", http_listener("web", "r2"))],
            &[],
        ))
        .expect("listeners");
    assert_eq!(names(&state, ROUTE), ["r2"]);
    assert!(state.publish().is_none(), "nothing runs differently yet");
    state
        .apply(&answer::<resources::Routes>(ROUTE, &[], &["r"]))
        .expect("routes");
    assert!(
        state.publish().is_none(),
        "the old listener needs its routes"
    );
    state
        .apply(&answer(ROUTE, &[("r2", "1", routes("r2", "c"))], &[]))
        .expect("routes");
    let snapshot = published(&mut state);
    let version = &snapshot.listeners.entry("web").expect("it runs").version;
    assert_eq!((&**version, snapshot.generation), ("2", 2));
    assert!(snapshot.routes.contains("r2") && !snapshot.routes.contains("r"));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut state = running();
    let mut bad = eds_cluster("bad");
    bad.cluster_discovery_type = None;
    bad.lb_policy = 99;
    let refused = answer(
        CLUSTER,
        &[("fine", "1", eds_cluster("fine")), ("bad", "1", bad)],
        &["c"],
    );
    let reason = state.apply(&refused).expect_err("a policy nobody knows");
    assert!(
        reason.contains("Cluster bad") && reason.contains("99"),
        "{reason}"
    );
    let told = state.publish().expect("it says what was refused");
    assert_eq!(
        told.refused["envoy.config.cluster.v3.Cluster"].reason,
        reason
    );
    assert!(told.clusters.contains("c") && !told.clusters.contains("fine"));
    assert_eq!(state.versions(CLUSTER).len(), 1);
    let unknown = answer(
        "type.googleapis.com/google.protobuf.Empty",
        &[("x", "1", ())],
        &[],
    );
    assert!(state.apply(&unknown).is_err());
}

#[test]
fn what_is_removed_is_gone_and_what_it_needed_is_forgotten() {
    let mut state = running();
    state
        .apply(&answer::<resources::Endpoints>(ENDPOINT, &[], &["c"]))
        .expect("endpoints");
    let snapshot = published(&mut state);
    let none = snapshot.endpoints.get("c").expect("an empty assignment");
    assert!(none.localities.is_empty());
    assert!(state.publish().is_none(), "nobody is nobody");
    state
        .apply(&answer::<resources::Clusters>(CLUSTER, &[], &["c"]))
        .expect("clusters");
    state
        .apply(&answer::<resources::Listeners>(LISTENER, &[], &["web"]))
        .expect("listeners");
    let snapshot = published(&mut state);
    assert!(snapshot.listeners.is_empty() && snapshot.clusters.is_empty());
    assert!(snapshot.routes.is_empty() && snapshot.endpoints.is_empty());
    assert!(state.versions(ROUTE).is_empty() && state.versions(ENDPOINT).is_empty());
}

#[test]
fn what_did_not_change_is_shared() {
    let mut state = running();
    let before = published_again(&mut state, "10.0.0.2");
    let after = published_again(&mut state, "10.0.0.3");
    assert!(before.listeners.same(&after.listeners) && before.clusters.same(&after.clusters));
    assert!(before.routes.same(&after.routes) && !before.endpoints.same(&after.endpoints));
}

fn published_again(state: &mut State, ip: &str) -> Arc<Snapshot> {
    state
        .apply(&answer(ENDPOINT, &[("c", ip, endpoints("c", ip))], &[]))
        .expect("endpoints");
    published(state)
}

#[test]
fn secrets_of_the_api_come_over_ads_and_need_not_exist() {
    let mut state = running();
    let name = "kubernetes://cert";
    let own = tls::Secret {
        name: name.into(),
        r#type: Some(tls::secret::Type::ValidationContext(Default::default())),
    };
    let mut other = tls_cluster("t");
    other.transport_socket = Some(resources::tls_with(name));
    state
        .apply(&answer(CLUSTER, &[("t", "1", other)], &[]))
        .expect("clusters");
    state
        .apply(&answer(
            ENDPOINT,
            &[("t", "1", endpoints("t", "10.0.0.2"))],
            &[],
        ))
        .expect("endpoints");
    assert_eq!(state.missing(), [name]);
    state
        .apply(&answer::<tls::Secret>(SECRET, &[], &[name]))
        .expect("secrets");
    assert!(state.complete(), "nobody waits for what does not exist");
    assert!(!published(&mut state).clusters.contains("t"));
    state
        .apply(&answer(SECRET, &[(name, "1", own)], &[]))
        .expect("secrets");
    assert!(published(&mut state).clusters.contains("t"));
    assert_eq!(
        state.versions(SECRET).get(name).map(String::as_str),
        Some("1")
    );
}

#[test]
fn a_listener_without_its_routes_is_named_as_waiting() {
    let mut state = State::default();
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "r"))],
            &[],
        ))
        .expect("listeners");
    state
        .apply(&answer::<resources::Clusters>(CLUSTER, &[], &[]))
        .expect("clusters");
    let names = |snapshot: &hauberk_config::Snapshot| {
        snapshot
            .waiting
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&published(&mut state)), ["web"]);
    state
        .apply(&answer(ROUTE, &[("r", "1", routes("r", "c"))], &[]))
        .expect("routes");
    assert!(names(&published(&mut state)).is_empty());
}
