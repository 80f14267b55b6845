//! The body of a message that came in: a caller's request, or an endpoint's response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::body::BodyError;
use crate::http1::RequestBody;
use crate::http1::endpoint;

pub enum Incoming {
    Empty,
    /// A request over HTTP/1.1.
    Caller(RequestBody),
    /// A response over HTTP/1.1.
    Endpoint(endpoint::ResponseBody),
    Http2(hyper::body::Incoming),
}

impl From<hyper::body::Incoming> for Incoming {
    fn from(body: hyper::body::Incoming) -> Self {
        Self::Http2(body)
    }
}

impl Incoming {
    /// Goes on sending the request that this answers, where that has not ended.
    pub fn poll_upload(&mut self, context: &mut Context<'_>) {
        if let Self::Endpoint(body) = self {
            body.poll_upload(context);
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Caller(body) => body.poll_frame(context),
            Self::Endpoint(body) => body.poll_frame(context),
            Self::Http2(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|error| Box::new(error) as BodyError),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Caller(body) => body.is_end_stream(),
            Self::Endpoint(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Caller(body) => body.size_hint(),
            Self::Endpoint(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
