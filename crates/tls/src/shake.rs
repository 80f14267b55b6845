//! A handshake of TLS 1.3 by rustls, after which the connection's keys are ours.

use std::io;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, ConnectionTrafficSecrets, Error, ExtractedSecrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::record::LARGEST_RECORD;

/// Of what has come and is not understood yet: rustls takes handshake messages of at most 64 KiB.
const MOST_HELD: usize = 128 * 1024;
const AT_ONCE: usize = 4096;
/// States in a row that neither read nor write: rustls has a handful for each flight.
const MOST_STATES: usize = 1000;

type NextKeys = Result<(u64, ConnectionTrafficSecrets), Error>;

/// What derives further keys from a connection's secrets (RFC 8446 §7.2).
pub trait Rekey: Send + Sync {
    fn next_to_send(&mut self) -> NextKeys;
    fn next_to_receive(&mut self) -> NextKeys;
}

impl<Side> Rekey for KernelConnection<Side>
where
    Side: Send + Sync,
{
    fn next_to_send(&mut self) -> NextKeys {
        self.update_tx_secret()
    }

    fn next_to_receive(&mut self) -> NextKeys {
        self.update_rx_secret()
    }
}

/// One end of a handshake.
pub trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn settled(&self) -> &CommonState;
    fn secrets(self) -> Result<(ExtractedSecrets, Box<dyn Rekey>), Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }

    fn settled(&self) -> &CommonState {
        self
    }

    fn secrets(self) -> Result<(ExtractedSecrets, Box<dyn Rekey>), Error> {
        let (secrets, rekey) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Box::new(rekey)))
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, came: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(came)
    }

    fn settled(&self) -> &CommonState {
        self
    }

    fn secrets(self) -> Result<(ExtractedSecrets, Box<dyn Rekey>), Error> {
        let (secrets, rekey) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Box::new(rekey)))
    }
}

/// What came behind the handshake.
#[derive(Debug, Default)]
pub struct Early {
    /// Data that rustls has opened already.
    pub plain: Vec<u8>,
    /// Records that it has not looked at.
    pub sealed: Vec<u8>,
    /// The peer has closed its direction.
    pub closed: bool,
}

/// # Errors
/// The handshake failed, and the peer has been told by an alert, or the socket did.
pub async fn shake<S: Side>(side: &mut S, socket: &mut TcpStream) -> io::Result<Early> {
    let mut early = Early::default();
    let mut outgoing = Vec::new();
    for _ in 0..MOST_STATES {
        let UnbufferedStatus { discard, state } = side.process(&mut early.sealed);
        let mut blocked = false;
        let mut transmit = false;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut outgoing)?,
            Ok(ConnectionState::TransmitTlsData(data)) => {
                transmit = true;
                data.done();
            }
            Ok(ConnectionState::BlockedHandshake) => blocked = true,
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    early
                        .plain
                        .extend_from_slice(record.map_err(invalid)?.payload);
                }
            }
            Ok(ConnectionState::PeerClosed) => early.closed = true,
            Ok(ConnectionState::WriteTraffic(_)) => {
                early.sealed.drain(..discard);
                if early.sealed.is_empty() {
                    early.sealed = Vec::new();
                }
                // A server could send before its client is known: never here.
                if side.settled().is_handshaking() {
                    return Err(invalid(Error::HandshakeNotComplete));
                }
                return Ok(early);
            }
            Ok(_) => return Err(invalid(Error::HandshakeNotComplete)),
            Err(error) => {
                early.sealed.drain(..discard);
                tell(side, &mut early.sealed, socket).await;
                return Err(invalid(error));
            }
        }
        early.sealed.drain(..discard);
        if transmit {
            socket.write_all(&outgoing).await?;
            outgoing.clear();
        }
        if blocked {
            receive(socket, &mut early.sealed).await?;
        }
    }
    Err(io::Error::other("a TLS handshake makes no progress"))
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let start = outgoing.len();
    let needed = match data.encode(&mut []) {
        Ok(_) => 0,
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(io::Error::other(error)),
    };
    outgoing.resize(start + needed, 0);
    if needed > 0 {
        data.encode(&mut outgoing[start..])
            .map_err(io::Error::other)?;
    }
    Ok(())
}

async fn receive(socket: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<()> {
    if held.len() > MOST_HELD - LARGEST_RECORD {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("expected a TLS handshake of at most {MOST_HELD} bytes, found more"),
        ));
    }
    held.reserve(AT_ONCE);
    if socket.read_buf(held).await? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "tls handshake eof",
        ));
    }
    Ok(())
}

/// Sends the alert that a failed handshake has left, if the socket takes it.
async fn tell<S: Side>(side: &mut S, came: &mut [u8], socket: &mut TcpStream) {
    let mut outgoing = Vec::new();
    while let Ok(ConnectionState::EncodeTlsData(mut data)) = side.process(came).state {
        if encode(&mut data, &mut outgoing).is_err() {
            return;
        }
    }
    if let Err(error) = socket.write_all(&outgoing).await {
        tracing::debug!(%error, "the peer does not hear why its handshake failed");
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
