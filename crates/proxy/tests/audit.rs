//! AUDIT policies note calls and never refuse one.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::Arc;

use hauberk_config::Snapshot;
use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::Direction;
use hauberk_config::matcher::{StringMatcher, StringPattern};
use hauberk_config::rbac::{Permission, Policy, Principal, Rbac, RbacAction, RbacFilter};
use hauberk_config::route::RouteAction;
use hauberk_config::tls::DownstreamTransport;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const POLICY: &str = "ns[bank]-policy[watch]-rule[0]";

fn rules(action: RbacAction, permission: Permission) -> Arc<Rbac> {
    Arc::new(Rbac {
        action,
        policies: vec![Policy {
            name: POLICY.into(),
            permissions: vec![permission],
            principals: vec![Principal::Any],
        }],
    })
}

fn watched_path() -> Permission {
    Permission::UrlPath(StringMatcher {
        pattern: StringPattern::Prefix("/vault".into()),
        ignore_case: false,
    })
}

/// Answers each connection with `answer` once something came, and closes.
async fn answering(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 1024];
            if stream.read(&mut bytes).await.is_ok() {
                stream.write_all(answer).await.ok();
            }
        }
    });
    port
}

async fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn audited_hop(filter: RbacFilter) -> (Proxy, u16) {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let (port, backend) = (free_port(), answering(answer).await);
    let proxy = Proxy::start("vault");
    let mut snapshot = Snapshot::default();
    let clusters = cluster("c", &[loopback(backend)], UpstreamProtocol::Http1);
    insert_cluster(&mut snapshot, clusters);
    let to = vec![route("/", RouteAction::Forward(Box::new(forward_to("c"))))];
    let mut manager = manager(to, vec![filter]);
    let operator = "%DYNAMIC_METADATA(envoy.filters.http.rbac:audit_shadow_effective_policy_id)%";
    manager.access_logs = vec![AccessLog {
        sink: AccessLogSink::File {
            path: "/dev/stdout".into(),
            format: AccessLogFormat::Json(vec![("audit".into(), operator.into())]),
        },
        filter: AccessLogFilter::All,
    }];
    let chains = vec![chain(http(manager), DownstreamTransport::Plain)];
    let listening = listener("in", port, Direction::Inbound, chains);
    insert_listener(&mut snapshot, listening);
    proxy.publish(snapshot).await;
    (proxy, port)
}

#[tokio::test]
async fn a_request_that_an_audit_policy_matches_is_answered_and_noted() {
    for filter in [
        RbacFilter {
            dry_run: None,
            rules: None,
            shadow_rules: Some(rules(RbacAction::Allow, watched_path())),
        },
        RbacFilter {
            dry_run: None,
            rules: Some(rules(RbacAction::Log, watched_path())),
            shadow_rules: None,
        },
    ] {
        let (proxy, port) = audited_hop(filter).await;
        for path in ["/open", "/vault/7"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n");
            let answer = exchange(port, &request).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
        let record = proxy.recorded(&["\"type\":\"request\"", "/vault/7"]).await;
        assert!(
            record.contains("\"verdict\":\"allow\"")
                && record.contains(&format!("\"audit\":\"{POLICY}\"")),
            "{record}"
        );
        let log = proxy
            .logged(&[&format!("{{\"audit\":\"{POLICY}\"}}")])
            .await;
        assert_eq!(log.lines().next(), Some("{\"audit\":null}"), "{log}");
        let metrics = proxy.engine.statistics().await;
        let series = format!(
            "hauberk_audited_total{{policy=\"{POLICY}\",source_principal=\"unknown\"}} 1\n"
        );
        assert!(metrics.contains(&series), "{metrics}");
    }
}

#[tokio::test]
async fn a_connection_that_an_audit_policy_matches_is_served_and_noted() {
    let (port, backend) = (free_port(), answering(b"pong").await);
    let proxy = Proxy::start("vault");
    let mut snapshot = Snapshot::default();
    let clusters = cluster("t", &[loopback(backend)], UpstreamProtocol::Http1);
    insert_cluster(&mut snapshot, clusters);
    let mut audited = chain(tcp("t"), DownstreamTransport::Plain);
    audited.rbac = vec![RbacFilter {
        dry_run: None,
        rules: None,
        shadow_rules: Some(rules(RbacAction::Allow, Permission::DestinationPort(port))),
    }];
    let listening = listener("in", port, Direction::Inbound, vec![audited]);
    insert_listener(&mut snapshot, listening);
    proxy.publish(snapshot).await;
    assert_eq!(exchange(port, "ping").await, "pong");
    let record = proxy.recorded(&["\"phase\":\"close\""]).await;
    assert!(
        record.contains("\"verdict\":\"allow\"")
            && record.contains(&format!("\"audit\":\"{POLICY}\"")),
        "{record}"
    );
    let metrics = proxy.engine.statistics().await;
    assert!(
        metrics.contains(&format!("hauberk_audited_total{{policy=\"{POLICY}\"")),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_policy_in_dry_run_refuses_nothing_and_says_what_it_would_have_done() {
    let filter = RbacFilter {
        rules: None,
        shadow_rules: None,
        dry_run: Some(rules(RbacAction::Deny, watched_path())),
    };
    let (proxy, port) = audited_hop(filter).await;
    for path in ["/open", "/vault/7"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n");
        let answer = exchange(port, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let record = proxy.recorded(&["\"type\":\"request\"", "/vault/7"]).await;
    let tried = format!("\"dry_run\":{{\"verdict\":\"deny\",\"policy\":\"{POLICY}\"}}");
    assert!(
        record.contains("\"verdict\":\"allow\"") && record.contains(&tried),
        "{record}"
    );
    let metrics = proxy.engine.statistics().await;
    for labels in [
        format!("verdict=\"deny\",policy=\"{POLICY}\""),
        "verdict=\"allow\",policy=\"unknown\"".to_owned(),
    ] {
        let series = format!("hauberk_dry_run_total{{{labels},source_principal=\"unknown\"}} 1\n");
        assert!(metrics.contains(&series), "{metrics}");
    }
}
