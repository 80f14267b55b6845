//! What the server of a caller's connection and the body of the request at hand share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hauberk_http1::{BodyLength, Malformed, Piece, encode};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::body::BodyError;
use crate::http1::arriving::Arriving;
use crate::http1::wire::Wire;

#[derive(Debug)]
pub struct Link {
    pub wire: RefCell<Wire>,
    pub request: Cell<Stage>,
    /// A body that nobody reads any more.
    pub abandoned: RefCell<Option<Arriving>>,
    /// The caller waits for `100 Continue`.
    pub owes_continue: Cell<bool>,
    /// Since when somebody waits for more of the body.
    pub waits_since: Cell<Option<Instant>>,
    /// The body took too long.
    pub late: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    pub server: RefCell<Option<Waker>>,
}

/// How far a request has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Arriving,
    Whole,
    /// Its body came to a bad end; nothing more can be read from here.
    Broken,
}

/// A request's body, read from the caller's connection when it is asked for.
#[derive(Debug)]
pub struct RequestBody {
    link: Rc<Link>,
    arriving: Arriving,
}

/// How a body came to a bad end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Malformed(Malformed),
    /// The caller sent nothing for too long.
    Late,
    /// The caller's connection failed.
    Gone,
    /// Over HTTP/2: broken off, or sent against the rules.
    Other,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(formatter),
            Self::Late => formatter.write_str("the body of the request took too long"),
            Self::Other => formatter.write_str("the caller broke its request off"),
            Self::Gone => formatter.write_str("the caller left before the end of its request"),
        }
    }
}

impl std::error::Error for Broken {}

impl Link {
    pub fn new(wire: Wire) -> Rc<Self> {
        Rc::new(Self {
            wire: RefCell::new(wire),
            request: Cell::new(Stage::Whole),
            abandoned: RefCell::default(),
            owes_continue: Cell::new(false),
            waits_since: Cell::new(None),
            late: Cell::new(false),
            reader: RefCell::default(),
            server: RefCell::default(),
        })
    }

    /// Begins a request, whose body is read by what is returned.
    pub fn begin(self: &Rc<Self>, length: BodyLength, owes_continue: bool) -> RequestBody {
        self.request.set(if length == BodyLength::NONE {
            Stage::Whole
        } else {
            Stage::Arriving
        });
        self.owes_continue.set(owes_continue);
        self.waits_since.set(None);
        self.late.set(false);
        RequestBody {
            link: Rc::clone(self),
            arriving: Arriving::new(length),
        }
    }

    /// Whoever waits for the body hears that it is late.
    pub fn give_up(&self) {
        self.late.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The server looks at the connection itself from now on: it is woken if another task read the body.
    fn settle(&self, stage: Stage, context: Option<&Context<'_>>) {
        self.request.set(stage);
        self.waits_since.set(None);
        let server = self.server.borrow();
        if let Some(server) = &*server
            && context.is_none_or(|context| !context.waker().will_wake(server))
        {
            server.wake_by_ref();
        }
    }
}

impl RequestBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        let link = &*self.link;
        let mut wire = link.wire.borrow_mut();
        loop {
            if let Some(piece) = self
                .arriving
                .next(&mut wire.unread)
                .map_err(Broken::Malformed)?
            {
                return Poll::Ready(Ok(piece));
            }
            if link.late.get() {
                return Poll::Ready(Err(Broken::Late));
            }
            if link.owes_continue.replace(false) {
                // The caller has sent nothing yet and reads nothing else: this fits into its empty buffer, or it has gone.
                let written = Pin::new(&mut wire.socket).poll_write(context, encode::CONTINUE);
                if !matches!(written, Poll::Ready(Ok(length)) if length == encode::CONTINUE.len()) {
                    return Poll::Ready(Err(Broken::Gone));
                }
                let _ = Pin::new(&mut wire.socket).poll_flush(context);
            }
            match wire.poll_fill(context) {
                Poll::Pending => {
                    if link.waits_since.get().is_none() {
                        link.waits_since.set(Some(Instant::now()));
                    }
                    let mut reader = link.reader.borrow_mut();
                    if reader
                        .as_ref()
                        .is_none_or(|known| !known.will_wake(context.waker()))
                    {
                        *reader = Some(context.waker().clone());
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(true)) => link.waits_since.set(None),
                Poll::Ready(Ok(false)) => {
                    self.arriving.close().map_err(Broken::Malformed)?;
                }
                Poll::Ready(Err(_error)) => return Poll::Ready(Err(Broken::Gone)),
            }
        }
    }

    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.arriving.is_ended() {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.poll_piece(context)) {
            Ok(piece) => piece,
            Err(broken) => {
                self.link.settle(Stage::Broken, Some(context));
                return Poll::Ready(Some(Err(Box::new(broken))));
            }
        };
        if self.arriving.is_ended() {
            self.link.settle(Stage::Whole, Some(context));
        }
        Poll::Ready(match piece {
            Piece::Data(data) => Some(Ok(Frame::data(data))),
            Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Piece::End => None,
        })
    }

    pub fn is_end_stream(&self) -> bool {
        self.arriving.is_ended()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.arriving
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.arriving.is_ended() && self.link.request.get() == Stage::Arriving {
            let arriving = std::mem::replace(&mut self.arriving, Arriving::new(BodyLength::NONE));
            *self.link.abandoned.borrow_mut() = Some(arriving);
        }
    }
}
