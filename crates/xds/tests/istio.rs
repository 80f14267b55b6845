//! What Istio's own control plane sends beside ours, and what becomes of it (docs/conformance.md).
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod resources;

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::{Cluster, Filter};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::{
    MatchSet, Rule,
};
use envoy_types::pb::envoy::config::listener::v3::{
    Listener, ListenerFilter, ListenerFilterChainMatchPredicate as Predicate, listener_filter,
};
use envoy_types::pb::envoy::config::route::v3::{RouteAction, route_action, route_match};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use envoy_types::pb::google::protobuf::{Any, Duration as Seconds};
use hauberk_config::Snapshot;
use hauberk_config::listener::{Inspection, Traffic};
use hauberk_config::route::RouteAction as Action;
use hauberk_config::tls::UpstreamTransport;
use hauberk_xds::state::{CLUSTER, LISTENER, ROUTE, State};
use resources::{answer, any, eds_cluster, http_listener, listener, network_filter, one_route};

const EXCHANGE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// A configuration that is told as a structure, as Istio tells those of its own filters.
fn structured(kind: &str) -> Any {
    let inner = format!("type.googleapis.com/{kind}");
    let mut value = vec![0x0a, u8::try_from(inner.len()).expect("a short name")];
    value.extend(inner.into_bytes());
    Any {
        type_url: "type.googleapis.com/udpa.type.v1.TypedStruct".into(),
        value,
    }
}

fn told<M: prost::Message>(type_url: &str, message: M) -> Result<State, String> {
    let mut state = State::default();
    state.apply(&answer(type_url, &[("x", "1", message)], &[]))?;
    Ok(state)
}

fn published(mut state: State) -> Snapshot {
    (*state.publish().expect("something changed")).clone()
}

#[test]
fn a_cluster_s_metadata_exchange_is_passed_over_and_its_protocol_never_offered() {
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            alpn_protocols: vec!["istio-peer-exchange".into(), "istio".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let with = |filter: &str| Cluster {
        // Static, so that it runs without endpoints.
        cluster_discovery_type: None,
        filters: vec![Filter {
            name: "istio.metadata_exchange".into(),
            typed_config: Some(structured(filter)),
            ..Default::default()
        }],
        transport_socket: Some(TransportSocket {
            name: "tls".into(),
            config_type: Some(ConfigType::TypedConfig(any(kind, &context))),
        }),
        ..eds_cluster("x")
    };
    let snapshot = published(told(CLUSTER, with(EXCHANGE)).expect("it is taken"));
    let cluster = snapshot.clusters.get("x").expect("it runs");
    let UpstreamTransport::Tls(found) = &cluster.transport else {
        panic!("expected TLS")
    };
    assert_eq!(found.context.alpn, ["istio"]);
    let other = told(
        CLUSTER,
        with("envoy.extensions.filters.network.other.v3.Other"),
    );
    assert!(other.is_err_and(|reason| reason.contains("filters[istio.metadata_exchange]")));
}

fn inspector(kind: &str, off_at: Predicate) -> ListenerFilter {
    ListenerFilter {
        name: kind.into(),
        filter_disabled: Some(off_at),
        config_type: Some(listener_filter::ConfigType::TypedConfig(Any {
            type_url: format!("type.googleapis.com/envoy.extensions.filters.listener.{kind}"),
            value: Vec::new(),
        })),
    }
}

fn ports(start: i32, end: i32) -> Predicate {
    Predicate {
        rule: Some(Rule::DestinationPortRange(Int32Range { start, end })),
    }
}

fn any_of(rules: Vec<Predicate>) -> Predicate {
    Predicate {
        rule: Some(Rule::OrMatch(MatchSet { rules })),
    }
}

fn inspecting(filter: ListenerFilter) -> Listener {
    let proxy = TcpProxy {
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    Listener {
        listener_filters: vec![filter],
        ..listener("x", vec![network_filter("tcp", any(TCP_PROXY, &proxy))])
    }
}

fn inspection(filter: ListenerFilter) -> Inspection {
    let snapshot = published(told(LISTENER, inspecting(filter)).expect("it is taken"));
    let found = snapshot.listeners.get("x").expect("it runs");
    match &found.traffic {
        Traffic::Tcp(tcp) => tcp.inspection.clone(),
        Traffic::Dns(_) => panic!("expected TCP"),
    }
}

#[test]
fn an_inspector_is_off_at_the_ports_that_are_named() {
    let http = "http_inspector.v3.HttpInspector";
    let found = inspection(inspector(
        http,
        any_of(vec![ports(8080, 8081), ports(15006, 15010)]),
    ));
    assert_eq!(found.http_off_at, [8080..=8080, 15006..=15009]);
    let found = inspection(inspector("tls_inspector.v3.TlsInspector", ports(80, 81)));
    assert_eq!(
        (found.tls_off_at, found.http_off_at),
        (vec![80..=80], vec![])
    );
}

#[test]
fn a_listener_filter_is_never_off_where_that_is_not_understood() {
    let http = "http_inspector.v3.HttpInspector";
    let not = Predicate {
        rule: Some(Rule::NotMatch(Box::new(ports(80, 81)))),
    };
    for bad in [
        inspector(http, not),
        inspector(http, ports(80, 80)),
        inspector(http, ports(-1, 81)),
        inspector(http, ports(i32::MIN, i32::MIN)),
        inspector("original_src.v3.OriginalSrc", ports(80, 81)),
    ] {
        let reason = told(LISTENER, inspecting(bad)).err().expect("a refusal");
        assert!(reason.contains("filter_disabled"), "{reason}");
    }
}

#[test]
fn a_caller_s_grpc_timeout_counts_and_a_limit_of_its_own_is_refused() {
    let route = |longest: i64| {
        let duration = |seconds| Some(Seconds { seconds, nanos: 0 });
        let action = RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster("c".into())),
            max_stream_duration: Some(route_action::MaxStreamDuration {
                max_stream_duration: duration(longest),
                grpc_timeout_header_max: duration(7),
                grpc_timeout_header_offset: None,
            }),
            ..Default::default()
        };
        one_route("x", route_match::PathSpecifier::Prefix("/".into()), action)
    };
    let mut state = told(ROUTE, route(0)).expect("it is taken");
    // Routes are kept as long as a listener that runs mentions them.
    state
        .apply(&answer(
            LISTENER,
            &[("web", "1", http_listener("web", "x"))],
            &[],
        ))
        .expect("it is taken");
    let snapshot = published(state);
    let found = &snapshot.routes.get("x").expect("it runs").virtual_hosts[0].routes[0];
    let Action::Forward(forward) = &found.action else {
        panic!("expected a route")
    };
    assert_eq!(forward.max_grpc_timeout, Some(Duration::from_secs(7)));
    let refused = told(ROUTE, route(1));
    assert!(refused.is_err_and(|reason| reason.contains("max_stream_duration")));
}
