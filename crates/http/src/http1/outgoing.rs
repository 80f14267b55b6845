//! A message on its way out: its head and as much of its body as there is, in one write where that is possible.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hauberk_http1::encode::{self, Framing};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::body::BodyError;
use crate::http1::wire::{Socket, Wire, poll_write_both};

/// Up to so many bytes of data are copied behind the head; more are written from where they lie.
const COPIED: usize = 4096;
/// Gathered before it is written.
const GATHERED: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug)]
pub struct Outgoing {
    /// Ready to be written from `at` on. Its memory is the thread's while it is empty.
    queue: Vec<u8>,
    at: usize,
    /// Goes behind the queue.
    data: Bytes,
    data_ends_chunk: bool,
    body: Remaining,
    unflushed: bool,
    /// `trailer` of the message's head.
    announced: Option<HeaderValue>,
    /// A byte was given to the kernel.
    pub started: bool,
}

/// What of the body has still to come.
#[derive(Debug, PartialEq, Eq)]
enum Remaining {
    Known(u64),
    Chunks,
    /// The end of the connection will end it.
    UntilClose,
    /// No body is written, whatever there is.
    Withheld,
    Done,
}

#[derive(Debug)]
pub enum SendError {
    Socket(io::Error),
    /// Who was to give the body failed.
    Body(BodyError),
    /// The body was longer or shorter than was said.
    Length,
}

/// How a message's body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    Framed(Framing),
    UntilClose,
    Withheld,
}

impl Outgoing {
    /// `head` writes the message's head.
    pub fn new(
        plan: BodyPlan,
        announced: Option<HeaderValue>,
        head: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut queue = SPARE.take();
        head(&mut queue);
        Self {
            queue,
            at: 0,
            data: Bytes::new(),
            data_ends_chunk: false,
            body: match plan {
                BodyPlan::Framed(Framing::Length(length)) => Remaining::Known(length),
                BodyPlan::Framed(Framing::Chunked) => Remaining::Chunks,
                BodyPlan::Framed(Framing::Unsaid | Framing::AsToldBy) => Remaining::Known(0),
                BodyPlan::UntilClose => Remaining::UntilClose,
                BodyPlan::Withheld => Remaining::Withheld,
            },
            unflushed: false,
            announced,
            started: false,
        }
    }

    /// Writes until everything is out. The socket is not held while the body is asked: what that does may need it.
    pub fn poll_send<B>(
        &mut self,
        wire: &RefCell<Wire>,
        body: &mut B,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        loop {
            let mut waits = false;
            while self.body != Remaining::Done
                && self.data.is_empty()
                && self.queue.len() - self.at < GATHERED
            {
                match self.poll_body(body, context)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        waits = true;
                        break;
                    }
                }
            }
            let written = self.poll_write(&mut wire.borrow_mut().socket, context);
            ready!(written).map_err(SendError::Socket)?;
            if self.body == Remaining::Done {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes one frame of the body.
    fn poll_body<B>(
        &mut self,
        body: &mut B,
        context: &mut Context<'_>,
    ) -> Result<Poll<()>, SendError>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        if self.body == Remaining::Withheld {
            self.body = Remaining::Done;
            return Ok(Poll::Ready(()));
        }
        if body.is_end_stream() {
            self.finish(None)?;
            return Ok(Poll::Ready(()));
        }
        let frame = match Pin::new(&mut *body).poll_frame(context) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(None) => {
                self.finish(None)?;
                return Ok(Poll::Ready(()));
            }
            Poll::Ready(Some(frame)) => frame.map_err(SendError::Body)?,
        };
        match frame.into_data() {
            Ok(data) => self.push(data)?,
            Err(frame) => {
                let trailers = frame.into_trailers().ok();
                self.finish(trailers.as_ref())?;
            }
        }
        Ok(Poll::Ready(()))
    }

    fn push(&mut self, data: Bytes) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        let chunked = match &mut self.body {
            Remaining::Known(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(SendError::Length)?;
                false
            }
            Remaining::Chunks => true,
            Remaining::UntilClose => false,
            Remaining::Withheld | Remaining::Done => return Ok(()),
        };
        if chunked {
            encode::chunk_head(&mut self.queue, data.len());
        }
        if data.len() > COPIED {
            self.data = data;
            self.data_ends_chunk = chunked;
        } else {
            self.queue.extend_from_slice(&data);
            if chunked {
                self.queue.extend_from_slice(encode::CHUNK_END);
            }
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), SendError> {
        match self.body {
            Remaining::Known(left) if left > 0 => return Err(SendError::Length),
            Remaining::Chunks => {
                encode::last_chunk(&mut self.queue, trailers, self.announced.as_ref());
            }
            _ => {}
        }
        self.body = Remaining::Done;
        Ok(())
    }

    /// Writes what is ready.
    fn poll_write(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.at < self.queue.len() || !self.data.is_empty() {
            let head = &self.queue[self.at..];
            let waiting = head.len();
            let written = ready!(poll_write_both(socket, context, head, &self.data))?;
            self.started = true;
            self.unflushed = true;
            self.at += written.min(waiting);
            if written > waiting {
                drop(self.data.split_to(written - waiting));
            }
            if self.at == self.queue.len() {
                self.queue.clear();
                self.at = 0;
                if self.data.is_empty() && std::mem::take(&mut self.data_ends_chunk) {
                    self.queue.extend_from_slice(encode::CHUNK_END);
                    break;
                }
            }
        }
        if self.at == self.queue.len() && self.queue.capacity() > 0 {
            self.give_back();
        }
        if self.unflushed {
            ready!(Pin::new(socket).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that the peer has not taken yet.
    pub fn waiting(&self) -> usize {
        self.queue.len() - self.at + self.data.len()
    }

    fn give_back(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.clear();
        self.at = 0;
        if (1..=2 * GATHERED).contains(&queue.capacity()) {
            SPARE.set(queue);
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.give_back();
    }
}
