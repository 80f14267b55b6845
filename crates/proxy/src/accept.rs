//! An accepted connection finds its listener, its filter chain, and what serves it.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hauberk_config::listener::{
    HttpInspection, Inspection, TcpTraffic, TerminalFilter, TlsInspection, Traffic,
};
use hauberk_http::connection::Connection;
use hauberk_http::listener::{Chain, Facts, Listener, Transport};
use hauberk_http::serve;
use hauberk_http::worker::Worker;
use hauberk_net::detect::{Protocol, Wanted};
use hauberk_net::peek::{Peeked, peek};
use hauberk_policy::Decision;
use hauberk_telemetry::flags::Flag;
use hauberk_tls::TlsStream;
use hauberk_upstream::Stream;
use tokio::net::TcpStream;

use crate::tcp;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// To tell HTTP/2 by its first bytes where nothing else has.
const CODEC_TIMEOUT: Duration = Duration::from_secs(60);

pub async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    source: SocketAddr,
) {
    if let Err(error) = dispatch(worker, listener, stream, source).await {
        tracing::debug!(%error, %source, "an accepted connection failed");
    }
}

async fn dispatch(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    stream: TcpStream,
    source: SocketAddr,
) -> io::Result<()> {
    let destination = canonical(stream.local_addr()?);
    let listener = actual(&worker, listener, destination);
    let Traffic::Tcp(traffic) = &listener.config.traffic else {
        return Ok(());
    };
    let mut facts = Facts {
        source: canonical(source),
        destination,
        tls: false,
        server_name: None,
        protocols: Vec::new(),
    };
    let wanted = wanted(&traffic.inspection, destination.port());
    let first = inspect(&stream, traffic, wanted, traffic.inspection.timeout).await?;
    let Some(mut detected) = first else {
        return Ok(());
    };
    if detected.is_none() && looks(wanted) && listener.chain(&facts).is_none() {
        // Nothing has come yet, and nobody takes a silent caller: a slow one's TLS may still be on its way.
        match inspect(&stream, traffic, wanted, Some(HANDSHAKE_TIMEOUT)).await? {
            Some(late) => detected = late,
            None => return Ok(()),
        }
    }
    let mut http2 = detected == Some(Protocol::Http2);
    let known = detected.is_some();
    facts.learn(detected);
    let Some(chain) = listener.chain(&facts).cloned() else {
        tracing::debug!(listener = %listener.config.name, "no filter chain matches");
        refuse(
            worker,
            listener,
            facts,
            "no filter chain matches: the listener does not take this kind of connection",
        );
        return Ok(());
    };
    match &chain.transport {
        Transport::Plain => {
            if chain.http.is_some() && !known {
                let wanted = Wanted {
                    http: true,
                    tls: false,
                };
                let seen = peek(&stream, wanted, Some(CODEC_TIMEOUT)).await?;
                http2 = seen == Peeked::Protocol(Protocol::Http2);
            }
            let connection = Connection::new(worker, listener, chain, facts, None);
            run(connection, Stream::Plain(stream), http2).await;
        }
        Transport::Tls(context) => {
            let timeout = chain.config.transport_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
            let handshake = tokio::time::timeout(timeout, context.accept(stream)).await;
            let failure = match handshake {
                Ok(Ok((stream, session))) => {
                    let http2 = session.alpn.as_deref() == Some("h2");
                    let connection =
                        Connection::new(worker, listener, Arc::clone(&chain), facts, Some(session));
                    run(connection, Stream::Tls(Box::new(stream)), http2).await;
                    return Ok(());
                }
                Ok(Err(error)) => format!("TLS handshake failed: {error}"),
                Err(_elapsed) => format!("TLS handshake took more than {timeout:?}"),
            };
            refuse(worker, listener, facts, &failure);
        }
        Transport::Broken(error) => refuse(worker, listener, facts, &error.to_string()),
    }
    Ok(())
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The listener that the caller meant.
fn actual(worker: &Worker, listener: Arc<Listener>, destination: SocketAddr) -> Arc<Listener> {
    match &listener.config.traffic {
        Traffic::Tcp(TcpTraffic {
            use_original_dst: true,
            ..
        }) => worker
            .program()
            .listener_at(destination)
            .cloned()
            .unwrap_or(listener),
        _ => listener,
    }
}

/// What to look for in what comes for this port.
fn wanted(inspection: &Inspection, port: u16) -> Wanted {
    let at = |off: &[RangeInclusive<u16>]| !off.iter().any(|ports| ports.contains(&port));
    Wanted {
        http: inspection.http == HttpInspection::On && at(&inspection.http_off_at),
        tls: inspection.tls == TlsInspection::On && at(&inspection.tls_off_at),
    }
}

fn looks(wanted: Wanted) -> bool {
    wanted.http || wanted.tls
}

/// What the first bytes show: `Some(None)`, nothing (or nobody asked); `None`, the caller has gone or was too slow.
async fn inspect(
    stream: &TcpStream,
    traffic: &TcpTraffic,
    wanted: Wanted,
    timeout: Option<Duration>,
) -> io::Result<Option<Option<Protocol>>> {
    if !looks(wanted) {
        return Ok(Some(None));
    }
    Ok(match peek(stream, wanted, timeout).await? {
        Peeked::Protocol(protocol) => Some(Some(protocol)),
        Peeked::TimedOut if traffic.inspection.continue_on_timeout => Some(None),
        Peeked::TimedOut | Peeked::Closed => None,
    })
}

trait Learn {
    fn learn(&mut self, detected: Option<Protocol>);
}

impl Learn for Facts {
    fn learn(&mut self, detected: Option<Protocol>) {
        match detected {
            Some(Protocol::Http10) => self.protocols.push("http/1.0".into()),
            Some(Protocol::Http11) => self.protocols.push("http/1.1".into()),
            Some(Protocol::Http2) => self.protocols.push("h2c".into()),
            Some(Protocol::Tls(hello)) => {
                self.tls = true;
                self.server_name = hello.server_name;
                self.protocols = hello.alpn;
            }
            Some(Protocol::Other) | None => {}
        }
    }
}

/// Records a connection that no filter ever saw.
fn refuse(worker: Rc<Worker>, listener: Arc<Listener>, facts: Facts, reason: &str) {
    let connection = Connection::refused(worker, listener, facts);
    connection.flags.set(Flag::NoRoute.into());
    connection.open(connection.policy(&Decision::denied(reason)));
}

async fn run(connection: Rc<Connection>, stream: Stream<TlsStream>, http2: bool) {
    let chain: Arc<Chain> = Arc::clone(&connection.chain.borrow());
    let decision = connection.admit().await;
    connection.audit();
    if !decision.allowed {
        connection.open(connection.policy(&decision));
        return;
    }
    match &chain.config.terminal {
        TerminalFilter::Http(manager) => {
            if !decision.policy.is_empty() {
                connection.open(connection.policy(&decision));
            }
            serve::serve(stream, connection, manager, http2).await;
        }
        TerminalFilter::TcpProxy(proxy) => tcp::serve(connection, stream, proxy, &decision).await,
    }
}
