//! HTTP/2 and what only it carries: streams of messages with trailers; and upgrades through both versions.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hauberk_config::Snapshot;
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::listener::Direction;
use hauberk_config::matcher::{HeaderMatch, HeaderMatcher, StringMatcher};
use hauberk_config::rbac::{Permission, Policy, Principal, Rbac, RbacAction, RbacFilter};
use hauberk_config::route::RouteAction;
use hauberk_config::tls::DownstreamTransport;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Frames as a test sends them.
struct Channel(mpsc::Receiver<Frame<Bytes>>);

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Echoes each message as it comes, then trailers.
async fn echo(request: Request<Incoming>) -> Result<Response<Channel>, Infallible> {
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send(Frame::data(data)).await.is_err()
            {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        sender.send(Frame::trailers(trailers)).await.ok();
    });
    let mut response = Response::new(Channel(frames));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

async fn grpc_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(echo);
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    port
}

fn hop(name: &str, port: u16, to: u16, protocol: UpstreamProtocol) -> (Proxy, Snapshot) {
    guarded_hop(name, port, to, protocol, Vec::new())
}

fn guarded_hop(
    name: &str,
    port: u16,
    to: u16,
    protocol: UpstreamProtocol,
    rbac: Vec<RbacFilter>,
) -> (Proxy, Snapshot) {
    let mut snapshot = Snapshot::default();
    insert_cluster(&mut snapshot, cluster("c", &[loopback(to)], protocol));
    let routes = vec![route("/", RouteAction::Forward(Box::new(forward_to("c"))))];
    let chains = vec![chain(
        http(manager(routes, rbac)),
        DownstreamTransport::Plain,
    )];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    (Proxy::start(name), snapshot)
}

#[tokio::test]
async fn a_bidirectional_stream_flows_message_by_message_and_ends_with_trailers() {
    let port = free_port();
    let (proxy, snapshot) = hop("web", port, grpc_server().await, UpstreamProtocol::Http2);
    proxy.publish(snapshot).await;
    let stream = TcpStream::connect(loopback(port)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (messages, frames) = mpsc::channel(1);
    let request = Request::post("http://web.bank/bank.Ledger/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Channel(frames))
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    for number in 0..3_u8 {
        messages
            .send(Frame::data(Bytes::from(vec![number; 100])))
            .await
            .unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(3), body.frame()).await;
        let data = frame
            .expect("an echo in time")
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert_eq!(data, vec![number; 100]);
    }
    drop(messages);
    let trailers = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    drop(body);
    let deadline = std::time::Instant::now() + Duration::from_secs(3);
    loop {
        let text = proxy.engine.statistics().await;
        if text.contains("request_protocol=\"grpc\"") && text.contains("grpc_response_status=\"0\"")
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_grpc_caller_gets_a_grpc_error() {
    let port = free_port();
    let (proxy, snapshot) = hop("web", port, free_port(), UpstreamProtocol::Http2);
    proxy.publish(snapshot).await;
    let stream = TcpStream::connect(loopback(port)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://web.bank/a.B/C")
        .header("content-type", "application/grpc")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["grpc-status"]
        ),
        (200, &HeaderValue::from_static("14"))
    );
}

/// A program that takes a WebSocket and echoes bytes.
async fn websocket_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                assert!(
                    text.starts_with("get /chat") && text.contains("upgrade: websocket"),
                    "{text}"
                );
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.ok();
            });
        }
    });
    port
}

#[tokio::test]
async fn a_websocket_passes_one_hop_and_two_with_http2_between() {
    let backend = websocket_server().await;
    let (front, between) = (free_port(), free_port());
    let (last, last_snapshot) = hop("ledger", between, backend, UpstreamProtocol::Http1);
    last.publish(last_snapshot).await;
    let (first, first_snapshot) = hop("web", front, between, UpstreamProtocol::Http2);
    first.publish(first_snapshot).await;
    for port in [between, front] {
        let mut stream = TcpStream::connect(loopback(port)).await.unwrap();
        let request = b"GET /chat HTTP/1.1\r\nhost: web.bank\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(Duration::from_secs(3), stream.read_u8()).await;
            head.push(byte.expect("an answer in time").unwrap());
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(
            text.starts_with("http/1.1 101") && text.contains("upgrade: websocket"),
            "{port} {text}"
        );
        stream.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        let reading = stream.read_exact(&mut echo);
        tokio::time::timeout(Duration::from_secs(3), reading)
            .await
            .expect("an echo in time")
            .unwrap();
        assert_eq!(&echo, b"ping");
    }
}

/// Refuses requests of one method.
fn deny(method: &str) -> RbacFilter {
    let matcher = HeaderMatcher {
        name: ":method".into(),
        matches: HeaderMatch::String(StringMatcher::exact(method)),
        invert: false,
        treat_missing_as_empty: false,
    };
    RbacFilter {
        dry_run: None,
        rules: Some(Arc::new(Rbac {
            action: RbacAction::Deny,
            policies: vec![Policy {
                name: "ns[bank]-policy[web]-rule[0]".into(),
                permissions: vec![Permission::Header(matcher)],
                principals: vec![Principal::Any],
            }],
        })),
        shadow_rules: None,
    }
}

/// RFC 8441 says CONNECT where the program is sent a GET: rules have to see the GET.
#[tokio::test]
async fn a_websocket_over_http2_is_judged_as_the_get_that_it_becomes() {
    let backend = websocket_server().await;
    for (method, status) in [("GET", "403"), ("CONNECT", "101")] {
        let (front, between) = (free_port(), free_port());
        let rules = vec![deny(method)];
        let (last, snapshot) =
            guarded_hop("ledger", between, backend, UpstreamProtocol::Http1, rules);
        last.publish(snapshot).await;
        let (first, snapshot) = hop("web", front, between, UpstreamProtocol::Http2);
        first.publish(snapshot).await;
        let mut stream = TcpStream::connect(loopback(front)).await.unwrap();
        let request = b"GET /chat HTTP/1.1\r\nhost: web.bank\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut head = [0; 12];
        let reading = stream.read_exact(&mut head);
        tokio::time::timeout(Duration::from_secs(3), reading)
            .await
            .expect("an answer in time")
            .unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(String::from_utf8_lossy(&head), expected, "DENY {method}");
    }
}
