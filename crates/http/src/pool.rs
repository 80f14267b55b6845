//! Connections to one endpoint, of one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::route::Priority;
use hauberk_net::socket::Origin;
use hauberk_tls::{Carried, Session};
use hauberk_upstream::{
    self as upstream, Cluster, ConnectError, Connected, Host, Limited, Transport,
};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::RequestBody;
use crate::executor::OnThisThread;
use crate::http2::guarded::Guarded;
use crate::http2::meter::Peer;

/// A connection unused for this long is closed: sooner than servers do, so that no request meets a closing connection.
/// Programs close after 5 s at times (Node's default), other proxies of the mesh after a minute.
const PLAIN_IDLE: Duration = Duration::from_secs(4);
const MESH_IDLE: Duration = Duration::from_secs(45);
/// Streams put on one HTTP/2 connection before another is opened.
const STREAMS: u32 = 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Pool {
    /// One for each source address that we show; nearly always one.
    origins: RefCell<Vec<(Origin, Rc<Connections>)>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("origins", &self.origins.borrow().len())
            .finish()
    }
}

#[derive(Default)]
struct Connections {
    idle: RefCell<Vec<Idle>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// Held while a multiplexed connection is being made, so that one is made and not many.
    connecting: tokio::sync::Mutex<()>,
    /// Made or being made.
    open: Cell<u32>,
    /// Told when a waiting call may look again.
    freed: Notify,
}

/// A connection's place under the cluster's limit and in the count of its host.
struct Slot {
    connections: Rc<Connections>,
    _limit: upstream::Slot,
}

impl Slot {
    fn new(connections: &Rc<Connections>, limit: upstream::Slot) -> Self {
        connections.open.set(connections.open.get() + 1);
        Self {
            connections: Rc::clone(connections),
            _limit: limit,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connections = &self.connections;
        connections.open.set(connections.open.get() - 1);
        connections.freed.notify_one();
    }
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    shared: Rc<Shared>,
    since: Instant,
}

struct Multiplexed {
    sender: http2::SendRequest<RequestBody>,
    shared: Rc<Shared>,
    active: Cell<u32>,
    last_used: Cell<Instant>,
}

/// What belongs to a connection as long as it lives.
struct Shared {
    session: Option<Rc<Session>>,
    requests: Cell<u32>,
}

/// A connection in use by one request.
pub struct Lease {
    wire: Wire,
    connections: Rc<Connections>,
    pub host: Rc<Host<Pool>>,
    pub reused: bool,
    most_requests: Option<u32>,
    _request: upstream::Slot,
}

enum Wire {
    Http1(Option<http1::SendRequest<RequestBody>>, Rc<Shared>),
    Http2(Rc<Multiplexed>),
}

pub enum PoolError {
    Connect(ConnectError),
    /// A circuit breaker is open.
    Overflow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// What the caller speaks.
    pub downstream: Version,
    /// For the server name, where that follows the request.
    pub authority: Option<&'a str>,
    pub priority: Priority,
}

/// An idle or new connection to `host`. Where the cluster may have no more connections, the call waits its turn.
pub async fn lease(
    cluster: &Rc<Cluster<Pool>>,
    host: &Rc<Host<Pool>>,
    origin: Origin,
    purpose: Purpose<'_>,
) -> Result<Lease, PoolError> {
    let Purpose {
        downstream,
        priority,
        ..
    } = purpose;
    let request = cluster
        .admit(Limited::Request, priority)
        .ok_or(PoolError::Overflow)?;
    let connections = host.pool.of(origin);
    let lease = |wire, reused| {
        host.begin();
        if let Wire::Http2(multiplexed) = &wire {
            multiplexed.active.set(multiplexed.active.get() + 1);
        }
        Lease {
            wire,
            connections: Rc::clone(&connections),
            host: Rc::clone(host),
            reused,
            most_requests: cluster.target.config.max_requests_per_connection,
            _request: request,
        }
    };
    let wanted = match cluster.target.config.http.protocol {
        UpstreamProtocol::Http1 => Some(Version::Http1),
        UpstreamProtocol::Http2 => Some(Version::Http2),
        UpstreamProtocol::UseDownstream => Some(downstream),
        UpstreamProtocol::Negotiated => None,
    };
    let idle_timeout = idle_timeout(cluster, host);
    let configured = cluster.target.config.http.max_concurrent_streams;
    let streams = configured.map_or(STREAMS, |most| most.clamp(1, STREAMS));
    let mut waiting = None;
    loop {
        // Registered before looking, so that nothing is missed between looking and waiting.
        let freed = connections.freed.notified();
        if wanted != Some(Version::Http2)
            && let Some(idle) = connections.take_idle(idle_timeout).await
        {
            return Ok(lease(Wire::Http1(Some(idle.sender), idle.shared), true));
        }
        if wanted != Some(Version::Http1)
            && let Some(shared) = connections.share(streams)
        {
            return Ok(lease(Wire::Http2(shared), true));
        }
        // One connection is made where many streams may share it, and not many.
        let turn = match wanted {
            Some(Version::Http1) => None,
            _ => Some(connections.connecting.lock().await),
        };
        if turn.is_some()
            && let Some(shared) = connections.share(streams)
        {
            return Ok(lease(Wire::Http2(shared), true));
        }
        // A host without any connection gets its first one, so that everybody who waits waits for something.
        let slot = if connections.open.get() == 0 {
            Some(cluster.admit_anyway(Limited::Connection, priority))
        } else {
            cluster.admit(Limited::Connection, priority)
        };
        if let Some(slot) = slot {
            let slot = Slot::new(&connections, slot);
            let wire = connect(cluster, host, origin, wanted, purpose, slot).await?;
            if let Wire::Http2(shared) = &wire {
                connections.multiplexed.borrow_mut().push(Rc::clone(shared));
                connections.freed.notify_waiters();
            }
            return Ok(lease(wire, false));
        }
        drop(turn);
        if waiting.is_none() {
            let place = cluster.admit(Limited::Pending, priority);
            waiting = Some(place.ok_or(PoolError::Overflow)?);
        }
        freed.await;
    }
}

async fn connect(
    cluster: &Rc<Cluster<Pool>>,
    host: &Rc<Host<Pool>>,
    origin: Origin,
    wanted: Option<Version>,
    purpose: Purpose<'_>,
    slot: Slot,
) -> Result<Wire, PoolError> {
    let carried = match wanted {
        Some(Version::Http1) => Carried::Http1,
        Some(Version::Http2) => Carried::Http2,
        None => Carried::AsConfigured,
    };
    let Connected { stream, session } = cluster
        .connect(host, origin, purpose.authority, carried)
        .await
        .map_err(PoolError::Connect)?;
    let alpn = session.as_ref().and_then(|session| session.alpn.as_deref());
    let version = match (alpn, wanted) {
        (Some("h2"), _) => Version::Http2,
        (Some("http/1.1" | "istio-http"), _) => Version::Http1,
        (_, Some(wanted)) => wanted,
        (_, None) => Version::Http1,
    };
    let shared = Rc::new(Shared {
        session,
        requests: Cell::new(0),
    });
    let failed =
        |error: hyper::Error| PoolError::Connect(ConnectError::Tcp(std::io::Error::other(error)));
    match version {
        Version::Http1 => {
            let (sender, connection) = http1::Builder::new()
                .handshake(TokioIo::new(stream))
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "upstream HTTP/1.1 connection ended");
                }
                drop(slot);
            });
            Ok(Wire::Http1(Some(sender), shared))
        }
        Version::Http2 => {
            let http = &cluster.target.config.http;
            let (sender, connection) = http2::Builder::new(OnThisThread)
                .timer(TokioTimer::new())
                .initial_stream_window_size(http.initial_stream_window.unwrap_or(1 << 20))
                .initial_connection_window_size(http.initial_connection_window.unwrap_or(4 << 20))
                .initial_max_send_streams(STREAMS as usize)
                .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .handshake(TokioIo::new(Guarded::new(stream, Peer::Endpoint)))
                .await
                .map_err(failed)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "upstream HTTP/2 connection ended");
                }
                drop(slot);
            });
            Ok(Wire::Http2(Rc::new(Multiplexed {
                sender,
                shared,
                active: Cell::new(0),
                last_used: Cell::new(Instant::now()),
            })))
        }
    }
}

fn idle_timeout(cluster: &Cluster<Pool>, host: &Host<Pool>) -> Duration {
    let ours = match &*host.transport {
        Transport::Plain => PLAIN_IDLE,
        Transport::Tls(_) | Transport::Broken(_) => MESH_IDLE,
    };
    cluster
        .target
        .config
        .idle_timeout
        .map_or(ours, |timeout| timeout.min(ours))
}

impl Pool {
    fn of(&self, origin: Origin) -> Rc<Connections> {
        let mut origins = self.origins.borrow_mut();
        if let Some((_, connections)) = origins.iter().find(|(known, _)| *known == origin) {
            return Rc::clone(connections);
        }
        let connections = Rc::new(Connections::default());
        origins.push((origin, Rc::clone(&connections)));
        connections
    }

    fn sweep(&self, timeout: Duration) {
        self.origins.borrow_mut().retain(|(_, connections)| {
            let mut idle = connections.idle.borrow_mut();
            idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < timeout);
            let mut multiplexed = connections.multiplexed.borrow_mut();
            multiplexed.retain(|one| {
                one.active.get() > 0
                    || !one.sender.is_closed() && one.last_used.get().elapsed() < timeout
            });
            !idle.is_empty() || !multiplexed.is_empty() || Rc::strong_count(connections) > 1
        });
    }
}

/// Closes connections of `cluster` that were idle too long.
pub fn sweep(cluster: &Cluster<Pool>) {
    cluster.each_host(|host| host.pool.sweep(idle_timeout(cluster, host)));
}

impl Connections {
    /// The one used last: the others may grow old and be closed.
    async fn take_idle(&self, timeout: Duration) -> Option<Idle> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.since.elapsed() >= timeout || idle.sender.is_closed() {
                continue;
            }
            if idle.sender.is_ready() || idle.sender.ready().await.is_ok() {
                return Some(idle);
            }
        }
    }

    fn share(&self, streams: u32) -> Option<Rc<Multiplexed>> {
        let mut multiplexed = self.multiplexed.borrow_mut();
        multiplexed.retain(|one| !one.sender.is_closed());
        multiplexed
            .iter()
            .find(|one| one.active.get() < streams)
            .cloned()
    }
}

/// Why a request got no response.
pub struct SendError {
    /// The request, if not a byte of it was sent.
    pub unsent: Option<http::Request<RequestBody>>,
    pub error: hyper::Error,
}

impl Lease {
    pub fn version(&self) -> Version {
        match self.wire {
            Wire::Http1(..) => Version::Http1,
            Wire::Http2(_) => Version::Http2,
        }
    }

    pub fn session(&self) -> Option<&Rc<Session>> {
        match &self.wire {
            Wire::Http1(_, shared) => shared.session.as_ref(),
            Wire::Http2(multiplexed) => multiplexed.shared.session.as_ref(),
        }
    }

    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<Incoming>, SendError> {
        match &mut self.wire {
            Wire::Http1(sender, shared) => {
                shared.requests.set(shared.requests.get() + 1);
                let Some(sender) = sender else {
                    unreachable!("a lease sends once");
                };
                sender
                    .try_send_request(request)
                    .await
                    .map_err(SendError::of)
            }
            Wire::Http2(multiplexed) => {
                let mut sender = multiplexed.sender.clone();
                sender
                    .try_send_request(request)
                    .await
                    .map_err(SendError::of)
            }
        }
    }

    /// The response was read to its end: the connection may serve another request.
    pub fn give_back(mut self) {
        if let Wire::Http1(sender, shared) = &mut self.wire
            && let Some(sender) = sender.take()
            && !sender.is_closed()
            && self
                .most_requests
                .is_none_or(|most| shared.requests.get() < most)
        {
            self.connections.idle.borrow_mut().push(Idle {
                sender,
                shared: Rc::clone(shared),
                since: Instant::now(),
            });
            self.connections.freed.notify_one();
        }
    }
}

impl SendError {
    fn of(mut error: hyper::client::conn::TrySendError<http::Request<RequestBody>>) -> Self {
        Self {
            unsent: error.take_message(),
            error: error.into_error(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.host.end();
        if let Wire::Http2(multiplexed) = &self.wire {
            multiplexed.active.set(multiplexed.active.get() - 1);
            multiplexed.last_used.set(Instant::now());
            self.connections.freed.notify_one();
        }
    }
}
