//! A socket, and what was read from it and not yet used.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hauberk_tls::TlsStream;
use hauberk_upstream::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

pub type Socket = Stream<TlsStream>;

/// Bytes read at once.
const READ: usize = 64 * 1024;
/// Up to so many bytes are copied out of the thread's buffer; more of them keep it, and the thread makes another.
const COPIED: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<BytesMut> = Cell::default();
}

#[derive(Debug)]
pub struct Wire {
    pub socket: Socket,
    pub unread: Bytes,
}

impl Wire {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            unread: Bytes::new(),
        }
    }

    /// Puts what comes next behind `unread`; false: the peer has closed.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buffer = SPARE.take();
        buffer.reserve(READ);
        let read = pin!(self.socket.read_buf(&mut buffer)).poll(context);
        let result = match read {
            Poll::Ready(Ok(length)) if length > COPIED => {
                self.append(buffer.freeze());
                return Poll::Ready(Ok(true));
            }
            Poll::Ready(Ok(length)) => {
                if length > 0 {
                    self.append(Bytes::copy_from_slice(&buffer));
                }
                Poll::Ready(Ok(length > 0))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        buffer.clear();
        SPARE.set(buffer);
        result
    }

    fn append(&mut self, bytes: Bytes) {
        if self.unread.is_empty() {
            self.unread = bytes;
            return;
        }
        let unread = std::mem::take(&mut self.unread).try_into_mut();
        let mut joined = unread.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        joined.extend_from_slice(&bytes);
        self.unread = joined.freeze();
    }
}

/// As what it becomes once its protocol was switched: a connection of any bytes.
impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let length = buffer.remaining().min(self.unread.len());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Waits until `wire` can be written, and writes: `head`, then `data`. How many bytes went.
pub fn poll_write_both(
    socket: &mut Socket,
    context: &mut Context<'_>,
    head: &[u8],
    data: &[u8],
) -> Poll<io::Result<usize>> {
    let mut socket = Pin::new(socket);
    let written = if data.is_empty() {
        ready!(socket.as_mut().poll_write(context, head))?
    } else if head.is_empty() {
        ready!(socket.as_mut().poll_write(context, data))?
    } else {
        let both = [io::IoSlice::new(head), io::IoSlice::new(data)];
        ready!(socket.as_mut().poll_write_vectored(context, &both))?
    };
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    Poll::Ready(Ok(written))
}
