//! A TLS 1.3 connection as a stream of bytes, which holds no buffer while nothing moves.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ExtractedSecrets;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::record::{
    Content, Keys, LARGEST_FRAGMENT, LARGEST_RECORD, OVERHEAD, Record, RecordError, fragments,
};
use crate::shake::{Early, Rekey};

/// Records that are sealed or opened in one go.
const RECORDS_AT_ONCE: usize = 8;
/// Records in a row that carry nothing to read.
const MOST_EMPTY: u32 = 32;
/// Buffers that a thread keeps for the next write.
const KEPT: usize = 4;

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const WARNING: u8 = 1;
const FATAL: u8 = 2;

thread_local! {
    static SEALED: RefCell<Vec<u8>> = RefCell::new(vec![0; RECORDS_AT_ONCE * (LARGEST_FRAGMENT + OVERHEAD) + LARGEST_RECORD]);
    static OPENED: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST_RECORD]);
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// One end of an established connection.
pub struct SessionStream {
    socket: TcpStream,
    receive: Keys,
    send: Keys,
    rekey: Box<dyn Rekey>,
    /// A client may be sent tickets, which it passes over; a server may not.
    client: bool,
    /// Came, and is not opened: part of a record, or what the reader had no room for.
    sealed: Vec<u8>,
    /// Opened, and not read; from `read` on.
    plain: Vec<u8>,
    read: usize,
    /// Sealed, and not taken by the socket; from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    empty: u32,
    /// The peer has asked for another key of ours.
    key_wished: bool,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have.
    closed: bool,
    failed: Option<RecordError>,
}

impl fmt::Debug for SessionStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionStream")
            .field("socket", &self.socket)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl SessionStream {
    /// # Errors
    /// rustls gave keys that do not fit their algorithm.
    pub(crate) fn new(
        socket: TcpStream,
        (secrets, rekey): (ExtractedSecrets, Box<dyn Rekey>),
        early: Early,
        client: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            socket,
            receive: Keys::new(secrets.rx).map_err(io::Error::other)?,
            send: Keys::new(secrets.tx).map_err(io::Error::other)?,
            rekey,
            client,
            sealed: early.sealed,
            plain: early.plain,
            read: 0,
            unsent: Vec::new(),
            sent: 0,
            empty: 0,
            key_wished: false,
            ended: early.closed,
            closed: false,
            failed: None,
        })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Ends the connection for `error`: the peer is told if the socket takes it, and nothing more is read or written.
    fn fail(&mut self, context: &mut Context<'_>, error: RecordError) -> io::Error {
        if let (None, Some(alert)) = (self.failed, error.alert()) {
            let told = self
                .seal(Content::Alert, &[IoSlice::new(&[FATAL, alert])])
                .map(|()| self.poll_send(context));
            if let Ok(Poll::Pending) | Err(_) = told {
                tracing::debug!(%error, "the peer does not hear why its connection ends");
            }
        }
        self.failed = Some(error);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Seals into `unsent`, which is empty but for records that have no plaintext of the caller's.
    fn seal(&mut self, content: Content, parts: &[IoSlice<'_>]) -> Result<(), RecordError> {
        if self.unsent.capacity() == 0 {
            self.unsent = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        for fragment in fragments(parts, RECORDS_AT_ONCE) {
            if self.send.worn() || (self.key_wished && content == Content::Data) {
                self.update_own_key()?;
            }
            self.send
                .seal(content, fragment.into_iter(), &mut self.unsent)?;
        }
        Ok(())
    }

    /// Says that the next record comes under the next key (RFC 8446 §4.6.3), and goes over to it.
    fn update_own_key(&mut self) -> Result<(), RecordError> {
        let message: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
        self.send.seal(
            Content::Handshake,
            std::iter::once(message.as_slice()),
            &mut self.unsent,
        )?;
        let next = self.rekey.next_to_send().map_err(|_| RecordError::Key)?;
        self.send = Keys::new(next)?;
        self.key_wished = false;
        Ok(())
    }

    /// Gives the socket what it was not ready for.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let rest = &self.unsent[self.sent..];
            match ready!(Pin::new(&mut self.socket).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.sent += length,
            }
        }
        if self.unsent.capacity() > 0 {
            let mut spare = std::mem::take(&mut self.unsent);
            self.sent = 0;
            spare.clear();
            SPARE.with_borrow_mut(|spares| {
                if spares.len() < KEPT {
                    spares.push(spare);
                }
            });
        }
        Poll::Ready(Ok(()))
    }

    /// Hands on what is opened already.
    fn take_plain(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.read..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.read += length;
        if self.read == self.plain.len() {
            self.plain = Vec::new();
            self.read = 0;
        }
    }

    /// Reads once from the socket if no whole record lies there, and opens what has come into `buffer`.
    fn poll_open(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let held = self.sealed.len();
        scratch[..held].copy_from_slice(&self.sealed);
        let mut filled = held;
        let whole = match Record::first(&scratch[..held]) {
            Ok(record) => record.is_some(),
            Err(error) => return Poll::Ready(Err(self.fail(context, error))),
        };
        if !whole {
            // No more than is soon read: what the reader has no room for would have to be kept.
            let wanted = (buffer.remaining() + RECORDS_AT_ONCE * OVERHEAD).max(LARGEST_RECORD);
            let end = scratch.len().min(held + wanted);
            let mut came = ReadBuf::new(&mut scratch[held..end]);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "peer closed connection without sending TLS close_notify",
                )));
            }
            filled += came.filled().len();
        }
        let used = match self.open_all(&scratch[..filled], buffer) {
            Ok(used) => used,
            Err(error) => return Poll::Ready(Err(self.fail(context, error))),
        };
        let rest = &scratch[used..filled];
        if rest.is_empty() {
            self.sealed = Vec::new();
        } else {
            self.sealed.clear();
            self.sealed.extend_from_slice(rest);
        }
        Poll::Ready(Ok(()))
    }

    /// Opens whole records for as long as there is room. Returns how many bytes of `sealed` they were.
    fn open_all(&mut self, sealed: &[u8], buffer: &mut ReadBuf<'_>) -> Result<usize, RecordError> {
        let mut used = 0;
        while !self.ended && self.plain.is_empty() && buffer.remaining() > 0 {
            let Some(record) = Record::first(&sealed[used..])? else {
                break;
            };
            used += record.wire();
            if record.room() <= buffer.remaining() {
                let room = buffer.initialize_unfilled_to(record.room());
                match self.receive.open(&record, room)? {
                    (Content::Data, length) => {
                        buffer.advance(length);
                        self.count(length)?;
                    }
                    (content, length) => {
                        let message = room[..length].to_vec();
                        self.control(content, &message)?;
                    }
                }
            } else {
                OPENED.with_borrow_mut(|room| match self.receive.open(&record, room)? {
                    (Content::Data, length) => {
                        self.plain.extend_from_slice(&room[..length]);
                        self.take_plain(buffer);
                        self.count(length)
                    }
                    (content, length) => self.control(content, &room[..length]),
                })?;
            }
        }
        Ok(used)
    }

    fn count(&mut self, length: usize) -> Result<(), RecordError> {
        if length > 0 {
            self.empty = 0;
            return Ok(());
        }
        self.empty += 1;
        if self.empty > MOST_EMPTY {
            return Err(RecordError::Flood);
        }
        Ok(())
    }

    fn control(&mut self, content: Content, message: &[u8]) -> Result<(), RecordError> {
        self.count(0)?;
        match content {
            Content::Alert => match message {
                [_, CLOSE_NOTIFY] => self.ended = true,
                // Says that a handshake was given up; nothing follows from it here.
                [WARNING, USER_CANCELED] => {}
                [_, description] => return Err(RecordError::Alert(*description)),
                _ => return Err(RecordError::Malformed),
            },
            Content::Handshake => match message {
                // A change of keys is the last message of its record, and here always the only one.
                [KEY_UPDATE, 0, 0, 1, wish @ (0 | 1)] => {
                    let next = self.rekey.next_to_receive().map_err(|_| RecordError::Key)?;
                    self.receive = Keys::new(next)?;
                    // Ours changes before the next data (§4.6.3), so that a peer's wishes take no room until then.
                    self.key_wished |= *wish == 1;
                }
                [KEY_UPDATE, ..] => return Err(RecordError::Malformed),
                // Nothing is resumed. A ticket in several records is one that nobody in the mesh sends.
                [NEW_SESSION_TICKET, high, middle, low, rest @ ..]
                    if self.client && rest.len() >= usize_of([0, *high, *middle, *low]) => {}
                _ => return Err(RecordError::Unexpected),
            },
            Content::Data => {}
        }
        Ok(())
    }
}

fn usize_of(bytes: [u8; 4]) -> usize {
    u32::from_be_bytes(bytes).try_into().unwrap_or(usize::MAX)
}

fn failed(error: RecordError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for SessionStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if !this.plain.is_empty() {
                this.take_plain(buffer);
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 || this.ended {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failed {
                return Poll::Ready(Err(failed(error)));
            }
            let opened = SEALED.with_borrow_mut(|scratch| this.poll_open(context, buffer, scratch));
            match opened {
                Poll::Ready(result) => result?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(error) = this.failed {
            return Poll::Ready(Err(failed(error)));
        }
        if this.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_send(context))?;
        this.seal(Content::Data, parts).map_err(failed)?;
        if let Poll::Ready(Err(error)) = this.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        Poll::Ready(Ok(length.min(RECORDS_AT_ONCE * LARGEST_FRAGMENT)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed && this.failed.is_none() {
            this.closed = true;
            this.seal(Content::Alert, &[IoSlice::new(&[WARNING, CLOSE_NOTIFY])])
                .map_err(failed)?;
        }
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}
