//! Bodies on their way through the proxy. Nothing is gathered: a frame is asked for when the other side takes one.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::call::Call;
use crate::pool::Lease;
use hauberk_telemetry::flags::Flag;

pub type BodyError = Box<dyn Error + Send + Sync>;

/// Bytes of a request body kept so that the request can be sent again.
const MOST_KEPT: usize = 64 * 1024;
/// Frames that a copy of the body may lie behind.
const MOST_BEHIND: usize = 16;

/// A caller's request body, shared by the attempts to send it.
pub struct Upload {
    state: RefCell<UploadState>,
}

struct UploadState {
    incoming: Incoming,
    /// Frames so far; empty once they are too many.
    kept: Vec<Piece>,
    kept_bytes: usize,
    replayable: bool,
    attempt: u32,
    bytes: u64,
    ended_at: Option<Instant>,
    copies: Vec<mpsc::Sender<Option<Piece>>>,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Some(Self::Data(data.clone())),
            (_, Some(trailers)) => Some(Self::Trailers(trailers.clone())),
            _ => None,
        }
    }

    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl UploadState {
    /// The last of the body was read.
    fn ended(&mut self) {
        self.ended_at.get_or_insert_with(Instant::now);
        for copy in self.copies.drain(..) {
            // One that has no place left for the end has fallen behind.
            copy.try_send(None).ok();
        }
    }
}

impl Upload {
    /// `keep`: the request may be sent again.
    pub fn new(incoming: Incoming, keep: bool) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(UploadState {
                ended_at: incoming.is_end_stream().then(Instant::now),
                incoming,
                kept: Vec::new(),
                kept_bytes: 0,
                replayable: keep,
                attempt: 0,
                bytes: 0,
                copies: Vec::new(),
            }),
        })
    }

    /// A body that gets what is read from now on; it fails if it lags too far behind.
    pub fn copy(&self) -> RequestBody {
        let mut state = self.state.borrow_mut();
        if state.incoming.is_end_stream() {
            return RequestBody(Kind::Empty);
        }
        let (sender, pieces) = mpsc::channel(MOST_BEHIND);
        state.copies.push(sender);
        RequestBody(Kind::Copy(pieces))
    }

    /// The body for one more attempt; earlier ones get no more of it. `None`: part of it is gone.
    pub fn attempt(self: &Rc<Self>) -> Option<RequestBody> {
        let mut state = self.state.borrow_mut();
        if !state.replayable && state.bytes > 0 {
            return None;
        }
        state.attempt += 1;
        Some(RequestBody(Kind::Upload {
            upload: Rc::clone(self),
            attempt: state.attempt,
            next: 0,
        }))
    }

    /// Whether another attempt would get all of it.
    pub fn replayable(&self) -> bool {
        let state = self.state.borrow();
        state.replayable || state.bytes == 0
    }

    pub fn bytes(&self) -> u64 {
        self.state.borrow().bytes
    }

    pub fn ended_at(&self) -> Option<Instant> {
        self.state.borrow().ended_at
    }
}

/// What goes to an endpoint.
pub struct RequestBody(Kind);

enum Kind {
    Empty,
    Upload {
        upload: Rc<Upload>,
        attempt: u32,
        next: usize,
    },
    /// `None` is the end of the body; the end of the channel without it, a copy given up.
    Copy(mpsc::Receiver<Option<Piece>>),
}

#[derive(Debug)]
struct Superseded;

impl fmt::Display for Superseded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the request is being sent anew, or a copy of it was given up")
    }
}

impl Error for Superseded {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (upload, attempt, next) = match &mut self.0 {
            Kind::Empty => return Poll::Ready(None),
            Kind::Copy(pieces) => {
                return Poll::Ready(match ready!(pieces.poll_recv(context)) {
                    Some(Some(piece)) => Some(Ok(piece.frame())),
                    Some(None) => None,
                    None => Some(Err(Box::new(Superseded))),
                });
            }
            Kind::Upload {
                upload,
                attempt,
                next,
            } => (upload, attempt, next),
        };
        let mut state = upload.state.borrow_mut();
        if state.attempt != *attempt {
            return Poll::Ready(Some(Err(Box::new(Superseded))));
        }
        if let Some(piece) = state.kept.get(*next) {
            let frame = piece.clone().frame();
            *next += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        match ready!(Pin::new(&mut state.incoming).poll_frame(context)) {
            None => {
                state.ended();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                state.copies.clear();
                Poll::Ready(Some(Err(Box::new(error))))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                state.bytes += length as u64;
                if !state.copies.is_empty() {
                    let piece = Piece::of(&frame);
                    state
                        .copies
                        .retain(|copy| copy.try_send(piece.clone()).is_ok());
                }
                if state.replayable {
                    if state.kept_bytes + length > MOST_KEPT {
                        state.replayable = false;
                        state.kept = Vec::new();
                    } else {
                        state.kept_bytes += length;
                        state.kept.extend(Piece::of(&frame));
                        *next += 1;
                    }
                }
                if state.incoming.is_end_stream() {
                    state.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Copy(_) => false,
            Kind::Upload { upload, next, .. } => {
                let state = upload.state.borrow();
                state.kept.len() <= *next && state.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Copy(_) => SizeHint::default(),
            Kind::Upload { upload, .. } => {
                let state = upload.state.borrow();
                let rest = state.incoming.size_hint();
                match rest.exact() {
                    Some(rest) => SizeHint::with_exact(state.kept_bytes as u64 + rest),
                    None => SizeHint::default(),
                }
            }
        }
    }
}

/// What goes to the caller. It carries the call's accounts, closed when it is dropped.
pub struct ResponseBody {
    content: Content,
    call: Option<Box<Call>>,
    lease: Option<Lease>,
    limits: Option<Pin<Box<Limits>>>,
}

enum Content {
    Full(Option<Bytes>),
    Upstream(Incoming),
}

/// Times that a response may take.
struct Limits {
    idle: Option<Duration>,
    deadline: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    last: Instant,
}

impl ResponseBody {
    pub fn full(bytes: Bytes, call: Option<Box<Call>>) -> Self {
        Self {
            content: Content::Full(Some(bytes).filter(|bytes| !bytes.is_empty())),
            call,
            lease: None,
            limits: None,
        }
    }

    pub fn upstream(
        incoming: Incoming,
        call: Box<Call>,
        lease: Lease,
        idle: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Self {
        let ended = incoming.is_end_stream();
        let mut body = Self {
            content: Content::Upstream(incoming),
            call: Some(call),
            lease: Some(lease),
            limits: None,
        };
        if ended {
            body.finish();
        } else if idle.is_some() || deadline.is_some() {
            let now = Instant::now();
            let first = idle
                .map(|idle| now + idle)
                .into_iter()
                .chain(deadline)
                .min();
            body.limits = Some(Box::pin(Limits {
                idle,
                deadline,
                sleep: Box::pin(tokio::time::sleep_until(first.unwrap_or(now))),
                last: now,
            }));
        }
        body
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        if let Some(call) = &mut self.call {
            call.complete();
        }
    }
}

impl Limits {
    /// The flag of the limit that was passed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Flag> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Flag::UpstreamRequestTimeout);
            }
            let idle_at = self.idle.map(|idle| self.last + idle);
            if idle_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Flag::StreamIdleTimeout);
            }
            let Some(next) = idle_at.into_iter().chain(self.deadline).min() else {
                return Poll::Pending;
            };
            self.sleep.as_mut().reset(next);
        }
    }
}

#[derive(Debug)]
struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the response took too long")
    }
}

impl Error for TimedOut {}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let incoming = match &mut this.content {
            Content::Full(bytes) => {
                let bytes = bytes.take();
                if let (Some(call), Some(bytes)) = (&mut this.call, &bytes) {
                    call.bytes_out += bytes.len() as u64;
                }
                if let Some(call) = &mut this.call {
                    call.complete();
                }
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Content::Upstream(incoming) => incoming,
        };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Pending => {
                if let Some(limits) = &mut this.limits {
                    let flag = ready!(limits.poll(context));
                    if let Some(call) = &mut this.call {
                        call.flag(flag);
                    }
                    return Poll::Ready(Some(Err(Box::new(TimedOut))));
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(call) = &mut this.call {
                    call.flag(Flag::UpstreamConnectionTermination);
                }
                Poll::Ready(Some(Err(Box::new(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let ended = match &this.content {
                    Content::Upstream(incoming) => incoming.is_end_stream(),
                    Content::Full(_) => true,
                };
                if let Some(call) = &mut this.call {
                    call.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if let Some(trailers) = frame.trailers_ref() {
                        call.trailers(trailers);
                    }
                }
                if let Some(limits) = &mut this.limits {
                    limits.last = Instant::now();
                }
                if ended {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_none(),
            Content::Upstream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Upstream(incoming) => incoming.size_hint(),
        }
    }
}
