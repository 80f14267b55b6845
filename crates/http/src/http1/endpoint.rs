//! An HTTP/1.1 connection to an endpoint: one request at a time, driven by whoever waits for its response.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hauberk_http1::encode::{self, Connection, Framing};
use hauberk_http1::response::{self, Asked, ResponseHead};
use hauberk_http1::{HeadSearch, Limits, Malformed, Piece};
use http::header;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::{self, BodyError};
use crate::http1::arriving::Arriving;
use crate::http1::outgoing::{self, BodyPlan, Outgoing};
use crate::http1::wire::{Socket, Wire};
use crate::incoming::Incoming;

/// Responses that come before the response: more than a few help nobody.
const MOST_INTERIM: u32 = 16;
const LIMITS: Limits = Limits {
    head: 256 * 1024,
    first_line: 16 * 1024,
    fields: 256,
};

pub struct Endpoint {
    wire: RefCell<Wire>,
    /// The request on its way; `None`: all of it was sent.
    upload: RefCell<Option<Upload>>,
    standing: Cell<Standing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Free,
    /// A request is under way; `reusable`: the connection can be used again after it.
    Busy {
        reusable: bool,
    },
    Spent,
}

struct Upload {
    out: Outgoing,
    body: body::RequestBody,
}

/// Why a request got no response.
#[derive(Debug)]
pub enum Failure {
    /// Not a byte was sent: the request may go another way.
    Unsent,
    /// The endpoint closed without a byte of a response.
    Unanswered(io::Error),
    /// It closed within a response's head.
    Broken(io::Error),
    Malformed(Malformed),
    /// The request's own body failed.
    Request(BodyError),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent => formatter.write_str("the connection was closed before the request"),
            Self::Unanswered(error) => write!(formatter, "no response came: {error}"),
            Self::Broken(error) => write!(formatter, "half a response came: {error}"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
            Self::Request(error) => error.fmt(formatter),
        }
    }
}

impl Endpoint {
    pub fn new(socket: Socket) -> Rc<Self> {
        Rc::new(Self {
            wire: RefCell::new(Wire::new(socket)),
            upload: RefCell::default(),
            standing: Cell::new(Standing::Free),
        })
    }

    /// Whether another request can be sent: the last response has come to its end, and nothing after it.
    pub fn is_free(&self) -> bool {
        self.standing.get() == Standing::Free
    }

    /// Looks whether an idle connection was closed, or says what nobody asked for. The task of `context` is woken when
    /// something comes.
    pub fn is_quiet(&self, context: &mut Context<'_>) -> bool {
        self.is_free() && self.wire.borrow_mut().poll_fill(context).is_pending()
    }

    /// Sends a request, and waits for the response's head. The rest of both moves when the response's body is read.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(
        self: &Rc<Self>,
        request: Request<body::RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let (parts, body) = request.into_parts();
        let asked = asked(&parts);
        let framing = framing(&parts, &body);
        let target = match parts.uri.path_and_query() {
            Some(path) => path.as_str(),
            None => parts.uri.authority().map_or("/", |one| one.as_str()),
        };
        let connection = if asked == Asked::Upgrade {
            Connection::Upgrade
        } else {
            Connection::Unsaid
        };
        let announced = parts.headers.get(header::TRAILER).cloned();
        let out = Outgoing::new(BodyPlan::Framed(framing), announced, |out| {
            encode::request_head(
                out,
                &parts.method,
                target,
                &parts.headers,
                framing,
                connection,
            );
        });
        *self.upload.borrow_mut() = Some(Upload { out, body });
        self.standing.set(Standing::Busy { reusable: false });
        let mut search = HeadSearch::default();
        let mut interim = 0;
        let head = poll_fn(|context| self.poll_head(&mut search, asked, &mut interim, context));
        let head = head
            .await
            .inspect_err(|_failure| self.standing.set(Standing::Spent))?;
        Ok(self.response(head))
    }

    fn response(self: &Rc<Self>, head: ResponseHead) -> Response<Incoming> {
        self.standing.set(Standing::Busy {
            reusable: head.persistent && !head.switched,
        });
        let body = ResponseBody {
            endpoint: Rc::clone(self),
            arriving: Arriving::new(head.length),
        };
        if body.arriving.is_ended() && !head.switched {
            self.end();
        }
        let mut response = Response::new(Incoming::Endpoint(body));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    fn poll_head(
        &self,
        search: &mut HeadSearch,
        asked: Asked,
        interim: &mut u32,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        // A server may answer and close without reading on: what cannot be sent does not keep its answer from being read.
        let unsendable = match self.poll_upload(context) {
            Poll::Ready(Err(outgoing::SendError::Body(error))) => {
                return Poll::Ready(Err(Failure::Request(error)));
            }
            Poll::Ready(Err(outgoing::SendError::Length)) => {
                let error = io::Error::other("the body was not as long as was said");
                return Poll::Ready(Err(Failure::Request(Box::new(error))));
            }
            Poll::Ready(Err(outgoing::SendError::Socket(error))) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        let mut wire = self.wire.borrow_mut();
        loop {
            let found = search.find(&wire.unread, &LIMITS);
            if let Some(found) = found.map_err(Failure::Malformed)? {
                *search = HeadSearch::default();
                let head = wire.unread.split_to(found.end).slice(found.start..);
                let head = response::parse(&head, asked).map_err(Failure::Malformed)?;
                if !head.is_interim() {
                    return Poll::Ready(Ok(head));
                }
                *interim += 1;
                if *interim > MOST_INTERIM {
                    return Poll::Ready(Err(Failure::Malformed(Malformed::InterimResponses)));
                }
                continue;
            }
            let nothing = wire.unread.is_empty() && *interim == 0;
            let error = match wire.poll_fill(context) {
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) => io::ErrorKind::UnexpectedEof.into(),
                Poll::Ready(Err(error)) => error,
                Poll::Pending => match unsendable {
                    Some(error) => error,
                    None => return Poll::Pending,
                },
            };
            let upload = self.upload.borrow();
            let unsent = upload.as_ref().is_some_and(|upload| !upload.out.started);
            return Poll::Ready(Err(match (nothing, unsent) {
                (true, true) => Failure::Unsent,
                (true, false) => Failure::Unanswered(error),
                (false, _) => Failure::Broken(error),
            }));
        }
    }

    /// Sends more of the request.
    fn poll_upload(&self, context: &mut Context<'_>) -> Poll<Result<(), outgoing::SendError>> {
        let mut upload = self.upload.borrow_mut();
        let Some(Upload { out, body }) = &mut *upload else {
            return Poll::Ready(Ok(()));
        };
        ready!(out.poll_send(&self.wire, body, context))?;
        *upload = None;
        Poll::Ready(Ok(()))
    }

    /// The response has come to its end.
    fn end(&self) {
        let clean = self.wire.borrow().unread.is_empty();
        let whole = self.upload.borrow().is_none();
        let reusable = self.standing.get() == (Standing::Busy { reusable: true });
        if clean && whole && reusable {
            self.standing.set(Standing::Free);
        } else {
            self.standing.set(Standing::Spent);
            // Nobody waits for the rest of the request.
            self.upload.take();
        }
    }
}

fn asked(parts: &http::request::Parts) -> Asked {
    if parts.method == Method::CONNECT {
        Asked::Connect
    } else if parts.method == Method::HEAD {
        Asked::Head
    } else if parts.headers.contains_key(header::UPGRADE) {
        Asked::Upgrade
    } else {
        Asked::Plain
    }
}

fn framing(parts: &http::request::Parts, body: &body::RequestBody) -> Framing {
    if parts.method == Method::CONNECT {
        return Framing::Unsaid;
    }
    match body.size_hint().exact() {
        // Servers wait for a body, or complain, where these methods say nothing (RFC 9110 §8.6).
        Some(0) if !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {
            Framing::Unsaid
        }
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// A response's body. Reading it goes on sending the request, too.
pub struct ResponseBody {
    endpoint: Rc<Endpoint>,
    arriving: Arriving,
}

impl ResponseBody {
    pub fn poll_upload(&mut self, context: &mut Context<'_>) {
        if !self.arriving.is_ended() {
            // If it fails the response is still good, and the connection is not used again.
            let _ = self.endpoint.poll_upload(context);
        }
    }

    pub fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.arriving.is_ended() {
            return Poll::Ready(None);
        }
        self.poll_upload(context);
        let piece = match ready!(self.poll_piece(context)) {
            Ok(piece) => piece,
            Err(error) => {
                self.endpoint.standing.set(Standing::Spent);
                return Poll::Ready(Some(Err(error)));
            }
        };
        if self.arriving.is_ended() {
            self.endpoint.end();
        }
        Poll::Ready(match piece {
            Piece::Data(data) => Some(Ok(Frame::data(data))),
            Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Piece::End => None,
        })
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let mut wire = self.endpoint.wire.borrow_mut();
        loop {
            if let Some(piece) = self.arriving.next(&mut wire.unread)? {
                return Poll::Ready(Ok(piece));
            }
            if !ready!(wire.poll_fill(context))? {
                self.arriving.close()?;
            }
        }
    }

    pub fn is_end_stream(&self) -> bool {
        self.arriving.is_ended()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.arriving
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The connection, after a switch of protocols.
    pub fn into_tunnel(self) -> Far {
        Far(Rc::clone(&self.endpoint))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.arriving.is_ended() {
            self.endpoint.standing.set(Standing::Spent);
            self.endpoint.upload.take();
        }
    }
}

/// An endpoint's connection after its protocol was switched.
pub struct Far(Rc<Endpoint>);

impl AsyncRead for Far {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.wire.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Far {
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
