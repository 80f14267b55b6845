//! Access logs and tracing, as the control plane states them.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

mod resources;

use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{
    EnvoyGrpc, GoogleGrpc, TargetSpecifier,
};
use envoy_types::pb::envoy::config::core::v3::GrpcService;
use envoy_types::pb::envoy::config::trace::v3::{OpenTelemetryConfig, tracing};
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf as pb;
use hauberk_config::access_log::{AccessLogKind, AccessLogSink};
use hauberk_config::connection_manager::ConnectionManager;
use hauberk_config::fault::Fraction;
use hauberk_config::listener::{TerminalFilter, Traffic};
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, State};
use resources::{answer, any, eds_cluster, endpoints, listener, network_filter};

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn collector(target: TargetSpecifier) -> Option<GrpcService> {
    Some(GrpcService {
        target_specifier: Some(target),
        ..Default::default()
    })
}

fn envoy(cluster: &str) -> TargetSpecifier {
    TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
        cluster_name: cluster.into(),
        ..Default::default()
    })
}

fn log(kind: &str, config: &impl prost::Message) -> AccessLog {
    let kind = format!("envoy.extensions.access_loggers.grpc.v3.{kind}");
    AccessLog {
        config_type: Some(access_log::ConfigType::TypedConfig(any(&kind, config))),
        ..Default::default()
    }
}

fn common(target: TargetSpecifier) -> Option<CommonGrpcAccessLogConfig> {
    Some(CommonGrpcAccessLogConfig {
        log_name: "requests".into(),
        grpc_service: collector(target),
        ..Default::default()
    })
}

fn http_log(target: TargetSpecifier) -> AccessLog {
    let config = HttpGrpcAccessLogConfig {
        common_config: common(target),
        ..Default::default()
    };
    log("HttpGrpcAccessLogConfig", &config)
}

fn manager(access_log: Vec<AccessLog>, tracing: Option<Tracing>) -> http::HttpConnectionManager {
    http::HttpConnectionManager {
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::RouteConfig(
            resources::routes("r", "c"),
        )),
        access_log,
        tracing,
        ..Default::default()
    }
}

fn apply(filter: &str, config: &impl prost::Message) -> Result<TerminalFilter, String> {
    let mut state = State::default();
    let told = |result: Result<(), String>| result.expect("a good resource");
    told(state.apply(&answer(CLUSTER, &[("c", "1", eds_cluster("c"))], &[])));
    told(state.apply(&answer(
        ENDPOINT,
        &[("c", "1", endpoints("c", "10.0.0.1"))],
        &[],
    )));
    let filters = vec![network_filter("terminal", any(filter, config))];
    state.apply(&answer(
        LISTENER,
        &[("l", "1", listener("l", filters))],
        &[],
    ))?;
    let snapshot = state.publish().expect("something changed");
    let Traffic::Tcp(tcp) = &snapshot.listeners.get("l").expect("it runs").traffic else {
        panic!("expected TCP")
    };
    Ok(tcp.chains().next().expect("a chain").terminal.clone())
}

fn managed(config: &http::HttpConnectionManager) -> Result<ConnectionManager, String> {
    match apply(MANAGER, config)? {
        TerminalFilter::Http(manager) => Ok((*manager).clone()),
        TerminalFilter::TcpProxy(_) => panic!("expected HTTP"),
    }
}

fn tracing(random: f64, target: TargetSpecifier) -> Tracing {
    let config = OpenTelemetryConfig {
        grpc_service: collector(target),
        service_name: "web.bank".into(),
        ..Default::default()
    };
    Tracing {
        random_sampling: Some(Percent { value: random }),
        provider: Some(tracing::Http {
            name: "envoy.tracers.opentelemetry".into(),
            config_type: Some(tracing::http::ConfigType::TypedConfig(any(
                "envoy.config.trace.v3.OpenTelemetryConfig",
                &config,
            ))),
        }),
        ..Default::default()
    }
}

#[test]
fn collectors_of_access_logs() {
    let manager = managed(&manager(vec![http_log(envoy("als"))], None)).expect("a manager");
    let AccessLogSink::Grpc(service) = &manager.access_logs[0].sink else {
        panic!("expected a collector")
    };
    assert_eq!(
        (
            &*service.cluster,
            service.log_name.as_str(),
            service.kind,
            service.flush
        ),
        (
            "als",
            "requests",
            AccessLogKind::Http,
            Duration::from_secs(1)
        )
    );
    let tcp = TcpGrpcAccessLogConfig {
        common_config: common(envoy("als")),
    };
    let proxy = TcpProxy {
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("c".into())),
        access_log: vec![log("TcpGrpcAccessLogConfig", &tcp)],
        ..Default::default()
    };
    let TerminalFilter::TcpProxy(proxy) = apply(TCP_PROXY, &proxy).expect("a proxy") else {
        panic!("expected a TCP proxy")
    };
    assert!(matches!(
        &proxy.access_logs[0].sink,
        AccessLogSink::Grpc(service) if service.kind == AccessLogKind::Tcp
    ));
}

#[test]
fn a_tracer_with_its_share() {
    let manager = managed(&manager(Vec::new(), Some(tracing(12.5, envoy("otel"))))).expect("one");
    let tracing = manager.tracing.expect("tracing");
    let exporter = tracing.exporter.expect("an exporter");
    assert_eq!(
        (&*exporter.cluster, exporter.service_name.as_str()),
        ("otel", "web.bank")
    );
    assert_eq!(
        tracing.random_sampling,
        Fraction {
            numerator: 125_000,
            denominator: 1_000_000
        }
    );
    assert_eq!(tracing.overall_sampling, Fraction::ALWAYS);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let google = TargetSpecifier::GoogleGrpc(GoogleGrpc::default());
    let refused = managed(&manager(vec![http_log(google.clone())], None));
    let reason = refused.expect_err("a refusal");
    assert!(reason.contains("expected envoy_grpc"), "{reason}");
    let spawn = Tracing {
        spawn_upstream_span: Some(pb::BoolValue { value: true }),
        ..tracing(1.0, envoy("otel"))
    };
    for (told, part) in [
        (tracing(1.0, google), "tracing: provider: grpc_service"),
        (
            tracing(101.0, envoy("otel")),
            "random_sampling: expected 0 to 100",
        ),
        (spawn, "spawn_upstream_span"),
    ] {
        let reason = managed(&manager(Vec::new(), Some(told))).expect_err("a refusal");
        assert!(reason.contains(part), "{part}: {reason}");
    }
}
