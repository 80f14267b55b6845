//! Copying a connection both ways, holding no buffer while nothing moves.
//!
//! Reads go into one buffer of the thread. Only what the other side does not take at once is kept, at most that buffer's
//! size each way, and nothing more is read until it is gone: a slow reader slows the writer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Eight full TLS records, and room for what one has beyond its content.
const BUFFER: usize = 8 * 16 * 1024 + 512;
/// Reads in one go before others get their turn.
const READS_AT_ONCE: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Bytes that went each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// From the first to the second.
    pub forward: u64,
    pub backward: u64,
}

/// How the copying ended.
#[derive(Debug)]
pub enum End {
    /// Both sides closed their direction.
    Finished,
    /// Nothing moved for the idle timeout.
    Idle,
    /// The first side failed.
    First(io::Error),
    Second(io::Error),
}

#[derive(Default)]
struct Direction {
    pending: Vec<u8>,
    written: usize,
    ended: bool,
    shut: bool,
    unflushed: bool,
    moved: u64,
}

enum Side {
    Reader(io::Error),
    Writer(io::Error),
}

/// Copies until both sides have closed. The end of one direction is passed on at once and leaves the other open.
/// `progress` hears of what moved.
pub async fn copy_both<A, B>(
    mut first: A,
    mut second: B,
    idle_timeout: Option<Duration>,
    mut progress: impl FnMut(Copied),
) -> (Copied, End)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut forward = Direction::default();
    let mut backward = Direction::default();
    let mut reported = Copied::default();
    let mut idle = idle_timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
    let end = poll_fn(|context| {
        let there = forward.poll(context, &mut first, &mut second);
        let back = backward.poll(context, &mut second, &mut first);
        let now = Copied {
            forward: forward.moved,
            backward: backward.moved,
        };
        if now != reported {
            progress(Copied {
                forward: now.forward - reported.forward,
                backward: now.backward - reported.backward,
            });
            reported = now;
            if let (Some(idle), Some(timeout)) = (&mut idle, idle_timeout) {
                idle.as_mut().reset(Instant::now() + timeout);
            }
        }
        match (there, back) {
            (Poll::Ready(Err(Side::Reader(error))), _)
            | (_, Poll::Ready(Err(Side::Writer(error)))) => {
                return Poll::Ready(End::First(error));
            }
            (Poll::Ready(Err(Side::Writer(error))), _)
            | (_, Poll::Ready(Err(Side::Reader(error)))) => {
                return Poll::Ready(End::Second(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Finished),
            _ => {}
        }
        if let Some(idle) = &mut idle {
            ready!(Future::poll(idle.as_mut(), context));
            return Poll::Ready(End::Idle);
        }
        Poll::Pending
    })
    .await;
    let copied = Copied {
        forward: forward.moved,
        backward: backward.moved,
    };
    (copied, end)
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Side>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..READS_AT_ONCE {
            ready!(self.drain(context, writer))?;
            // A writer that holds back what it took is asked first: it would take no more.
            if self.unflushed {
                ready!(Pin::new(&mut *writer).poll_flush(context)).map_err(Side::Writer)?;
                self.unflushed = false;
            }
            if self.ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(context)).ok();
                self.shut = true;
                return Poll::Ready(Ok(()));
            }
            let read = SCRATCH
                .with_borrow_mut(|scratch| self.read_and_write(context, reader, writer, scratch));
            match read {
                Poll::Ready(result) => result?,
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<Result<(), Side>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            match ready!(Pin::new(&mut *writer).poll_write(context, rest)) {
                Ok(0) => return Poll::Ready(Err(Side::Writer(io::ErrorKind::WriteZero.into()))),
                Ok(length) => self.written += length,
                Err(error) => return Poll::Ready(Err(Side::Writer(error))),
            }
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn read_and_write<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Side>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(reader).poll_read(context, &mut buffer)).map_err(Side::Reader)?;
        let mut rest = buffer.filled();
        self.ended = rest.is_empty();
        self.moved += rest.len() as u64;
        while !rest.is_empty() {
            match Pin::new(&mut *writer).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Side::Writer(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(length)) => rest = &rest[length..],
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Side::Writer(error))),
                Poll::Pending => {
                    self.pending = rest.to_vec();
                    self.written = 0;
                    break;
                }
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
