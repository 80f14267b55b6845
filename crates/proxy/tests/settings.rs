//! Settings of connections and requests that a control plane may send, each shown with traffic.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hauberk_config::Snapshot;
use hauberk_config::cluster::{Cluster, Limits, RetryBudget, UpstreamProtocol};
use hauberk_config::connection_manager::{
    ConnectionManager, EscapedSlashes, PathNormalization, StripPort, Upgrade,
};
use hauberk_config::listener::Direction;
use hauberk_config::route::{
    AppendAction, BackOff, HeaderAddition, Mutations, PathMatch, RetryOn, RetryPolicy, Route,
    RouteAction,
};
use hauberk_config::tls::DownstreamTransport;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers each connection's first request with its head, after `pause`, and counts them.
async fn server(
    status: &'static str,
    pause: Duration,
) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(pause).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}",
                    head.len()
                );
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    (port, count)
}

/// Reads up to the empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn forwarding() -> Vec<Route> {
    vec![route("/", RouteAction::Forward(Box::new(forward_to("c"))))]
}

/// A proxy at the port that it returns, in front of `backend`.
async fn proxy(
    backend: u16,
    manager: ConnectionManager,
    change: impl FnOnce(&mut Cluster),
) -> (Proxy, u16) {
    let port = free_port();
    let mut snapshot = Snapshot::default();
    let mut target = cluster("c", &[loopback(backend)], UpstreamProtocol::Http1);
    change(&mut target);
    insert_cluster(&mut snapshot, target);
    let chains = vec![chain(http(manager), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    let proxy = Proxy::start("web");
    proxy.publish(snapshot).await;
    (proxy, port)
}

async fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = reading.await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_port_of_the_authority_is_cut() {
    let (backend, _) = server("200 OK", Duration::ZERO).await;
    for (mode, other, own) in [
        (StripPort::Keep, "web:99", true),
        (StripPort::Any, "web", false),
        (StripPort::Matching, "web:99", false),
    ] {
        let manager = ConnectionManager {
            strip_port: mode,
            ..manager(forwarding(), Vec::new())
        };
        let (_proxy, port) = proxy(backend, manager, |_| {}).await;
        let answer = ask(port, &get("/", "web:99")).await;
        assert!(
            answer.contains(&format!("host: {other}\r\n")),
            "{mode:?} {answer}"
        );
        let answer = ask(port, &get("/", &format!("web:{port}"))).await;
        assert_eq!(
            answer.contains(&format!("host: web:{port}\r\n")),
            own,
            "{mode:?} {answer}"
        );
    }
}

#[tokio::test]
async fn a_request_that_does_not_end_in_time_is_answered() {
    let limit = Some(Duration::from_millis(200));
    let limited = || ConnectionManager {
        request_timeout: limit,
        ..manager(forwarding(), Vec::new())
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_proxy, port) = proxy(silent.local_addr().unwrap().port(), limited(), |_| {}).await;
    let half = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\nconnection: close\r\n\r\nab";
    let answer = ask(port, half).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let (slow, _) = server("200 OK", Duration::from_millis(400)).await;
    let (_other, port) = proxy(slow, limited(), |_| {}).await;
    let answer = ask(port, &get("/", "web")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 "),
        "an answer may take longer: {answer}"
    );
}

#[tokio::test]
async fn escaped_slashes_are_kept_refused_redirected_or_unescaped() {
    let (backend, _) = server("200 OK", Duration::ZERO).await;
    for (escaped_slashes, start, part) in [
        (EscapedSlashes::Keep, "HTTP/1.1 200 ", "GET /a%2Fb?q=1 "),
        (EscapedSlashes::Reject, "HTTP/1.1 400 ", ""),
        (
            EscapedSlashes::UnescapeAndRedirect,
            "HTTP/1.1 307 ",
            "location: /a/b?q=1\r\n",
        ),
        (
            EscapedSlashes::UnescapeAndForward,
            "HTTP/1.1 200 ",
            "GET /a/b?q=1 ",
        ),
    ] {
        let path = PathNormalization {
            escaped_slashes,
            normalize: true,
            merge_slashes: false,
        };
        let manager = ConnectionManager {
            path,
            ..manager(forwarding(), Vec::new())
        };
        let (_proxy, port) = proxy(backend, manager, |_| {}).await;
        let answer = ask(port, &get("/a%2Fb?q=1", "web")).await;
        assert!(
            answer.starts_with(start) && answer.contains(part),
            "{escaped_slashes:?} {answer}"
        );
    }
}

#[tokio::test]
async fn connections_end_when_idle_old_or_worn() {
    let (backend, _) = server("200 OK", Duration::ZERO).await;
    let limit = Some(Duration::from_millis(300));
    type Change = fn(&mut ConnectionManager, Option<Duration>);
    let idle: Change = |manager, limit| manager.idle_timeout = limit;
    let old: Change = |manager, limit| manager.max_connection_duration = limit;
    for change in [idle, old] {
        let mut manager = manager(forwarding(), Vec::new());
        manager.request_headers_timeout = None;
        change(&mut manager, limit);
        let (_proxy, port) = proxy(backend, manager, |_| {}).await;
        let began = Instant::now();
        let answer = ask(port, "GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let lasted = began.elapsed();
        assert!(
            lasted >= Duration::from_millis(290) && lasted < Duration::from_secs(5),
            "{lasted:?}"
        );
    }
    let mut manager = manager(forwarding(), Vec::new());
    manager.max_requests_per_connection = Some(2);
    let (_proxy, port) = proxy(backend, manager, |_| {}).await;
    let request = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    for last in [false, true] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert_eq!(answer.contains("connection: close"), last, "{answer}");
        let length = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    }
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn connect_makes_a_tunnel_that_ends_one_side_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = head(&mut stream).await;
        assert!(
            asked.starts_with("CONNECT ledger.bank:443 HTTP/1.1\r\n"),
            "{asked}"
        );
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
    });
    let mut connect = forwarding();
    connect[0].matches.path = PathMatch::Connect;
    let mut manager = manager(connect, Vec::new());
    manager.upgrades.push(Upgrade {
        kind: "CONNECT".into(),
        enabled: true,
    });
    let (_proxy, port) = proxy(backend, manager, |_| {}).await;
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    stream
        .write_all(b"CONNECT ledger.bank:443 HTTP/1.1\r\nhost: ledger.bank:443\r\n\r\n")
        .await
        .unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream.write_all(b"any bytes").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "any bytes");
}

#[tokio::test]
async fn a_retry_budget_keeps_failures_from_multiplying() {
    let attempts = |budget: Option<RetryBudget>| async move {
        let (backend, count) = server("503 Busy", Duration::from_millis(50)).await;
        let mut forward = forward_to("c");
        let on = RetryOn {
            server_error: true,
            ..RetryOn::default()
        };
        forward.retry = Some(Arc::new(RetryPolicy {
            on,
            retries: 3,
            per_try_timeout: None,
            status_codes: Vec::new(),
            response_headers: Vec::new(),
            request_headers: Vec::new(),
            back_off: BackOff {
                base: Duration::from_millis(1),
                maximum: Duration::from_millis(2),
            },
            avoid_previous_hosts: None,
            avoid_previous_priorities: None,
        }));
        let routes = vec![route("/", RouteAction::Forward(Box::new(forward)))];
        let limits = Limits {
            max_retries: u32::MAX,
            retry_budget: budget,
            ..Limits::default()
        };
        let (_proxy, port) = proxy(backend, manager(routes, Vec::new()), |cluster| {
            cluster.default_limits = limits
        })
        .await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..40 {
            calls.spawn(async move { ask(port, &get("/", "web")).await });
        }
        while let Some(answer) = calls.join_next().await {
            assert!(answer.unwrap().starts_with("HTTP/1.1 503 "));
        }
        count.load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(
        attempts(None).await,
        160,
        "unbounded: every call four times"
    );
    let tenth = RetryBudget {
        share: 1000,
        least: 1,
    };
    let found = attempts(Some(tenth)).await;
    assert!(found > 40 && found < 80, "{found}");
}

#[tokio::test]
async fn header_values_are_filled_in() {
    let (backend, _) = server("200 OK", Duration::ZERO).await;
    let mut routes = forwarding();
    let add = |name: &str, value: &str, keep_empty| HeaderAddition {
        name: name.into(),
        value: value.into(),
        action: AppendAction::OverwriteOrAdd,
        keep_empty,
    };
    let request_add = vec![
        add(
            "x-from",
            "<%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%> 100%%",
            false,
        ),
        add("x-peer", "%DOWNSTREAM_PEER_URI_SAN%", false),
        add("x-nothing", "", false),
        add("x-empty", "", true),
    ];
    routes[0].headers = Mutations {
        request_add,
        ..Mutations::default()
    }
    .into();
    let (_proxy, port) = proxy(backend, manager(routes, Vec::new()), |_| {}).await;
    let answer = ask(port, &get("/", "web")).await;
    for line in [
        "x-from: <127.0.0.1> 100%\r\n",
        "x-peer: -\r\n",
        "x-empty: \r\n",
    ] {
        assert!(answer.contains(line), "{line:?} in {answer}");
    }
    assert!(!answer.contains("x-nothing"), "{answer}");
}
