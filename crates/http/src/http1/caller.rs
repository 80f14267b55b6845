//! Serving HTTP/1.1 to one caller: one request after the other, in the order in which they came.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hauberk_config::connection_manager::ConnectionManager;
use hauberk_http1::encode::{self, Framing};
use hauberk_http1::request::{self, RequestHead};
use hauberk_http1::{BodyLength, HeadSearch, Limits, Malformed};
use hauberk_telemetry::flags::Flag;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::attention::{self, Attention, Notice};
use crate::body::ResponseBody;
use crate::connection::Connection;
use crate::http1::date::with_date;
use crate::http1::link::{Link, Stage};
use crate::http1::outgoing::{BodyPlan, Outgoing, SendError};
use crate::http1::timer::Timer;
use crate::http1::wire::{Socket, Wire};
use crate::incoming::Incoming;
use crate::service;
use crate::upgrade::Tunnel;

/// For a request's head, from its first byte; and for the first request of a connection to begin.
const HEAD: Duration = Duration::from_secs(60);
/// For the next byte of a body, or for the caller to take the next of a response, where nothing is configured.
const STALLED: Duration = Duration::from_secs(300);
/// For the next request to begin, where nothing is configured.
const IDLE: Duration = Duration::from_secs(3600);
/// Bytes of later requests that are held while one is served.
const PIPELINED: usize = 16 * 1024;
/// An unread body of up to so many bytes is passed over, so that the connection can be used again.
const PASSED_OVER: u64 = 64 * 1024;
/// A caller that is still sending gets so long to read why nobody listens (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
/// Bytes read and thrown away meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves until the caller leaves, the connection is no longer allowed, or the proxy drains.
pub async fn serve(socket: Socket, connection: Rc<Connection>, config: &ConnectionManager) {
    let mut caller = Caller {
        link: Link::new(Wire::new(socket)),
        attention: Attention::new(&connection),
        timer: Timer::default(),
        limits: limits(config),
        search: HeadSearch::default(),
        connection,
        config,
        head_since: None,
    };
    match caller.run().await {
        End::Closed => {}
        End::Cut => {}
        End::Failed(error) => {
            tracing::debug!(%error, id = %caller.connection.id, "downstream HTTP/1.1 connection ended");
        }
    }
}

fn limits(config: &ConnectionManager) -> Limits {
    let head = usize::try_from(config.max_request_headers_kb.max(1)).unwrap_or(60) * 1024;
    Limits {
        head: head.max(8192),
        first_line: head.max(8192),
        fields: usize::try_from(config.max_headers_count.max(1)).unwrap_or(100),
    }
}

struct Caller<'a> {
    link: Rc<Link>,
    attention: Attention,
    timer: Timer,
    limits: Limits,
    search: HeadSearch,
    connection: Rc<Connection>,
    config: &'a ConnectionManager,
    /// When the first bytes of a head came whose rest has not.
    head_since: Option<Instant>,
}

/// How a connection ended.
enum End {
    Closed,
    /// A policy forbids it now.
    Cut,
    Failed(io::Error),
}

/// What a caller does next.
enum Next {
    Request(Box<RequestHead>),
    Refused(Malformed),
    /// Its head took too long.
    Late,
    End(End),
}

/// What of a request its answer's form depends on.
struct Answering {
    version: Version,
    head: bool,
    connect: bool,
    persistent: bool,
}

impl Caller<'_> {
    async fn run(&mut self) -> End {
        loop {
            let begun = Instant::now();
            self.head_since = None;
            self.timer.set(Some(self.idle_until(begun)));
            let head = match poll_fn(|context| self.poll_next(context)).await {
                Next::Request(head) => head,
                Next::Refused(malformed) => {
                    self.connection
                        .flags
                        .set(Flag::DownstreamProtocolError.into());
                    tracing::debug!(%malformed, id = %self.connection.id, "a request was refused");
                    return self
                        .refuse(malformed.status(), &malformed.to_string())
                        .await;
                }
                Next::Late => {
                    self.connection
                        .flags
                        .set(Flag::DownstreamProtocolError.into());
                    return self.refuse(408, "request headers took too long").await;
                }
                Next::End(end) => return end,
            };
            let (answering, request) = self.begin(*head);
            let serving = service::handle(Rc::clone(&self.connection), request);
            let served = self.attend(Box::pin(serving)).await;
            let response = match served {
                Ok(response) => response,
                Err(end) => return end,
            };
            match self.answer(answering, response).await {
                Ok(true) => {}
                Ok(false) => return self.close().await,
                Err(end) => return end,
            }
        }
    }

    fn idle_until(&self, now: Instant) -> Instant {
        let mut until = now + self.config.idle_timeout.unwrap_or(IDLE);
        if self.connection.requests.get() == 0 {
            until = until.min(now + self.config.request_headers_timeout.unwrap_or(HEAD));
        }
        match self.config.max_connection_duration {
            Some(most) => until.min(self.connection.started() + most),
            None => until,
        }
    }

    /// Waits for a whole head.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.attention.poll(&self.connection, context) {
                Notice::Cut => return Poll::Ready(Next::End(End::Cut)),
                Notice::None => {}
            }
            let mut wire = self.link.wire.borrow_mut();
            if !wire.unread.is_empty() {
                match self.search.find(&wire.unread, &self.limits) {
                    Ok(Some(found)) => {
                        self.search = HeadSearch::default();
                        let head = wire.unread.split_to(found.end).slice(found.start..);
                        return Poll::Ready(match request::parse(&head) {
                            Ok(head) => Next::Request(Box::new(head)),
                            Err(malformed) => Next::Refused(malformed),
                        });
                    }
                    Ok(None) => {
                        if self.head_since.is_none() {
                            let now = Instant::now();
                            self.head_since = Some(now);
                            let limit = self.config.request_headers_timeout.unwrap_or(HEAD);
                            self.timer.set(Some(now + limit));
                        }
                    }
                    Err(malformed) => return Poll::Ready(Next::Refused(malformed)),
                }
            } else if self.attention.finishing {
                return Poll::Ready(Next::End(End::Closed));
            }
            match wire.poll_fill(context) {
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) => {
                    if !wire.unread.is_empty() {
                        self.connection
                            .flags
                            .set(Flag::DownstreamProtocolError.into());
                    }
                    return Poll::Ready(Next::End(End::Closed));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Next::End(End::Failed(error))),
                Poll::Pending => {}
            }
            drop(wire);
            ready!(self.timer.poll(context));
            return Poll::Ready(if self.head_since.is_some() {
                Next::Late
            } else {
                Next::End(End::Closed)
            });
        }
    }

    fn begin(&mut self, head: RequestHead) -> (Answering, Request<Incoming>) {
        let answering = Answering {
            version: head.version,
            head: head.method == Method::HEAD,
            connect: head.method == Method::CONNECT,
            persistent: head.persistent,
        };
        self.timer.set(None);
        let body = self.link.begin(head.length, head.expects_continue);
        let body = match head.length {
            BodyLength::Known(0) => Incoming::Empty,
            _ => Incoming::Caller(body),
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        // It is answered here, when the body is asked for.
        request.headers_mut().remove(header::EXPECT);
        (answering, request)
    }

    /// Runs the service, and ends it when the caller leaves.
    async fn attend<F>(&mut self, mut serving: Pin<Box<F>>) -> Result<Response<ResponseBody>, End>
    where
        F: Future<Output = Response<ResponseBody>>,
    {
        poll_fn(|context| {
            if let Notice::Cut = self.attention.poll(&self.connection, context) {
                return Poll::Ready(Err(End::Cut));
            }
            self.watch_body(context);
            if let Poll::Ready(response) = serving.as_mut().poll(context) {
                return Poll::Ready(Ok(response));
            }
            self.poll_gone(context).map(Err)
        })
        .await
    }

    /// Reads ahead, up to a bound, to see whether the caller is still there.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<End> {
        {
            let mut server = self.link.server.borrow_mut();
            if server
                .as_ref()
                .is_none_or(|known| !known.will_wake(context.waker()))
            {
                *server = Some(context.waker().clone());
            }
        }
        if self.link.request.get() != Stage::Whole {
            return Poll::Pending;
        }
        let mut wire = self.link.wire.borrow_mut();
        while wire.unread.len() < PIPELINED {
            match ready!(wire.poll_fill(context)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(End::Closed),
                Err(error) => return Poll::Ready(End::Failed(error)),
            }
        }
        Poll::Pending
    }

    /// Gives a body up that does not move.
    fn watch_body(&mut self, context: &mut Context<'_>) {
        let Some(since) = self.link.waits_since.get() else {
            return;
        };
        self.timer.set(Some(since + self.stalled()));
        if self.timer.poll(context).is_ready() {
            self.timer.set(None);
            self.link.give_up();
        }
    }

    fn stalled(&self) -> Duration {
        self.config.stream_idle_timeout.unwrap_or(STALLED)
    }

    /// Writes a response; true: the connection can take another request.
    async fn answer(
        &mut self,
        asked: Answering,
        response: Response<ResponseBody>,
    ) -> Result<bool, End> {
        let (parts, mut body) = response.into_parts();
        let tunnel = body.take_tunnel();
        let closes = parts
            .headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let mut persistent = asked.persistent
            && !closes
            && !self.attention.finishing
            && !attention::is_worn(&self.connection, self.config)
            && self.can_pass_over();
        let plan = plan(&asked, parts.status, &body, tunnel.is_some());
        persistent &= plan != BodyPlan::UntilClose;
        let announced = parts.headers.get(header::TRAILER).cloned();
        let mut out = Outgoing::new(plan, announced, |out| {
            let said = match (&tunnel, persistent, asked.version) {
                (Some(_), _, _) if asked.connect => encode::Connection::Unsaid,
                (Some(_), _, _) => encode::Connection::Upgrade,
                (None, false, Version::HTTP_10) => encode::Connection::Unsaid,
                (None, false, _) => encode::Connection::Close,
                (None, true, Version::HTTP_10) => encode::Connection::KeepAlive,
                (None, true, _) => encode::Connection::Unsaid,
            };
            let framing = match plan {
                BodyPlan::Framed(framing) => framing,
                BodyPlan::UntilClose => Framing::Unsaid,
                BodyPlan::Withheld => Framing::AsToldBy,
            };
            with_date(|date| {
                encode::response_head(
                    out,
                    asked.version,
                    parts.status,
                    &parts.headers,
                    framing,
                    said,
                    date,
                );
            });
        });
        self.send(&mut out, &mut body).await?;
        if plan == BodyPlan::Withheld {
            body.withheld();
        }
        drop(body);
        if let Some(tunnel) = tunnel {
            self.tunnel(*tunnel).await;
            return Err(End::Closed);
        }
        Ok(persistent && self.pass_over().await)
    }

    async fn send(&mut self, out: &mut Outgoing, body: &mut ResponseBody) -> Result<(), End> {
        let mut stalled_since = None;
        poll_fn(|context| {
            if let Notice::Cut = self.attention.poll(&self.connection, context) {
                return Poll::Ready(Err(End::Cut));
            }
            self.watch_body(context);
            match out.poll_send(&self.link.wire, body, context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.unfinished(error))),
                Poll::Pending => {}
            }
            let length = out.waiting();
            if length > 0 {
                // What the endpoint still gets must not wait for this caller to read.
                body.poll_upload(context);
                let (since, before) = *stalled_since.get_or_insert((Instant::now(), length));
                if before != length {
                    stalled_since = Some((Instant::now(), length));
                } else {
                    self.timer.set(Some(since + self.stalled()));
                    if self.timer.poll(context).is_ready() {
                        return Poll::Ready(Err(End::Failed(io::ErrorKind::TimedOut.into())));
                    }
                }
            } else {
                stalled_since = None;
            }
            self.poll_gone(context).map(Err)
        })
        .await
    }

    /// A response that cannot be finished: the caller must not take it for a whole one.
    fn unfinished(&self, error: SendError) -> End {
        End::Failed(match error {
            SendError::Socket(error) => error,
            SendError::Body(error) => io::Error::other(error),
            SendError::Length => io::Error::other("a body was not as long as was said"),
        })
    }

    /// What is left of the request can be passed over, or is still being sent to the endpoint.
    fn can_pass_over(&self) -> bool {
        match self.link.request.get() {
            Stage::Whole => true,
            Stage::Broken => false,
            Stage::Arriving => match &*self.link.abandoned.borrow() {
                Some(arriving) => {
                    !self.link.owes_continue.get()
                        && arriving.left().is_some_and(|left| left <= PASSED_OVER)
                }
                None => true,
            },
        }
    }

    /// Reads what is left of the request; false: it does not end soon.
    async fn pass_over(&mut self) -> bool {
        if self.link.request.get() == Stage::Whole {
            return true;
        }
        if !self.can_pass_over() {
            return false;
        }
        let Some(mut arriving) = self.link.abandoned.take() else {
            return false;
        };
        let passing = poll_fn(|context| {
            let mut wire = self.link.wire.borrow_mut();
            loop {
                while let Ok(Some(_piece)) = arriving.next(&mut wire.unread) {
                    if arriving.is_ended() {
                        return Poll::Ready(true);
                    }
                }
                match ready!(wire.poll_fill(context)) {
                    Ok(true) => {}
                    _ => return Poll::Ready(false),
                }
            }
        });
        let passed = tokio::time::timeout(LINGER, passing).await.unwrap_or(false);
        if passed {
            self.link.request.set(Stage::Whole);
        }
        passed
    }

    /// Answers what is no request, and closes.
    async fn refuse(&mut self, status: u16, reason: &str) -> End {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let plan = BodyPlan::Framed(Framing::Length(reason.len() as u64));
        let mut out = Outgoing::new(plan, None, |out| {
            with_date(|date| {
                encode::response_head(
                    out,
                    Version::HTTP_11,
                    service::status(status),
                    &headers,
                    Framing::Length(reason.len() as u64),
                    encode::Connection::Close,
                    date,
                );
            });
        });
        let mut body = ResponseBody::full(Bytes::copy_from_slice(reason.as_bytes()), None);
        self.link.request.set(Stage::Broken);
        match self.send(&mut out, &mut body).await {
            Ok(()) => self.close().await,
            Err(end) => end,
        }
    }

    /// Closes our side, and gives a caller that still sends time to read.
    async fn close(&mut self) -> End {
        let mut passed = 0;
        let closing = poll_fn(|context| {
            let mut wire = self.link.wire.borrow_mut();
            passed += std::mem::take(&mut wire.unread).len();
            // Nothing is left to be told once the caller has gone.
            let _ = ready!(Pin::new(&mut wire.socket).poll_shutdown(context));
            while passed < LINGER_BYTES {
                match ready!(wire.poll_fill(context)) {
                    Ok(true) => passed += std::mem::take(&mut wire.unread).len(),
                    _ => break,
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(LINGER, closing).await;
        End::Closed
    }

    /// The connection carries something else from here on.
    async fn tunnel(&mut self, tunnel: Tunnel) {
        tunnel.run(Near(Rc::clone(&self.link))).await;
    }
}

/// How the body of a response goes out.
fn plan(asked: &Answering, status: StatusCode, body: &ResponseBody, tunnel: bool) -> BodyPlan {
    if tunnel || status == StatusCode::NO_CONTENT || status.is_informational() {
        return BodyPlan::Framed(Framing::Unsaid);
    }
    if asked.head || status == StatusCode::NOT_MODIFIED {
        return BodyPlan::Withheld;
    }
    if let Some(length) = body.size_hint().exact() {
        return BodyPlan::Framed(Framing::Length(length));
    }
    if asked.version == Version::HTTP_10 {
        BodyPlan::UntilClose
    } else {
        BodyPlan::Framed(Framing::Chunked)
    }
}

/// A caller's connection after its protocol was switched.
pub struct Near(Rc<Link>);

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.wire.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.wire.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.wire.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.wire.borrow_mut()).poll_shutdown(context)
    }
}
