//! Serving HTTP on one accepted connection.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hauberk_config::connection_manager::{Codec, ConnectionManager};
use hauberk_telemetry::flags::Flag;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;

use crate::connection::{Connection, Standing};
use crate::executor::OnThisThread;
use crate::service;

/// For a request's headers, and for the next request to begin.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
const STREAMS: u32 = 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Serves until the caller leaves, the connection is no longer allowed, or the proxy drains.
/// `http2`: what ALPN or the first bytes settled.
pub async fn serve<I>(io: I, connection: Rc<Connection>, config: &ConnectionManager, http2: bool)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let service = service_fn({
        let connection = Rc::clone(&connection);
        move |request| {
            let connection = Rc::clone(&connection);
            // Boxed: hyper moves the future about, and this one is large.
            Box::pin(async move { Ok::<_, Infallible>(service::handle(connection, request).await) })
        }
    });
    let http2 = match config.codec {
        Codec::Auto => http2,
        Codec::Http1 => false,
        Codec::Http2 => true,
    };
    let most_headers = usize::try_from(config.max_request_headers_kb.max(1)).unwrap_or(60) * 1024;
    let result = if http2 {
        let serving = http2::Builder::new(OnThisThread)
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
            .serve_connection(io, service);
        let mut serving = pin!(serving);
        attend(&connection, |event| match event {
            Event::Poll(context) => serving.as_mut().poll(context),
            Event::Finish => {
                serving.as_mut().graceful_shutdown();
                std::task::Poll::Pending
            }
        })
        .await
    } else {
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.request_headers_timeout.unwrap_or(HEADERS_TIMEOUT))
            .max_buf_size(most_headers.max(8192))
            .max_headers(usize::try_from(config.max_headers_count.max(1)).unwrap_or(100))
            .serve_connection(io, service)
            .with_upgrades();
        let mut serving = pin!(serving);
        attend(&connection, |event| match event {
            Event::Poll(context) => serving.as_mut().poll(context),
            Event::Finish => {
                serving.as_mut().graceful_shutdown();
                std::task::Poll::Pending
            }
        })
        .await
    };
    if let Some(Err(error)) = result {
        if error.is_parse() || error.is_timeout() {
            connection.flag.set(Flag::DownstreamProtocolError);
        }
        tracing::debug!(%error, id = %connection.id, "downstream HTTP connection ended");
    }
}

enum Event<'a, 'b> {
    Poll(&'a mut std::task::Context<'b>),
    Finish,
}

/// Drives a connection and listens for what ends it. `None`: it was cut, because a policy forbids it now.
async fn attend(
    connection: &Connection,
    mut act: impl FnMut(Event<'_, '_>) -> std::task::Poll<hyper::Result<()>>,
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
        if !finishing && (draining || standing == Standing::Removed) {
            finishing = true;
            let _ = act(Event::Finish);
        }
        let step = std::future::poll_fn(|context| act(Event::Poll(context)));
        tokio::select! {
            biased;
            result = step => return Some(result),
            changed = watch.changed() => {
                if changed.is_err() {
                    return None;
                }
            }
        }
    }
}
