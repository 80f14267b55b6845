//! Calls through real proxies on loopback.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::{
    Direction, HttpInspection, TlsInspection, Traffic, TransportProtocol,
};
use hauberk_config::route::RouteAction;
use hauberk_config::tls::DownstreamTransport;
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const WEB: &str = "spiffe://cluster.local/ns/bank/sa/web";
const LEDGER: &str = "spiffe://cluster.local/ns/bank/sa/ledger";
const STRANGER: &str = "spiffe://cluster.local/ns/bank/sa/stranger";

/// An HTTP/1.1 server that answers each request with its request line and headers, and keeps the connection.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut reader = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if line == "\r\n" {
                            break;
                        }
                        head.push_str(&line);
                    }
                    let length = head
                        .lines()
                        .find_map(|line| {
                            line.to_ascii_lowercase()
                                .strip_prefix("content-length: ")
                                .map(str::to_owned)
                        })
                        .and_then(|text| text.parse::<usize>().ok())
                        .unwrap_or(0);
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).await.unwrap();
                    head.push_str(&String::from_utf8_lossy(&body));
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
                        head.len()
                    );
                    if reader.get_mut().write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Sends `request` and reads all until the peer closes.
async fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: web.bank\r\nconnection: close\r\n\r\n")
}

fn plain_hop(port: u16, backend: u16) -> Snapshot {
    let mut snapshot = Snapshot::default();
    insert_cluster(
        &mut snapshot,
        cluster("c", &[loopback(backend)], UpstreamProtocol::Http1),
    );
    let manager = manager(
        vec![route("/", RouteAction::Forward(Box::new(forward_to("c"))))],
        Vec::new(),
    );
    let chains = vec![chain(http(manager), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    snapshot
}

#[tokio::test]
async fn a_plain_hop_forwards_and_records() {
    let (port, backend) = (free_port(), echo_server().await);
    let proxy = Proxy::start("web");
    proxy.publish(plain_hop(port, backend)).await;
    let answer = exchange(port, &get("/hello?x=1")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        answer.contains("GET /hello?x=1 HTTP/1.1") && answer.contains("host: web.bank"),
        "{answer}"
    );
    assert!(
        answer.contains("x-request-id: ") && answer.contains("traceparent: 00-"),
        "{answer}"
    );
    let line = proxy
        .recorded(&["\"type\":\"connection\"", "\"phase\":\"close\""])
        .await;
    assert!(
        line.contains("\"verdict\":\"allow\"") && line.contains("\"bytes_out\":"),
        "{line}"
    );
    let statistics = proxy.engine.statistics().await;
    assert!(
        statistics.contains("istio_requests_total{reporter=\"source\""),
        "{statistics}"
    );
}

/// A server that closes each connection after one answer without having said so.
#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = server.local_addr().unwrap().port();
    let (closed, mut closings) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
            // The proxy closes its side when it has seen the end: from now on the connection is gone for it too.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            closed.send(()).await.unwrap();
        }
    });
    let port = free_port();
    let proxy = Proxy::start("web");
    proxy.publish(plain_hop(port, backend)).await;
    for _ in 0..5 {
        let answer = exchange(port, &get("/")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::timeout(Duration::from_secs(3), closings.recv())
            .await
            .expect("the proxy closes")
            .unwrap();
    }
}

#[tokio::test]
async fn the_access_log_has_the_fields_asked_for() {
    let (port, backend) = (free_port(), echo_server().await);
    let proxy = Proxy::start("web");
    let mut snapshot = plain_hop(port, backend);
    let mut logged = manager(
        vec![route("/", RouteAction::Forward(Box::new(forward_to("c"))))],
        Vec::new(),
    );
    logged.access_logs = vec![AccessLog {
        sink: AccessLogSink::File {
            path: "/dev/stdout".into(),
            format: AccessLogFormat::Json(vec![
                ("code".into(), "%RESPONSE_CODE%".into()),
                (
                    "what".into(),
                    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%".into(),
                ),
            ]),
        },
        filter: AccessLogFilter::All,
    }];
    let chains = vec![chain(http(logged), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    proxy.publish(snapshot).await;
    exchange(port, &get("/logged")).await;
    let path = proxy.records.with_extension("access");
    let deadline = std::time::Instant::now() + Duration::from_secs(3);
    loop {
        let text = std::fs::read_to_string(&path).unwrap();
        if text == "{\"code\":200,\"what\":\"GET /logged\"}\n" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{text:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_route_and_no_endpoint_are_said() {
    let port = free_port();
    let proxy = Proxy::start("web");
    let mut snapshot = plain_hop(port, free_port());
    let answers = [
        route(
            "/nowhere",
            RouteAction::Forward(Box::new(forward_to("missing"))),
        ),
        route("/dead", RouteAction::Forward(Box::new(forward_to("c")))),
    ];
    let chains = vec![chain(
        http(manager(answers.to_vec(), Vec::new())),
        DownstreamTransport::Plain,
    )];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    proxy.publish(snapshot).await;
    assert!(
        exchange(port, &get("/other"))
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        exchange(port, &get("/nowhere"))
            .await
            .starts_with("HTTP/1.1 503")
    );
    let dead = exchange(port, &get("/dead")).await;
    assert!(
        dead.starts_with("HTTP/1.1 503") && dead.contains("remote connection failure"),
        "{dead}"
    );
    for flag in ["NR", "NC", "UF"] {
        proxy
            .recorded(&["\"type\":\"request\"", &format!("\"flags\":\"{flag}\"")])
            .await;
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_and_slow_ones_given_up() {
    let (port, backend) = (free_port(), echo_server().await);
    let proxy = Proxy::start("web");
    proxy.publish(plain_hop(port, backend)).await;
    for bad in [
        "GET / HTTP/1.1\r\nhost: a\r\nbad header: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        "\0\0\0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let answer = exchange(port, bad).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?}: {answer:?}");
    }
    let slow = exchange(port, "GET / HTTP/1.1\r\nhost:").await;
    assert!(!slow.contains("200"), "{slow}");
    assert!(exchange(port, &get("/")).await.contains("200 OK"));
}

/// Two proxies: `caller`'s outbound, `callee`'s inbound, mTLS between.
async fn two_hops(id: &str, protocol: &str) -> (Proxy, Proxy, u16) {
    two_hops_expecting(id, protocol, LEDGER).await
}

/// The caller expects the callee to be `callee`.
async fn two_hops_expecting(id: &str, protocol: &str, callee: &str) -> (Proxy, Proxy, u16) {
    two_hops_by(&Authority::new(), id, protocol, callee).await
}

async fn two_hops_by(
    authority: &Authority,
    id: &str,
    protocol: &str,
    callee: &str,
) -> (Proxy, Proxy, u16) {
    let (front, between, backend) = (free_port(), free_port(), echo_server().await);
    let inbound = Proxy::start("ledger");
    let mut snapshot = Snapshot::default();
    authority.equip(&mut snapshot, LEDGER);
    insert_cluster(
        &mut snapshot,
        cluster("app", &[loopback(backend)], UpstreamProtocol::Http1),
    );
    let to_app = vec![route(
        "/",
        RouteAction::Forward(Box::new(forward_to("app"))),
    )];
    let chains = vec![chain(http(manager(to_app, vec![allow(WEB)])), server_tls())];
    insert_listener(
        &mut snapshot,
        listener("in", between, Direction::Inbound, chains),
    );
    inbound.publish(snapshot).await;

    let outbound = Proxy::start("web");
    let mut snapshot = plain_hop(front, between);
    authority.equip(&mut snapshot, id);
    let mut far = cluster("c", &[loopback(between)], UpstreamProtocol::Negotiated);
    far.transport = client_tls(&["istio-http", protocol], callee);
    insert_cluster(&mut snapshot, far);
    outbound.publish(snapshot).await;
    (outbound, inbound, front)
}

#[tokio::test]
async fn the_right_caller_is_let_through_mutual_tls() {
    for protocol in ["h2", "http/1.1"] {
        let (outbound, inbound, port) = two_hops(WEB, protocol).await;
        for _ in 0..3 {
            let answer = exchange(port, &get("/pay")).await;
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains("GET /pay"),
                "{answer}"
            );
        }
        let open = inbound.recorded(&["\"phase\":\"open\""]).await;
        for part in [
            WEB,
            LEDGER,
            "X25519MLKEM768",
            "TLSv1.3",
            "ns[bank]-policy[web]-rule[0]",
        ] {
            assert!(open.contains(part), "{part} not in {open}");
        }
        let seen = outbound.recorded(&["\"phase\":\"close\"", LEDGER]).await;
        assert!(seen.contains(WEB), "{seen}");
    }
}

#[tokio::test]
async fn the_wrong_caller_is_refused_by_identity() {
    let (_outbound, inbound, port) = two_hops(STRANGER, "h2").await;
    let answer = exchange(port, &get("/pay")).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.ends_with("RBAC: access denied"),
        "{answer}"
    );
    let record = inbound
        .recorded(&["\"type\":\"request\"", "\"verdict\":\"deny\""])
        .await;
    assert!(record.contains("no ALLOW policy matched"), "{record}");
}

#[tokio::test]
async fn the_wrong_callee_gets_no_call() {
    let (outbound, inbound, port) = two_hops_expecting(WEB, "h2", STRANGER).await;
    let answer = exchange(port, &get("/pay")).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("TLS handshake"),
        "{answer}"
    );
    outbound
        .recorded(&["\"type\":\"request\"", "\"flags\":\"UF\""])
        .await;
    let text = std::fs::read_to_string(&inbound.records).unwrap();
    assert!(!text.contains("\"type\":\"request\""), "{text}");
}

/// Bytes that are no handshake are refused and recorded; the listener goes on.
#[tokio::test]
async fn garbage_instead_of_tls_disturbs_nobody() {
    let between = free_port();
    let authority = Authority::new();
    let proxy = Proxy::start("ledger");
    let mut snapshot = Snapshot::default();
    authority.equip(&mut snapshot, LEDGER);
    let chains = vec![chain(http(manager(Vec::new(), Vec::new())), server_tls())];
    insert_listener(
        &mut snapshot,
        listener("in", between, Direction::Inbound, chains),
    );
    proxy.publish(snapshot).await;
    for garbage in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{5}hello",
    ] {
        let answer = exchange(between, garbage).await;
        assert!(!answer.contains("HTTP/1.1"), "{answer}");
    }
    let line = proxy
        .recorded(&["\"verdict\":\"deny\"", "TLS handshake failed"])
        .await;
    assert!(line.contains("\"listener\":\"in\""), "{line}");
}

/// New keys for both sides: a connection that stands goes on with the old ones, the next one proves itself with the new.
#[tokio::test]
async fn keys_are_renewed_under_live_connections() {
    let authority = Authority::new();
    let (outbound, inbound, port) = two_hops_by(&authority, WEB, "http/1.1", LEDGER).await;
    let mut kept = BufReader::new(TcpStream::connect(loopback(port)).await.unwrap());
    let request = "GET /kept HTTP/1.1\r\nhost: web.bank\r\n\r\n";
    assert!(answered(&mut kept, request).await.contains("GET /kept"));
    let serial = |line: &str| {
        let serials = line.split("\"serial\":\"").skip(1);
        let serials = serials.filter_map(|part| part.split('"').next());
        serials.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = serial(&inbound.recorded(&["\"phase\":\"open\""]).await);
    for (proxy, id) in [(&outbound, WEB), (&inbound, LEDGER)] {
        let mut next = (*proxy.engine.snapshot()).clone();
        next.generation += 1;
        authority.equip(&mut next, id);
        proxy.publish(next).await;
    }
    assert!(answered(&mut kept, request).await.contains("GET /kept"));
    let answer = exchange(port, &get("/new")).await;
    assert!(answer.contains("GET /new"), "{answer}");
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    let after = loop {
        let text = std::fs::read_to_string(&inbound.records).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains("\"phase\":\"open\""));
        let last = lines.map(serial).find(|found| *found != before);
        if let Some(found) = last {
            break found;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no connection with new keys"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        before.iter().all(|one| !after.contains(one)),
        "{before:?} {after:?}"
    );
}

/// Sends a request and reads one answer of a connection that stays.
async fn answered(stream: &mut BufReader<TcpStream>, request: &str) -> String {
    stream
        .get_mut()
        .write_all(request.as_bytes())
        .await
        .unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

/// A listener that looks for TLS by the first bytes and has no chain for anything else waits for a caller that is slow.
#[tokio::test]
async fn a_slow_start_of_tls_is_waited_for() {
    let between = free_port();
    let authority = Authority::new();
    let proxy = Proxy::start("ledger");
    let mut snapshot = Snapshot::default();
    authority.equip(&mut snapshot, LEDGER);
    let mut chain = chain(http(manager(Vec::new(), Vec::new())), server_tls());
    chain.matches.transport_protocol = Some(TransportProtocol::Tls);
    let mut listener = listener("in", between, Direction::Inbound, vec![chain]);
    if let Traffic::Tcp(tcp) = &mut listener.traffic {
        tcp.inspection.tls = TlsInspection::On;
    }
    insert_listener(&mut snapshot, listener);
    proxy.publish(snapshot).await;
    let mut stream = TcpStream::connect(loopback(between)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // A ClientHello without extensions: TLS, and not to be agreed with.
    let mut hello = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 0]);
    stream.write_all(&hello).await.unwrap();
    stream.shutdown().await.unwrap();
    let line = proxy.recorded(&["\"phase\":\"open\""]).await;
    assert!(line.contains("TLS handshake failed"), "{line}");
}

fn tcp_hop(port: u16, backend: u16) -> Snapshot {
    let mut snapshot = Snapshot::default();
    insert_cluster(
        &mut snapshot,
        cluster("t", &[loopback(backend)], UpstreamProtocol::Http1),
    );
    let chains = vec![chain(tcp("t"), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    snapshot
}

#[tokio::test]
async fn half_close_passes_through() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("web");
    proxy
        .publish(tcp_hop(port, server.local_addr().unwrap().port()))
        .await;
    let mut caller = TcpStream::connect(loopback(port)).await.unwrap();
    let (mut callee, _) = server.accept().await.unwrap();
    caller.write_all(b"question").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut question = String::new();
    callee.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    let long = vec![7; 1 << 20];
    callee.write_all(&long).await.unwrap();
    drop(callee);
    let mut answer = Vec::new();
    caller.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.len(), long.len());
    drop(caller);
    let line = proxy.recorded(&["\"phase\":\"close\""]).await;
    assert!(
        line.contains("\"bytes_in\":8,\"bytes_out\":1048576"),
        "{line}"
    );
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let mut snapshot = tcp_hop(port, server.local_addr().unwrap().port());
    let mut first = snapshot.listeners.get("l").unwrap().as_ref().clone();
    if let Traffic::Tcp(tcp) = &mut first.traffic {
        tcp.inspection.http = HttpInspection::On;
        tcp.default_filter_chain = tcp.filter_chains.pop();
    }
    insert_listener(&mut snapshot, first);
    let proxy = Proxy::start("web");
    proxy.publish(snapshot).await;
    let mut caller = TcpStream::connect(loopback(port)).await.unwrap();
    let (mut callee, _) = server.accept().await.unwrap();
    callee.write_all(b"220 hello\r\n").await.unwrap();
    let mut greeting = [0; 11];
    caller.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
}

#[tokio::test]
async fn a_slow_reader_slows_the_writer() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("web");
    proxy
        .publish(tcp_hop(port, server.local_addr().unwrap().port()))
        .await;
    let _caller = TcpStream::connect(loopback(port)).await.unwrap();
    let (callee, _) = server.accept().await.unwrap();
    let block = vec![0; 1 << 20];
    let mut sent = 0;
    loop {
        let writable = tokio::time::timeout(Duration::from_secs(1), callee.writable()).await;
        if writable.is_err() {
            break;
        }
        sent += callee.try_write(&block).unwrap_or(0);
        assert!(sent < 64 << 20, "nobody reads, and still {sent} bytes went");
    }
}
