//! Proxies to be measured: `two_hop FRONT_PORT BACKEND_PORT MODE` forwards FRONT_PORT to BACKEND_PORT until killed.
//! With MODE `h2` or `http/1.1`, two in one process with mutual TLS and RBAC between them, which speak that protocol;
//! with `plain`, `h2c` or `tcp`, one that forwards HTTP/1.1, HTTP/2 without TLS, or bytes.
#![allow(clippy::expect_used, reason = "a measuring tool fails by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use hauberk_config::Snapshot;
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::Direction;
use hauberk_config::route::RouteAction;
use hauberk_config::tls::DownstreamTransport;
use support::{
    Authority, Proxy, allow, chain, client_tls, cluster, forward_to, free_port, http,
    insert_cluster, insert_listener, listener, loopback, manager, route, server_tls, tcp,
};

const CALLER: &str = "spiffe://cluster.local/ns/bank/sa/web";
const CALLEE: &str = "spiffe://cluster.local/ns/bank/sa/ledger";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, front, backend, protocol] = arguments.as_slice() else {
        panic!("usage: two_hop FRONT_PORT BACKEND_PORT h2|http/1.1|plain|h2c|tcp");
    };
    let front: u16 = front.parse().expect("a port");
    let backend: u16 = backend.parse().expect("a port");
    let forward = |to: &str| vec![route("/", RouteAction::Forward(Box::new(forward_to(to))))];
    let single = matches!(protocol.as_str(), "plain" | "h2c" | "tcp");
    let between = if single { backend } else { free_port() };
    let authority = Authority::new();
    let inbound = Proxy::start("ledger");
    if !single {
        let mut snapshot = Snapshot::default();
        authority.equip(&mut snapshot, CALLEE);
        insert_cluster(
            &mut snapshot,
            cluster("app", &[loopback(backend)], UpstreamProtocol::Http1),
        );
        let chains = vec![chain(
            http(manager(forward("app"), vec![allow(CALLER)])),
            server_tls(),
        )];
        insert_listener(
            &mut snapshot,
            listener("in", between, Direction::Inbound, chains),
        );
        inbound.publish(snapshot).await;
    }
    let outbound = Proxy::start("web");
    let mut snapshot = Snapshot::default();
    authority.equip(&mut snapshot, CALLER);
    let spoken = match protocol.as_str() {
        "h2c" => UpstreamProtocol::Http2,
        _ => UpstreamProtocol::Negotiated,
    };
    let mut far = cluster("c", &[loopback(between)], spoken);
    if !single {
        far.transport = client_tls(&["istio-http", protocol], CALLEE);
    }
    insert_cluster(&mut snapshot, far);
    let terminal = match protocol.as_str() {
        "tcp" => tcp("c"),
        _ => http(manager(forward("c"), Vec::new())),
    };
    let chains = vec![chain(terminal, DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("out", front, Direction::Outbound, chains),
    );
    outbound.publish(snapshot).await;
    std::future::pending::<()>().await;
}
