//! What happens to live connections when the configuration changes or the proxy drains.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::{Direction, Listener, Traffic};
use hauberk_config::rbac::RbacFilter;
use hauberk_config::tls::DownstreamTransport;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn tcp_listener(port: u16, rbac: Vec<RbacFilter>) -> Listener {
    let mut one = chain(tcp("t"), DownstreamTransport::Plain);
    one.rbac = rbac;
    listener("l", port, Direction::Inbound, vec![one])
}

fn snapshot(port: u16, backend: u16) -> Snapshot {
    let mut snapshot = Snapshot::default();
    insert_cluster(
        &mut snapshot,
        cluster("t", &[loopback(backend)], UpstreamProtocol::Http1),
    );
    insert_listener(&mut snapshot, tcp_listener(port, Vec::new()));
    snapshot
}

async fn through(port: u16, server: &TcpListener) -> (TcpStream, TcpStream) {
    let mut caller = TcpStream::connect(loopback(port)).await.unwrap();
    let (mut callee, _) = server.accept().await.unwrap();
    caller.write_all(b"x").await.unwrap();
    callee.read_u8().await.unwrap();
    (caller, callee)
}

async fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(3), reading)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_policy_that_tightens_closes_what_it_forbids() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("ledger");
    let mut state = snapshot(port, server.local_addr().unwrap().port());
    proxy.publish(state.clone()).await;
    let (mut caller, _callee) = through(port, &server).await;
    let tight = allow("spiffe://cluster.local/ns/bank/sa/web");
    insert_listener(&mut state, tcp_listener(port, vec![tight]));
    proxy.publish(state).await;
    assert!(closed(&mut caller).await, "the connection lived on");
    let line = proxy.recorded(&["\"phase\":\"close\""]).await;
    assert!(line.contains("\"verdict\":\"deny\""), "{line}");
}

#[tokio::test]
async fn a_change_of_endpoints_leaves_connections_alone() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("ledger");
    let mut state = snapshot(port, server.local_addr().unwrap().port());
    proxy.publish(state.clone()).await;
    let (mut caller, mut callee) = through(port, &server).await;
    insert_cluster(
        &mut state,
        cluster("t", &[loopback(1)], UpstreamProtocol::Http1),
    );
    insert_listener(&mut state, tcp_listener(port, Vec::new()));
    proxy.publish(state).await;
    callee.write_all(b"y").await.unwrap();
    assert_eq!(caller.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_draining_proxy_takes_nothing_new_and_finishes_the_old() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("ledger");
    proxy
        .publish(snapshot(port, server.local_addr().unwrap().port()))
        .await;
    let (mut caller, mut callee) = through(port, &server).await;
    proxy.engine.drain();
    let deadline = std::time::Instant::now() + Duration::from_secs(3);
    while TcpStream::connect(loopback(port)).await.is_ok() {
        assert!(
            std::time::Instant::now() < deadline,
            "connections are still taken"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    callee.write_all(b"y").await.unwrap();
    assert_eq!(caller.read_u8().await.unwrap(), b'y');
}

/// A listener without a socket gets what the original destination names; the rest is refused and recorded.
#[tokio::test]
async fn the_original_destination_chooses_the_listener() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = server.local_addr().unwrap().port();
    let port = free_port();
    let mut state = Snapshot::default();
    insert_cluster(
        &mut state,
        cluster("t", &[loopback(backend)], UpstreamProtocol::Http1),
    );
    insert_cluster(
        &mut state,
        cluster("BlackHoleCluster", &[], UpstreamProtocol::Http1),
    );
    let hole = chain(tcp("BlackHoleCluster"), DownstreamTransport::Plain);
    let mut front = listener("virtualOutbound", port, Direction::Outbound, Vec::new());
    front.address = ([0, 0, 0, 0], port).into();
    if let Traffic::Tcp(traffic) = &mut front.traffic {
        traffic.use_original_dst = true;
        traffic.default_filter_chain = Some(Arc::new(hole));
    }
    insert_listener(&mut state, front);
    let mut service = listener(
        "vip",
        port,
        Direction::Outbound,
        vec![chain(tcp("t"), DownstreamTransport::Plain)],
    );
    service.address = ([127, 0, 0, 2], port).into();
    service.bind = false;
    insert_listener(&mut state, service);
    let proxy = Proxy::start("web");
    proxy.publish(state).await;

    let mut caller = TcpStream::connect(("127.0.0.2", port)).await.unwrap();
    let (mut callee, _) = server.accept().await.unwrap();
    caller.write_all(b"x").await.unwrap();
    assert_eq!(callee.read_u8().await.unwrap(), b'x');
    proxy
        .recorded(&["\"listener\":\"vip\"", "\"verdict\":\"allow\""])
        .await;

    let mut stranger = TcpStream::connect(("127.0.0.3", port)).await.unwrap();
    assert!(closed(&mut stranger).await);
    let refused = proxy.recorded(&["\"verdict\":\"deny\"", "127.0.0.3"]).await;
    assert!(
        refused.contains("is no service of the mesh") && refused.contains("\"flags\":\"UH\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_listener_listens_at_all_of_its_addresses() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free_port();
    let proxy = Proxy::start("ledger");
    let mut state = snapshot(port, server.local_addr().unwrap().port());
    let mut both = tcp_listener(port, Vec::new());
    let six = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    both.additional_addresses = vec![six];
    insert_listener(&mut state, both);
    proxy.publish(state.clone()).await;
    through(port, &server).await;
    let mut caller = TcpStream::connect(six).await.unwrap();
    let (mut callee, _) = server.accept().await.unwrap();
    caller.write_all(b"x").await.unwrap();
    assert_eq!(callee.read_u8().await.unwrap(), b'x');
    insert_listener(&mut state, tcp_listener(port, Vec::new()));
    proxy.publish(state).await;
    through(port, &server).await;
    assert!(TcpStream::connect(six).await.is_err(), "it is closed");
}
