//! HTTP/1.1 with callers and servers that are slow, rude or unlucky, through a real proxy on loopback.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::connection_manager::ConnectionManager;
use hauberk_config::listener::Direction;
use hauberk_config::route::{Forward, RouteAction};
use hauberk_config::tls::DownstreamTransport;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server whose connections are each handled by `serve`.
async fn server<F, S>(serve: S) -> u16
where
    S: Fn(usize, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(count, stream));
            count += 1;
        }
    });
    port
}

/// Reads one head; `None`: the peer has closed.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Answers every request with `answer`, and keeps the connection.
async fn answer_all(mut stream: TcpStream, answer: &'static [u8]) {
    while head(&mut stream).await.is_some() {
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

async fn hop(
    backend: u16,
    change: impl FnOnce(&mut ConnectionManager, &mut Forward),
) -> (Proxy, u16) {
    let port = free_port();
    let mut snapshot = Snapshot::default();
    let target = cluster("c", &[loopback(backend)], UpstreamProtocol::Http1);
    insert_cluster(&mut snapshot, target);
    let mut forward = forward_to("c");
    let mut manager = manager(Vec::new(), Vec::new());
    change(&mut manager, &mut forward);
    let template = support::manager(
        vec![route("/", RouteAction::Forward(Box::new(forward)))],
        Vec::new(),
    );
    manager.routes = template.routes;
    let chains = vec![chain(http(manager), DownstreamTransport::Plain)];
    insert_listener(
        &mut snapshot,
        listener("l", port, Direction::Outbound, chains),
    );
    let proxy = Proxy::start("web");
    proxy.publish(snapshot).await;
    (proxy, port)
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(loopback(port)).await.unwrap()
}

/// Reads until the peer closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = reading.await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => break,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(port: u16, request: &[u8]) -> String {
    let mut stream = connect(port).await;
    stream.write_all(request).await.unwrap();
    rest(&mut stream).await
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
const GET_LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
const POST: &[u8] =
    b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

/// What a server sees of smuggled requests: nothing, since each is refused and its connection closed.
#[tokio::test]
async fn smuggled_requests_reach_no_server() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let backend = server(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some(head) = head(&mut stream).await {
                seen.send(head).unwrap();
                stream.write_all(OK).await.ok();
            }
        }
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: web\r\n\r\n";
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "content-length: 0\r\ncontent-length: 37\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "x: y\r\n transfer-encoding: chunked\r\n\r\n",
        "x: y\ntransfer-encoding: chunked\r\n\r\n",
        "x: y\rtransfer-encoding: chunked\r\n\r\n",
        "x: \0\r\n\r\n",
        "content-length: +0\r\n\r\n",
        "content-length: 0, 0\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: web\r\n{fields}{hidden}");
        let answer = ask(port, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501"),
            "{fields:?} {answer:?}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    }
    assert!(requests.try_recv().is_err());
    assert!(ask(port, GET_LAST).await.starts_with("HTTP/1.1 200"));
    assert!(requests.recv().await.is_some());
}

/// h2c smuggling: the program is never asked to speak HTTP/2 with the caller past the proxy's rules.
#[tokio::test]
async fn an_upgrade_to_h2c_is_not_passed_on() {
    let backend = server(|_, mut stream| async move {
        let head = head(&mut stream).await.unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}",
            head.len()
        );
        stream.write_all(answer.as_bytes()).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let answer = ask(
        port,
        b"GET / HTTP/1.1\r\nhost: web\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    )
    .await;
    let answer = answer.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(
        !answer.contains("h2c") && !answer.contains("http2-settings"),
        "{answer}"
    );
}

/// A chunked body that turns out bad on its way reaches the server as a request without end, never as a whole one.
#[tokio::test]
async fn a_body_that_turns_out_bad_is_never_whole() {
    let (seen, mut bodies) = mpsc::unbounded_channel();
    let backend = server(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok();
            seen.send(String::from_utf8_lossy(&all).into_owned())
                .unwrap();
        }
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    for bad in [
        "zz\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "3;\nabc\r\n0\r\n\r\n",
        "0\r\na b: c\r\n\r\n",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n{bad}"
        );
        let answer = ask(port, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?} {answer:?}");
        let body = tokio::time::timeout(Duration::from_secs(10), bodies.recv()).await;
        let body = body.expect("the server's connection is closed").unwrap();
        assert!(!body.ends_with("0\r\n\r\n"), "{bad:?} {body:?}");
    }
}

#[tokio::test]
async fn slowloris_a_head_that_comes_byte_by_byte() {
    let backend = server(|_, stream| answer_all(stream, OK)).await;
    let (_proxy, port) = hop(backend, |manager, _| {
        manager.request_headers_timeout = Some(Duration::from_millis(300));
    })
    .await;
    let mut stream = connect(port).await;
    let begun = std::time::Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut answer = String::new();
    let dripping = async {
        for byte in GET.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = dripping => {}
        _ = reader.read_to_string(&mut answer) => {}
    }
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn slowloris_a_body_that_stops() {
    let backend = server(|_, stream| answer_all(stream, b"")).await;
    let (_proxy, port) = hop(backend, |manager, _| {
        manager.stream_idle_timeout = Some(Duration::from_millis(200));
    })
    .await;
    let mut stream = connect(port).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nabc")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

/// The other way: a caller that asks for much and reads nothing.
#[tokio::test]
async fn slowloris_a_caller_that_does_not_read() {
    let (closed, mut closings) = mpsc::unbounded_channel();
    let backend = server(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
                .await
                .ok();
            let block = vec![b'x'; 1 << 16];
            while stream.write_all(&block).await.is_ok() {}
            closed.send(()).unwrap();
        }
    })
    .await;
    let (_proxy, port) = hop(backend, |manager, _| {
        manager.stream_idle_timeout = Some(Duration::from_millis(300));
    })
    .await;
    let mut stream = connect(port).await;
    stream.write_all(GET).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), closings.recv())
        .await
        .expect("the proxy gives up")
        .unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let backend = server(|_, mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
    })
    .await;
    let (proxy, port) = hop(backend, |_, forward| {
        forward.timeout = Some(Duration::from_millis(200));
    })
    .await;
    assert!(ask(port, GET_LAST).await.starts_with("HTTP/1.1 504"));
    proxy
        .recorded(&["\"status\":504", "\"flags\":\"UT\""])
        .await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_request_along() {
    let (told, mut events) = mpsc::unbounded_channel();
    let backend = server(move |_, mut stream| {
        let told = told.clone();
        async move {
            head(&mut stream).await;
            told.send("asked").unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.ok();
            told.send("closed").unwrap();
        }
    })
    .await;
    let (proxy, port) = hop(backend, |_, _| {}).await;
    let mut stream = connect(port).await;
    stream.write_all(GET).await.unwrap();
    assert_eq!(events.recv().await, Some("asked"));
    drop(stream);
    let closed = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
    assert_eq!(closed.expect("the request is taken back"), Some("closed"));
    proxy
        .recorded(&["\"type\":\"request\"", "\"flags\":\"DC\""])
        .await;
}

/// A server that reads a second request of a connection and closes it without a word, and answers on others.
async fn forgetful() -> (u16, mpsc::UnboundedReceiver<String>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let backend = server(move |count, mut stream| {
        let seen = seen.clone();
        async move {
            let mut answered = 0;
            while let Some(head) = head(&mut stream).await {
                seen.send(head.lines().next().unwrap_or_default().to_owned())
                    .unwrap();
                if head.starts_with("POST") {
                    let mut body = [0; 2];
                    stream.read_exact(&mut body).await.ok();
                }
                if count == 0 && answered == 1 {
                    return;
                }
                stream.write_all(OK).await.ok();
                answered += 1;
            }
        }
    })
    .await;
    (backend, requests)
}

#[tokio::test]
async fn a_keep_alive_race_is_no_failure_of_what_may_be_sent_again() {
    let (backend, mut requests) = forgetful().await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    for _ in 0..2 {
        let answer = ask(port, GET_LAST).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for _ in 0..3 {
        assert!(requests.recv().await.is_some());
    }
}

#[tokio::test]
async fn a_keep_alive_race_of_what_may_not_be_sent_again_is_flagged() {
    let (backend, mut requests) = forgetful().await;
    let (proxy, port) = hop(backend, |_, _| {}).await;
    assert!(ask(port, POST).await.starts_with("HTTP/1.1 200"));
    assert!(ask(port, POST).await.starts_with("HTTP/1.1 503"));
    proxy
        .recorded(&["\"status\":503", "\"flags\":\"UC\""])
        .await;
    assert!(ask(port, POST).await.starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        assert!(requests.recv().await.is_some());
    }
    assert!(requests.try_recv().is_err(), "a POST was sent twice");
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_bad_gateway() {
    for bad in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\nx: y\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"hello\r\n\r\n",
    ] {
        let backend = server(move |_, stream| answer_all(stream, bad)).await;
        let (proxy, port) = hop(backend, |_, _| {}).await;
        let answer = ask(port, GET_LAST).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{bad:?} {answer}");
        proxy
            .recorded(&["\"status\":502", "\"flags\":\"UPE\""])
            .await;
    }
}

/// Bytes behind a response are nobody's: the next caller does not get them.
#[tokio::test]
async fn what_a_server_says_unasked_is_not_the_next_answer() {
    let backend = server(|_, mut stream| async move {
        while head(&mut stream).await.is_some() {
            let twice = [OK, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"].concat();
            stream.write_all(&twice).await.ok();
        }
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    for _ in 0..3 {
        let answer = ask(port, GET_LAST).await;
        assert!(
            answer.ends_with("ok") && !answer.contains("evil"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let backend = server(|_, mut stream| async move {
        while let Some(head) = head(&mut stream).await {
            let path = head.split(' ').nth(1).unwrap_or_default();
            if path == "/0" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                path.len()
            );
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let mut requests: String = (0..50)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nhost: web\r\n\r\n"))
        .collect();
    requests.push_str("GET /last HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    let answers = ask(port, requests.as_bytes()).await;
    let bodies: Vec<_> = answers
        .split("HTTP/1.1 200 OK\r\n")
        .skip(1)
        .filter_map(|answer| answer.split("\r\n\r\n").nth(1))
        .collect();
    let expected: Vec<_> = (0..50)
        .map(|number| format!("/{number}"))
        .chain(["/last".into()])
        .collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_caller_that_expects_100_continue_gets_it_when_its_body_is_wanted() {
    let backend = server(|_, mut stream| async move {
        let head = head(&mut stream).await.unwrap_or_default();
        assert!(!head.contains("expect"), "{head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(OK).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let mut stream = connect(port).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        until(&mut stream, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    stream.write_all(b"hi").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_may_answer_before_it_has_the_whole_request() {
    let backend = server(|_, mut stream| async move {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .await
            .ok();
        stream.shutdown().await.ok();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let mut stream = connect(port).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 100000\r\n\r\nbeginning")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.ends_with("big"),
        "{answer}"
    );
}

/// Both directions at once, and far more than any buffer: nothing waits for the other to end.
#[tokio::test]
async fn an_echo_flows_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    let backend = server(|_, mut stream| async move {
        head(&mut stream).await;
        let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let stream = connect(port).await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: {SIZE}\r\nconnection: close\r\n\r\n"
        );
        writer.write_all(head.as_bytes()).await.unwrap();
        let block: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        writer.write_all(&block).await.unwrap();
        writer
    });
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut answer))
        .await
        .expect("an echo in time")
        .unwrap();
    drop(writing.await.unwrap());
    let body = &answer[answer.len() - SIZE..];
    assert!(
        body.iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at % 251) as u8)
    );
}

#[tokio::test]
async fn bodies_are_framed_anew() {
    let backend = server(|_, mut stream| async move {
        let head = head(&mut stream).await.unwrap_or_default();
        let answer: &[u8] = if head.contains("/close") {
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
        } else if head.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: checksum\r\n\r\n3;x=y\r\nabc\r\n0\r\nchecksum: 7\r\nhost: b\r\n\r\n"
        };
        stream.write_all(answer).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    for (request, end) in [
        (
            "GET / HTTP/1.1\r\nhost: web\r\nconnection: close",
            "\r\n\r\n3\r\nabc\r\n0\r\nchecksum: 7\r\n\r\n",
        ),
        ("GET / HTTP/1.0\r\nhost: web", "\r\n\r\nabc"),
        (
            "GET /close HTTP/1.1\r\nhost: web\r\nconnection: close",
            "\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n",
        ),
        ("GET /close HTTP/1.0\r\nhost: web", "\r\n\r\nuntil the end"),
    ] {
        let answer = ask(port, format!("{request}\r\n\r\n").as_bytes()).await;
        assert!(answer.ends_with(end), "{request} {answer:?}");
    }
    let answer = ask(
        port,
        b"HEAD / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.contains("content-length: 1000\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_websocket_s_first_bytes_may_come_with_the_heads() {
    let backend = server(|_, mut stream| async move {
        let head = head(&mut stream).await.unwrap_or_default();
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket\r\n"), "{head}");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nfirst";
        stream.write_all(switch).await.unwrap();
        let mut early = [0; 5];
        stream.read_exact(&mut early).await.unwrap();
        stream.write_all(&early).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
    })
    .await;
    let (_proxy, port) = hop(backend, |_, _| {}).await;
    let mut stream = connect(port).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly")
        .await
        .unwrap();
    let answer = until(&mut stream, "firstearly").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.ends_with("firstearly"),
        "{answer}"
    );
}

/// An idle connection hears of the end of the proxy at once, and one with a request when it has its answer.
#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_requests() {
    let go = Arc::new(tokio::sync::Notify::new());
    let (asked, mut asking) = mpsc::unbounded_channel();
    let waited = Arc::clone(&go);
    let backend = server(move |_, mut stream| {
        let (waited, asked) = (Arc::clone(&waited), asked.clone());
        async move {
            while let Some(head) = head(&mut stream).await {
                if head.contains("/slow") {
                    asked.send(()).unwrap();
                    waited.notified().await;
                }
                stream.write_all(OK).await.ok();
            }
        }
    })
    .await;
    let (proxy, port) = hop(backend, |_, _| {}).await;
    let mut idle = connect(port).await;
    idle.write_all(GET).await.unwrap();
    until(&mut idle, "ok").await;
    let mut busy = connect(port).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: web\r\n\r\n")
        .await
        .unwrap();
    asking.recv().await.unwrap();
    proxy.engine.drain();
    assert_eq!(rest(&mut idle).await, "");
    go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with("ok"),
        "{answer}"
    );
}
