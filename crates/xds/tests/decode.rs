//! What resources say and what the proxy makes of it, or why it refuses.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod resources;

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{HealthCheck, Metadata, TypedExtensionConfig};
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac, permission, principal,
};
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, RouteAction, RouteConfiguration, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::pb::google::protobuf as pb;
use hauberk_config::cluster::ServiceName;
use hauberk_config::listener::{TerminalFilter, Traffic};
use hauberk_config::rbac::RbacAction;
use hauberk_config::route::{PathMatch, RouteAction as Action};
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, ROUTE, State};
use resources::{
    answer, any, eds_cluster, endpoints, http_listener, listener, network_filter, one_route, routes,
};

const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn refused<M: prost::Message>(type_url: &str, message: M) -> String {
    let result = State::default().apply(&answer(type_url, &[("x", "1", message)], &[]));
    result.expect_err("expected a refusal")
}

fn tcp_proxy() -> TcpProxy {
    TcpProxy {
        stat_prefix: "s".into(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    }
}

fn rbac(permission: permission::Rule, principal: principal::Identifier) -> network::Rbac {
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(permission),
        }],
        principals: vec![Principal {
            identifier: Some(principal),
        }],
        ..Default::default()
    };
    network::Rbac {
        rules: Some(Rbac {
            action: 1,
            policies: [("p".to_owned(), policy)].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A state with all that listener `web` needs, and this cluster `c`.
fn state_with(cluster: Cluster) -> State {
    let mut state = State::default();
    state
        .apply(&answer(CLUSTER, &[("c", "1", cluster)], &[]))
        .expect("clusters");
    state
        .apply(&answer(
            ENDPOINT,
            &[("c", "1", endpoints("c", "10.0.0.1"))],
            &[],
        ))
        .expect("endpoints");
    state
}

fn with_route(action: RouteAction) -> RouteConfiguration {
    one_route("r", route_match::PathSpecifier::Prefix("/".into()), action)
}

fn to_cluster() -> RouteAction {
    RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    }
}

#[test]
fn a_tcp_listener_with_rbac() {
    let filter = rbac(
        permission::Rule::DestinationPort(80),
        principal::Identifier::Any(true),
    );
    let filters = vec![
        network_filter("rbac", any(RBAC, &filter)),
        network_filter("tcp", any(TCP_PROXY, &tcp_proxy())),
    ];
    let mut state = state_with(eds_cluster("c"));
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", listener("web", filters))],
            &[],
        ))
        .expect("listeners");
    let snapshot = state.publish().expect("something changed");
    let web = snapshot.listeners.get("web").expect("it runs");
    assert_eq!(
        (web.bind, web.address.to_string()),
        (true, "10.96.0.1:80".into())
    );
    let Traffic::Tcp(tcp) = &web.traffic else {
        panic!("expected TCP")
    };
    let chain = tcp.chains().next().expect("a chain");
    let rules = chain.rbac[0].rules.as_ref().expect("rules");
    assert_eq!(
        (rules.action, &*rules.policies[0].name),
        (RbacAction::Deny, "p")
    );
    let TerminalFilter::TcpProxy(proxy) = &chain.terminal else {
        panic!("expected tcp_proxy")
    };
    assert_eq!(proxy.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(proxy.choose(0).map(|name| &**name), Some("c"));
}

#[test]
fn routes_with_defaults_as_envoy_has_them() {
    let mut state = state_with(eds_cluster("c"));
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "r"))],
            &[],
        ))
        .expect("listeners");
    state
        .apply(&answer(ROUTE, &[("r", "1", routes("r", "c"))], &[]))
        .expect("routes");
    let snapshot = state.publish().expect("something changed");
    let host = &snapshot
        .routes
        .get("r")
        .expect("they are there")
        .virtual_hosts[0];
    let route = &host.routes[0];
    assert_eq!(
        (route.matches.path.clone(), route.matches.case_sensitive),
        (PathMatch::Prefix("/".into()), true)
    );
    let Action::Forward(forward) = &route.action else {
        panic!("expected a cluster")
    };
    assert_eq!(
        (forward.timeout, forward.cluster_not_found_status),
        (Some(Duration::from_secs(15)), 503)
    );
}

#[test]
fn a_cluster_names_its_service() {
    let text = |text: &str| pb::Value {
        kind: Some(pb::value::Kind::StringValue(text.into())),
    };
    let fields = [("host", "a.n.svc"), ("name", "a"), ("namespace", "n")];
    let service = pb::Struct {
        fields: fields
            .map(|(key, value)| (key.to_owned(), text(value)))
            .into(),
    };
    let list = pb::ListValue {
        values: vec![pb::Value {
            kind: Some(pb::value::Kind::StructValue(service)),
        }],
    };
    let istio = pb::Struct {
        fields: [(
            "services".to_owned(),
            pb::Value {
                kind: Some(pb::value::Kind::ListValue(list)),
            },
        )]
        .into(),
    };
    let metadata = Metadata {
        filter_metadata: [("istio".to_owned(), istio)].into(),
        ..Default::default()
    };
    let mut state = state_with(Cluster {
        metadata: Some(metadata),
        ..eds_cluster("c")
    });
    let snapshot = state.publish().expect("something changed");
    let found = snapshot
        .clusters
        .get("c")
        .expect("it is there")
        .service
        .clone();
    assert_eq!(
        found,
        Some(ServiceName {
            host: "a.n.svc".into(),
            name: "a".into(),
            namespace: "n".into()
        })
    );
}

#[test]
fn what_is_not_honoured_is_refused_with_its_place() {
    let checked = Cluster {
        health_checks: vec![HealthCheck::default()],
        ..eds_cluster("c")
    };
    assert!(refused(CLUSTER, checked).contains("health_checks"));

    let regex = RegexMatcher {
        regex: "(".into(),
        ..Default::default()
    };
    let bad = one_route(
        "r",
        route_match::PathSpecifier::SafeRegex(regex),
        to_cluster(),
    );
    let reason = refused(ROUTE, bad);
    assert!(
        reason.contains("routes[0]") && reason.contains("regular expression"),
        "{reason}"
    );

    let policy = RetryPolicy {
        retry_on: "5xx,whenever".into(),
        ..Default::default()
    };
    let reason = refused(
        ROUTE,
        with_route(RouteAction {
            retry_policy: Some(policy),
            ..to_cluster()
        }),
    );
    assert!(reason.contains("whenever"), "{reason}");

    let endless = pb::Duration {
        seconds: i64::MAX,
        nanos: 0,
    };
    let reason = refused(
        ROUTE,
        with_route(RouteAction {
            timeout: Some(endless),
            ..to_cluster()
        }),
    );
    assert!(reason.contains("315576000000"), "{reason}");

    let filters = vec![network_filter(
        "mongo",
        any(
            "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
            &(),
        ),
    )];
    let reason = refused(LISTENER, listener("x", filters));
    assert!(reason.contains("filters[mongo]"), "{reason}");

    let none = rbac(
        permission::Rule::Any(false),
        principal::Identifier::Any(true),
    );
    let filters = vec![
        network_filter("rbac", any(RBAC, &none)),
        network_filter("tcp", any(TCP_PROXY, &tcp_proxy())),
    ];
    let reason = refused(LISTENER, listener("x", filters));
    assert!(
        reason.contains("filters[rbac]") && reason.contains("policies[p]"),
        "{reason}"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    // Damaged copies of good resources reach deeper than noise does.
    let good = [
        (LISTENER, resource(&http_listener("x", "r"))),
        (CLUSTER, resource(&resources::tls_cluster("x"))),
        (ROUTE, resource(&routes("x", "c"))),
        (ENDPOINT, resource(&endpoints("x", "10.0.0.1"))),
    ];
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut refusals = 0;
    for _ in 0..20_000 {
        let (type_url, bytes) = &good[next() as usize % good.len()];
        let mut bytes = bytes.clone();
        for _ in 0..=next() % 4 {
            let place = next() as usize % bytes.len();
            bytes[place] = next() as u8;
        }
        let damaged = pb::Any {
            type_url: (*type_url).into(),
            value: bytes,
        };
        let resource = Resource {
            name: "x".into(),
            resource: Some(damaged),
            ..Default::default()
        };
        let answer = DeltaDiscoveryResponse {
            type_url: (*type_url).into(),
            resources: vec![resource],
            ..Default::default()
        };
        let mut state = State::default();
        refusals += u32::from(state.apply(&answer).is_err());
        state.give_up();
        state.publish();
    }
    assert!(refusals > 1_000, "most of them are nonsense: {refusals}");
}

fn resource(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

#[test]
fn path_templates_of_policies() {
    let template = |text: &str| {
        permission::Rule::UriTemplate(TypedExtensionConfig {
            name: "template".into(),
            typed_config: Some(any(
                "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                &UriTemplateMatchConfig {
                    path_template: text.into(),
                },
            )),
        })
    };
    let decoded = |text: &str| {
        let filter = rbac(template(text), principal::Identifier::Any(true));
        let filters = vec![
            network_filter("rbac", any(RBAC, &filter)),
            network_filter("tcp", any(TCP_PROXY, &tcp_proxy())),
        ];
        let mut state = state_with(eds_cluster("c"));
        let told = answer(LISTENER, &[("web", "1", listener("web", filters))], &[]);
        state.apply(&told).map(|_| state.publish())
    };
    let found = format!("{:?}", decoded("/a.b/*/c/**").expect("a template"));
    assert!(found.contains(r#"Regex("/a\\.b/[^/]+/c/.*")"#), "{found}");
    for bad in ["/{name}/c", "a/*"] {
        assert!(decoded(bad).is_err(), "{bad}");
    }
}
