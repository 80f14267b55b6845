//! Connections to one endpoint, of one worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hauberk_config::cluster::UpstreamProtocol;
use hauberk_config::route::Priority;
use hauberk_net::socket::Origin;
use hauberk_tls::{Carried, Session};
use hauberk_upstream::{
    self as upstream, Cluster, ConnectError, Connected, Host, Limited, Transport,
};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::{BodyError, RequestBody};
use crate::executor::OnThisThread;
use crate::http1::endpoint::{self, Endpoint};
use crate::http2::guarded::Guarded;
use crate::http2::meter::Peer;
use crate::incoming::Incoming;

/// A connection unused for this long is closed: sooner than servers do, so that no request meets a closing connection.
/// Programs close after 5 s at times (Node's default), other proxies of the mesh after a minute.
const PLAIN_IDLE: Duration = Duration::from_secs(4);
const MESH_IDLE: Duration = Duration::from_secs(45);
/// Streams put on one HTTP/2 connection before another is opened.
const STREAMS: u32 = 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What h2 says before the endpoint's first SETTINGS: a number that no endpoint says.
const NOT_TOLD: usize = u32::MAX as usize - 1;
/// An endpoint that has not sent its SETTINGS by then is given streams without them.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// The task that looks after idle connections.
    keeper: RefCell<Option<Waker>>,
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
    connection: Rc<Single>,
    since: Instant,
}

/// A connection that carries one request at a time.
struct Single {
    endpoint: Rc<Endpoint>,
    shared: Rc<Shared>,
    _slot: Slot,
}

struct Multiplexed {
    sender: http2::SendRequest<RequestBody>,
    shared: Rc<Shared>,
    active: Cell<u32>,
    /// Streams that the endpoint takes at once.
    most: Rc<Cell<u32>>,
    last_used: Cell<Instant>,
}

/// What belongs to a connection as long as it lives.
struct Shared {
    session: Option<Rc<Session>>,
    requests: Cell<u32>,
    /// When it has to take no more requests; `None`: never.
    ends: Option<Instant>,
}

impl Shared {
    fn is_old(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }
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
    Http1(Rc<Single>),
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
    /// Not one that has been used before: the last one of these was closed.
    pub fresh: bool,
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
            && !purpose.fresh
            && let Some(idle) = connections.take_idle(idle_timeout).await
        {
            return Ok(lease(Wire::Http1(idle), true));
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
            // Boxed: a rare and large part of what each request would carry.
            let connecting = Box::pin(connect(cluster, host, origin, wanted, purpose, slot));
            let wire = connecting.await?;
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
        ends: cluster
            .target
            .config
            .max_connection_duration
            .map(|longest| Instant::now() + longest),
    });
    let failed =
        |error: hyper::Error| PoolError::Connect(ConnectError::Tcp(std::io::Error::other(error)));
    match version {
        Version::Http1 => Ok(Wire::Http1(Rc::new(Single {
            endpoint: Endpoint::new(stream),
            shared,
            _slot: slot,
        }))),
        Version::Http2 => {
            let http = &cluster.target.config.http;
            let (sender, mut connection) = http2::Builder::new(OnThisThread)
                .timer(TokioTimer::new())
                .initial_stream_window_size(http.initial_stream_window.unwrap_or(1 << 20))
                .initial_connection_window_size(http.initial_connection_window.unwrap_or(4 << 20))
                .initial_max_send_streams(NOT_TOLD)
                .keep_alive_interval(
                    http.keep_alive
                        .map_or(KEEP_ALIVE_INTERVAL, |told| told.interval),
                )
                .keep_alive_timeout(
                    http.keep_alive
                        .map_or(KEEP_ALIVE_TIMEOUT, |told| told.timeout),
                )
                .handshake(TokioIo::new(Guarded::new(stream, Peer::Endpoint)))
                .await
                .map_err(failed)?;
            let most = Rc::new(Cell::new(STREAMS));
            let settled = Rc::new(Notify::new());
            let (told, settles) = (Rc::clone(&most), Rc::clone(&settled));
            tokio::task::spawn_local(async move {
                let driven = poll_fn(|context| {
                    let step = Pin::new(&mut connection).poll(context);
                    let most = connection.current_max_send_streams();
                    if step.is_pending() && most != NOT_TOLD {
                        told.set(u32::try_from(most).unwrap_or(STREAMS).max(1));
                        settles.notify_one();
                    }
                    step
                });
                if let Err(error) = driven.await {
                    tracing::debug!(%error, "upstream HTTP/2 connection ended");
                }
                settles.notify_one();
                drop(slot);
            });
            // So that no more streams are put on it than it takes, from the first moment.
            let waiting = tokio::time::timeout(SETTINGS_TIMEOUT, settled.notified());
            if waiting.await.is_err() {
                tracing::debug!("the endpoint sent no SETTINGS in time");
            }
            Ok(Wire::Http2(Rc::new(Multiplexed {
                sender,
                shared,
                active: Cell::new(0),
                most,
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
            idle.retain(|idle| idle.since.elapsed() < timeout && !idle.connection.shared.is_old());
            let mut multiplexed = connections.multiplexed.borrow_mut();
            multiplexed.retain(|one| {
                one.active.get() > 0
                    || !one.sender.is_closed()
                        && one.last_used.get().elapsed() < timeout
                        && !one.shared.is_old()
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
    async fn take_idle(&self, timeout: Duration) -> Option<Rc<Single>> {
        poll_fn(|context| {
            loop {
                let Some(idle) = self.idle.borrow_mut().pop() else {
                    return Poll::Ready(None);
                };
                let fits = idle.since.elapsed() < timeout && !idle.connection.shared.is_old();
                if fits && idle.connection.endpoint.is_quiet(context) {
                    return Poll::Ready(Some(idle.connection));
                }
            }
        })
        .await
    }

    /// Puts a connection aside, and sees to it that it is closed as soon as the endpoint closes it.
    fn keep(self: &Rc<Self>, connection: Rc<Single>) {
        if self.keeper.borrow().is_none() {
            let keeping = keep(Rc::downgrade(self));
            *self.keeper.borrow_mut() = Some(Waker::noop().clone());
            tokio::task::spawn_local(keeping);
        }
        let quiet = match &*self.keeper.borrow() {
            Some(keeper) => connection
                .endpoint
                .is_quiet(&mut Context::from_waker(keeper)),
            None => true,
        };
        if quiet {
            let since = Instant::now();
            self.idle.borrow_mut().push(Idle { connection, since });
            self.freed.notify_one();
        }
    }

    fn share(&self, streams: u32) -> Option<Rc<Multiplexed>> {
        let mut multiplexed = self.multiplexed.borrow_mut();
        multiplexed.retain(|one| !one.sender.is_closed());
        multiplexed
            .iter()
            .find(|one| one.active.get() < streams.min(one.most.get()) && !one.shared.is_old())
            .cloned()
    }
}

/// Closes idle connections that their endpoint has closed. Ends with `connections`.
async fn keep(connections: Weak<Connections>) {
    poll_fn(|context| {
        let Some(connections) = connections.upgrade() else {
            return Poll::Ready(());
        };
        let mut keeper = connections.keeper.borrow_mut();
        let first = !keeper
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()));
        if first {
            *keeper = Some(context.waker().clone());
        }
        drop(keeper);
        let mut idle = connections.idle.borrow_mut();
        let closed: Vec<_> = idle
            .extract_if(.., |idle| !idle.connection.endpoint.is_quiet(context))
            .collect();
        drop(idle);
        drop(closed);
        Poll::Pending
    })
    .await;
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.wake();
        }
    }
}

/// Why a request got no response.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte of it was sent.
    Unsent,
    /// The endpoint says that it has not processed the request (RFC 9113 §8.7).
    Refused(BodyError),
    /// The endpoint closed without a byte of a response.
    Unanswered(BodyError),
    /// The endpoint closed, or reset the stream.
    Reset(BodyError),
    /// What came is no response.
    Malformed(BodyError),
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
            Wire::Http1(single) => single.shared.session.as_ref(),
            Wire::Http2(multiplexed) => multiplexed.shared.session.as_ref(),
        }
    }

    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<Incoming>, SendError> {
        match &self.wire {
            Wire::Http1(single) => {
                let requests = &single.shared.requests;
                requests.set(requests.get() + 1);
                single.endpoint.send(request).await.map_err(SendError::from)
            }
            Wire::Http2(multiplexed) => {
                let mut sender = multiplexed.sender.clone();
                let sent = sender.try_send_request(request).await;
                sent.map(|response| response.map(Incoming::from))
                    .map_err(SendError::from)
            }
        }
    }

    /// The response was read to its end: the connection may serve another request.
    pub fn give_back(self) {
        if let Wire::Http1(single) = &self.wire
            && single.endpoint.is_free()
            && self
                .most_requests
                .is_none_or(|most| single.shared.requests.get() < most)
        {
            self.connections.keep(Rc::clone(single));
        }
    }
}

impl From<hyper::client::conn::TrySendError<http::Request<RequestBody>>> for SendError {
    fn from(mut error: hyper::client::conn::TrySendError<http::Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(_request) => Self::Unsent,
            None => {
                let error = error.into_error();
                if refused(&error) {
                    Self::Refused(Box::new(error))
                } else {
                    Self::Reset(Box::new(error))
                }
            }
        }
    }
}

/// REFUSED_STREAM, or a stream above the last one of a GOAWAY. Streams that a GOAWAY leaves alone end with another error.
fn refused(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .is_some_and(|error| {
            let stream = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            error.is_remote() && (stream || error.is_go_away())
        })
}

impl fmt::Display for SendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent => formatter.write_str("its connection was closed before it was used"),
            Self::Refused(error)
            | Self::Unanswered(error)
            | Self::Reset(error)
            | Self::Malformed(error) => error.fmt(formatter),
        }
    }
}

impl From<endpoint::Failure> for SendError {
    fn from(failure: endpoint::Failure) -> Self {
        match failure {
            endpoint::Failure::Unsent => Self::Unsent,
            endpoint::Failure::Unanswered(error) => Self::Unanswered(Box::new(error)),
            endpoint::Failure::Broken(error) => Self::Reset(Box::new(error)),
            endpoint::Failure::Malformed(malformed) => Self::Malformed(Box::new(malformed)),
            endpoint::Failure::Request(error) => Self::Reset(error),
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
