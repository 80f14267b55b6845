//! What the proxy counts: by edge, by route, with calls to look at.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::Arc;

use hauberk_config::Snapshot;
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::Direction;
use hauberk_config::route::RouteAction;
use hauberk_config::tls::DownstreamTransport;
use hauberk_telemetry::open_metrics::Format;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// One listener whose routes lead nowhere, so that every call fails, is recorded, and so an exemplar.
fn nowhere(port: u16, names: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    insert_cluster(&mut snapshot, cluster("c", &[], UpstreamProtocol::Http1));
    let routes = names.iter().map(|name| {
        let mut one = route(
            &format!("/{name}"),
            RouteAction::Forward(Box::new(forward_to("c"))),
        );
        one.name = Arc::from(*name);
        one
    });
    let manager = manager(routes.collect(), Vec::new());
    let chains = vec![chain(http(manager), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    snapshot
}

async fn call(port: u16, path: &str, trace: &str) {
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: web.bank\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503"));
}

#[tokio::test]
async fn calls_are_counted_by_their_route_and_can_be_looked_at() {
    let port = free_port();
    let proxy = Proxy::start("web");
    proxy.publish(nowhere(port, &["pay", "look"])).await;
    call(port, "/pay", TRACE).await;
    call(port, "/look", TRACE).await;
    call(port, "/look", TRACE).await;
    let page = proxy.engine.statistics_as(Format::OpenMetrics).await;
    for (route, count) in [("pay", 1), ("look", 2)] {
        let labels = format!("route=\"{route}\",response_code_class=\"5xx\"}} {count}");
        assert!(page.contains(&labels), "{page}");
    }
    assert!(
        page.contains("source_workload_namespace=\"bank\""),
        "{page}"
    );
    assert!(page.contains("# TYPE istio_requests counter\n"), "{page}");
    assert!(page.ends_with("# EOF\n"));
    let record = proxy.recorded(&["\"type\":\"request\"", "/pay"]).await;
    let exemplars: Vec<_> = page
        .lines()
        .filter(|line| line.contains(" # {call_id="))
        .collect();
    assert!(!exemplars.is_empty() && record.contains(TRACE), "{page}");
    let wanted = format!(",trace_id=\"{TRACE}\"}}");
    assert!(
        exemplars.iter().all(|line| line.contains(&wanted)),
        "{exemplars:?}"
    );

    let plain = proxy.engine.statistics().await;
    assert!(plain.contains("# TYPE istio_requests_total counter\n"));
    assert!(
        !plain.contains("call_id") && !plain.contains("# EOF"),
        "{plain}"
    );
}

#[tokio::test]
async fn routes_beyond_the_limit_are_counted_together() {
    let port = free_port();
    let names: Vec<_> = (0..520).map(|number| format!("r{number:03}/")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let proxy = Proxy::start("web");
    proxy.publish(nowhere(port, &names)).await;
    for name in &names {
        call(port, &format!("/{name}"), TRACE).await;
    }
    let page = proxy.engine.statistics().await;
    let known = page
        .lines()
        .filter(|line| line.starts_with("hauberk_route_requests_total{"));
    assert_eq!(known.count(), 500);
    assert!(
        page.contains("hauberk_metrics_overflow_total 20\n"),
        "{page}"
    );
}
