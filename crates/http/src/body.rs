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
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::call::Call;
use crate::http1::Broken;
use crate::http2::patience::{self, Patience};
use crate::incoming::Incoming;
use crate::pool::Lease;
use crate::upgrade::Tunnel;
use hauberk_telemetry::flags::Flag;

pub type BodyError = Box<dyn Error + Send + Sync>;

/// Bytes of a request body kept for the retries that the route wants.
pub const KEPT_FOR_RETRIES: usize = 64 * 1024;
/// Bytes kept where an endpoint may refuse a request that it has not looked at (RFC 9113 §8.7).
pub const KEPT_FOR_REFUSAL: usize = 8 * 1024;
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
    /// Bytes that are kept at most.
    keep: usize,
    /// Something was read and not kept.
    lost: bool,
    attempt: u32,
    bytes: u64,
    ended_at: Option<Instant>,
    broken: Option<Broken>,
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
    /// `early` is what was read of it already; `keep`: so many bytes, so that the request can be sent again.
    pub fn new(incoming: Incoming, early: Early, keep: usize) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(UploadState {
                ended_at: incoming.is_end_stream().then(Instant::now),
                incoming,
                bytes: early.bytes as u64,
                kept_bytes: early.bytes,
                kept: early.pieces,
                keep,
                lost: false,
                attempt: 0,
                broken: None,
                copies: Vec::new(),
            }),
        })
    }

    /// A body that gets what is read from now on; it fails if it lags too far behind.
    pub fn copy(&self) -> RequestBody {
        let mut state = self.state.borrow_mut();
        if state.kept.is_empty() && state.incoming.is_end_stream() {
            return RequestBody(Kind::Empty);
        }
        let (sender, pieces) = mpsc::channel(MOST_BEHIND + state.kept.len() + 1);
        for piece in &state.kept {
            // There is room for all of them.
            sender.try_send(Some(piece.clone())).ok();
        }
        if state.incoming.is_end_stream() {
            sender.try_send(None).ok();
        } else {
            state.copies.push(sender);
        }
        RequestBody(Kind::Copy(pieces))
    }

    /// The body for one more attempt; earlier ones get no more of it. `None`: part of it is gone.
    pub fn attempt(self: &Rc<Self>) -> Option<RequestBody> {
        let mut state = self.state.borrow_mut();
        if state.lost {
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
        !self.state.borrow().lost
    }

    /// How it came to a bad end, if it did: the caller broke it off, or sent it against the rules.
    pub fn broken(&self) -> Option<Broken> {
        self.state.borrow().broken
    }

    pub fn bytes(&self) -> u64 {
        self.state.borrow().bytes
    }

    pub fn ended_at(&self) -> Option<Instant> {
        self.state.borrow().ended_at
    }
}

/// What a filter has read of a request's body before the request goes on: it goes on first.
#[derive(Default)]
pub struct Early {
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Early {
    /// Reads on until there are more than `most` bytes, or all.
    ///
    /// # Errors
    /// The caller's connection broke, or it does not speak HTTP.
    pub async fn read(&mut self, incoming: &mut Incoming, most: usize) -> Result<(), BodyError> {
        while self.bytes <= most && !incoming.is_end_stream() {
            let frame =
                std::future::poll_fn(|context| Pin::new(&mut *incoming).poll_frame(context));
            let Some(frame) = frame.await else {
                return Ok(());
            };
            let frame = frame?;
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
            self.pieces.extend(Piece::of(&frame));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Other bytes in the place of all that was read; trailers stay.
    pub fn replace(&mut self, bytes: Bytes) {
        self.pieces
            .retain(|piece| matches!(piece, Piece::Trailers(_)));
        self.bytes = bytes.len();
        if !bytes.is_empty() {
            self.pieces.insert(0, Piece::Data(bytes));
        }
    }

    /// The first bytes, `most` of them.
    pub fn first(&self, most: usize) -> Bytes {
        let mut all = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Data(data) => Some(data),
            Piece::Trailers(_) => None,
        });
        let first = all.next().cloned().unwrap_or_default();
        if first.len() == self.bytes {
            return first.slice(..self.bytes.min(most));
        }
        let mut joined = first.to_vec();
        for data in all {
            joined.extend_from_slice(data);
        }
        joined.truncate(most);
        joined.into()
    }
}

/// Writes a body of the proxy's own.
pub struct Writer(mpsc::Sender<Option<Piece>>);

impl Writer {
    /// Whether there was room: the other side takes what it is sent.
    pub fn write(&self, bytes: Bytes) -> bool {
        self.0.try_send(Some(Piece::Data(bytes))).is_ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // One that has no room is broken off.
        self.0.try_send(None).ok();
    }
}

/// What goes to an endpoint.
pub struct RequestBody(Kind);

impl RequestBody {
    /// A body that is written piece by piece, until its end or until the writer is gone, which breaks it.
    pub fn written() -> (Writer, Self) {
        let (sender, pieces) = mpsc::channel(MOST_BEHIND);
        (Writer(sender), Self(Kind::Copy(pieces)))
    }

    /// A body that the proxy has whole.
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self(Kind::Empty)
        } else {
            Self(Kind::Full(Some(bytes)))
        }
    }
}

enum Kind {
    Empty,
    Full(Option<Bytes>),
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
            Kind::Full(bytes) => return Poll::Ready(bytes.take().map(|all| Ok(Frame::data(all)))),
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
                state.broken = Some(error.downcast_ref().copied().unwrap_or(Broken::Other));
                Poll::Ready(Some(Err(error)))
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
                if !state.lost {
                    if state.kept_bytes + length <= state.keep {
                        state.kept_bytes += length;
                        state.kept.extend(Piece::of(&frame));
                        *next += 1;
                    } else {
                        state.lost = true;
                        state.kept = Vec::new();
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
            Kind::Full(bytes) => bytes.is_none(),
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
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
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
    patience: Option<Rc<Patience>>,
    /// Behind a body that is held.
    trailers: Option<HeaderMap>,
}

enum Content {
    Full(Option<Bytes>),
    Upstream(Incoming),
    /// No body follows the head, but another protocol.
    Tunnel(Option<Box<Tunnel>>),
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
        let mut call = call;
        if let (true, Some(call)) = (bytes.is_empty(), &mut call) {
            call.complete();
        }
        Self {
            content: Content::Full(Some(bytes).filter(|bytes| !bytes.is_empty())),
            call,
            lease: None,
            limits: None,
            patience: None,
            trailers: None,
        }
    }

    /// Other bytes than were meant first.
    pub fn replace(&mut self, bytes: Bytes) {
        if let Some(call) = &mut self.call {
            call.bytes_out = 0;
        }
        self.content = Content::Full(Some(bytes).filter(|bytes| !bytes.is_empty()));
    }

    /// Reads all of it, `most` bytes of data at most, and holds it. `None`: there is more.
    ///
    /// # Errors
    /// The endpoint broke off, or took too long.
    pub async fn gather(&mut self, most: usize) -> Result<Option<Bytes>, BodyError> {
        let mut gathered = bytes::BytesMut::new();
        while !self.is_end_stream() {
            let frame = std::future::poll_fn(|context| {
                self.poll_upload(context);
                Pin::new(&mut *self).poll_frame(context)
            });
            let Some(frame) = frame.await else {
                break;
            };
            match frame?.into_data() {
                Ok(data) if gathered.len() + data.len() > most => return Ok(None),
                Ok(data) => gathered.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        let all = gathered.freeze();
        self.replace(all.clone());
        Ok(Some(all))
    }

    /// The call whose accounts this body carries, for another answer in its place.
    pub fn take_call(&mut self) -> Option<Box<Call>> {
        self.call.take()
    }

    /// Tells `patience` of each frame that is handed out and of the next that is asked for.
    pub fn watch(&mut self, patience: Rc<Patience>) {
        self.patience = Some(patience);
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
            patience: None,
            trailers: None,
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

    /// Until when the caller must have taken a frame that it is handed now.
    fn patient_until(&self, now: Instant) -> Instant {
        let limits = self.limits.as_ref();
        let idle = limits
            .and_then(|limits| limits.idle)
            .unwrap_or(patience::LONGEST);
        let deadline = limits.and_then(|limits| limits.deadline);
        deadline.map_or(now + idle, |deadline| deadline.min(now + idle))
    }

    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self {
            content: Content::Tunnel(Some(Box::new(tunnel))),
            call: None,
            lease: None,
            limits: None,
            patience: None,
            trailers: None,
        }
    }

    /// Its head was all that was to be sent.
    pub fn withheld(&mut self) {
        if let Some(call) = &mut self.call {
            call.complete();
        }
    }

    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.content {
            Content::Tunnel(tunnel) => tunnel.take(),
            Content::Full(_) | Content::Upstream(_) => None,
        }
    }

    /// Goes on sending the request, where that has not ended.
    pub fn poll_upload(&mut self, context: &mut Context<'_>) {
        if let Content::Upstream(incoming) = &mut self.content {
            incoming.poll_upload(context);
        }
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let lost = self.patience.as_ref().is_some_and(|one| one.lost());
        if lost && let Some(call) = &mut self.call {
            let deadline = self.limits.as_ref().and_then(|limits| limits.deadline);
            call.flag(match deadline {
                Some(deadline) if deadline <= Instant::now() => Flag::UpstreamRequestTimeout,
                _ => Flag::StreamIdleTimeout,
            });
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
        if let Some(patience) = &this.patience {
            patience.end();
        }
        let incoming = match &mut this.content {
            Content::Full(bytes) => {
                let bytes = bytes.take();
                if let (Some(call), Some(bytes)) = (&mut this.call, &bytes) {
                    call.bytes_out += bytes.len() as u64;
                }
                if let Some(call) = &mut this.call {
                    call.complete();
                }
                if let Some(patience) = &this.patience {
                    patience.begin(Instant::now() + patience::LONGEST);
                }
                let frame = match bytes {
                    Some(bytes) => Some(Frame::data(bytes)),
                    None => this.trailers.take().map(Frame::trailers),
                };
                return Poll::Ready(frame.map(Ok));
            }
            Content::Upstream(incoming) => incoming,
            Content::Tunnel(_) => return Poll::Ready(None),
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
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let ended = match &this.content {
                    Content::Upstream(incoming) => incoming.is_end_stream(),
                    Content::Full(_) | Content::Tunnel(_) => true,
                };
                if let Some(call) = &mut this.call {
                    call.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if let Some(trailers) = frame.trailers_ref() {
                        call.trailers(trailers);
                    }
                }
                let now = Instant::now();
                if let Some(limits) = &mut this.limits {
                    limits.last = now;
                }
                if let Some(patience) = &this.patience {
                    patience.begin(this.patient_until(now));
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
            Content::Full(bytes) => bytes.is_none() && self.trailers.is_none(),
            Content::Upstream(incoming) => incoming.is_end_stream(),
            Content::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Upstream(incoming) => incoming.size_hint(),
            Content::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
