//! Serving HTTP on one accepted connection.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hauberk_config::connection_manager::{Codec, ConnectionManager};
use hauberk_telemetry::flags::Flag;
use hauberk_tls::TlsStream;
use hauberk_upstream::Stream;
use http::{Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::body::ResponseBody;
use crate::connection::{Connection, Standing};
use crate::http1;
use crate::http2::guarded::Guarded;
use crate::http2::meter::Peer;
use crate::http2::patience::{Patience, Streams};
use crate::incoming::Incoming;
use crate::service;

const STREAMS: u32 = 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response held for a caller that does not read.
const SEND_BUFFER: usize = 64 * 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Serves until the caller leaves, the connection is no longer allowed, or the proxy drains.
/// `http2`: what ALPN or the first bytes settled.
pub async fn serve(
    stream: Stream<TlsStream>,
    connection: Rc<Connection>,
    config: &ConnectionManager,
    http2: bool,
) {
    let http2 = match config.codec {
        Codec::Auto => http2,
        Codec::Http1 => false,
        Codec::Http2 => true,
    };
    if http2 {
        serve_http2(stream, connection, config).await;
    } else {
        http1::caller::serve(stream, connection, config).await;
    }
}

async fn serve_http2<I>(io: I, connection: Rc<Connection>, config: &ConnectionManager)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::default();
    let service = service_fn({
        let (connection, streams) = (Rc::clone(&connection), streams.clone());
        move |request: Request<hyper::body::Incoming>| {
            let (connection, patience) = (Rc::clone(&connection), streams.begin());
            let answer = Box::pin(service::handle(connection, request.map(Incoming::from)));
            Answering { answer, patience }
        }
    });
    let most_headers = usize::try_from(config.max_request_headers_kb.max(1)).unwrap_or(60) * 1024;
    let peer = match connection.peer_id() {
        Some(_) => Peer::Workload,
        None => Peer::Caller,
    };
    let serving = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(
            config
                .max_concurrent_streams
                .unwrap_or(STREAMS)
                .min(STREAMS),
        )
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(most_headers).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .enable_connect_protocol()
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(Guarded::new(io, peer)), service);
    let mut serving = pin!(serving);
    let result = attend(&connection, config, |event| match event {
        Event::Poll(context) => serving.as_mut().poll(context),
        Event::Finish => {
            serving.as_mut().graceful_shutdown();
            Poll::Pending
        }
    })
    .await;
    if let Some(Err(error)) = result {
        if error.is_parse() || error.is_timeout() {
            connection.flags.set(Flag::DownstreamProtocolError.into());
        }
        tracing::debug!(%error, id = %connection.id, "downstream HTTP connection ended");
    }
}

/// What drives a stream: boxed, since hyper moves it about and it is large.
struct Answering<F> {
    answer: Pin<Box<F>>,
    patience: Rc<Patience>,
}

impl<F: Future<Output = Response<ResponseBody>>> Future for Answering<F> {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.answer.as_mut().poll(context));
        response.body_mut().watch(Rc::clone(&self.patience));
        Poll::Ready(Ok(response))
    }
}

enum Event<'a, 'b> {
    Poll(&'a mut Context<'b>),
    Finish,
}

/// Drives a connection and listens for what ends it. `None`: it was cut, because a policy forbids it now.
async fn attend(
    connection: &Connection,
    config: &ConnectionManager,
    mut act: impl FnMut(Event<'_, '_>) -> Poll<hyper::Result<()>>,
) -> Option<hyper::Result<()>> {
    let mut watch = connection.worker.watch();
    let mut finishing = false;
    loop {
        let draining = watch.borrow_and_update().draining;
        let standing = connection.reconsider();
        if standing == Standing::Forbidden {
            connection.judged(connection.policy(&connection.decide()));
            return None;
        }
        let worn = worn(connection, config);
        if !finishing && (draining || standing == Standing::Removed || worn == Worn::Out) {
            finishing = true;
            let _ = act(Event::Finish);
        }
        // `None`: it has just taken the last request that it may.
        let step = std::future::poll_fn(|context| match act(Event::Poll(context)) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if !finishing && spent(connection, config) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let next = match worn {
            Worn::Until(next) if !finishing => Some(next),
            _ => None,
        };
        tokio::select! {
            biased;
            result = step => if result.is_some() {
                return result;
            },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            changed = watch.changed() => {
                if changed.is_err() {
                    return None;
                }
            }
        }
    }
}

/// Whether a connection has served long or often enough.
#[derive(Debug, PartialEq, Eq)]
enum Worn {
    Out,
    /// Look again then.
    Until(Instant),
    Never,
}

fn worn(connection: &Connection, config: &ConnectionManager) -> Worn {
    if spent(connection, config) {
        return Worn::Out;
    }
    let age = config.max_connection_duration;
    let age = age.map(|most| connection.started() + most);
    // While a request is under way the next look is when it could be idle for so long at the earliest.
    let idle = config.idle_timeout;
    let idle = idle.map(|most| connection.idle_since().unwrap_or_else(Instant::now) + most);
    match age.into_iter().chain(idle).min() {
        Some(next) if next <= Instant::now() => Worn::Out,
        Some(next) => Worn::Until(next),
        None => Worn::Never,
    }
}

fn spent(connection: &Connection, config: &ConnectionManager) -> bool {
    let most = config.max_requests_per_connection;
    most.is_some_and(|most| connection.requests.get() >= most)
}
