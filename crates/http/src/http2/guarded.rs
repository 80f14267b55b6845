//! The bytes of an HTTP/2 connection, on which a [`Meter`] looks as they pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::meter::{Flood, Meter, Peer};

pub struct Guarded<I> {
    io: I,
    meter: Meter,
}

impl<I> Guarded<I> {
    pub fn new(io: I, peer: Peer) -> Self {
        let meter = Meter::new(peer, Instant::now());
        Self { io, meter }
    }
}

fn failed(flood: Flood) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, flood)
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        let received = &buffer.filled()[before..];
        Poll::Ready(this.meter.received(received, Instant::now).map_err(failed))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.io).poll_write(context, bytes))?;
        let told = this.meter.sent(&bytes[..written], Instant::now);
        Poll::Ready(told.map(|()| written).map_err(failed))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let part = left.min(slice.len());
            left -= part;
            this.meter
                .sent(&slice[..part], Instant::now)
                .map_err(failed)?;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
