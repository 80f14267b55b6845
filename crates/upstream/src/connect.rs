//! Connecting to an endpoint.

use std::fmt;
use std::io;
use std::rc::Rc;

use hauberk_net::socket::{self, Origin};
use hauberk_tls::{Carried, ContextError, Session, TlsStream};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::host::Host;
use crate::outlier::Outcome;
use crate::stream::Stream;
use crate::target::Transport;

/// A connection, and what TLS settled on it.
#[derive(Debug)]
pub struct Connected {
    pub stream: Stream<TlsStream>,
    pub session: Option<Rc<Session>>,
}

#[derive(Debug)]
pub enum ConnectError {
    /// The endpoint did not answer within the cluster's connect timeout.
    Timeout,
    Tcp(io::Error),
    Tls(io::Error),
    /// TLS is configured and cannot be used.
    Context(ContextError),
}

impl ConnectError {
    /// As outlier detection counts it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Timeout => Outcome::TimedOut,
            Self::Tcp(_) | Self::Tls(_) | Self::Context(_) => Outcome::Failed,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(formatter, "connection timeout"),
            Self::Tcp(error) => write!(formatter, "{error}"),
            Self::Tls(error) => write!(formatter, "TLS handshake: {error}"),
            Self::Context(error) => write!(formatter, "{error}"),
        }
    }
}

impl<P> Cluster<P> {
    /// TCP and, if the endpoint has it, TLS; both within the connect timeout.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        host: &Host<P>,
        origin: Origin,
        authority: Option<&str>,
        carried: Carried,
    ) -> Result<Connected, ConnectError> {
        let config = &self.target.config;
        let deadline = Instant::now() + config.connect_timeout;
        if let Transport::Broken(error) = &*host.transport {
            return Err(ConnectError::Context(error.clone()));
        }
        let connecting = socket::connect(
            host.address,
            origin,
            config.keepalive,
            config.connect_timeout,
        );
        let stream = connecting.await.map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                ConnectError::Timeout
            } else {
                ConnectError::Tcp(error)
            }
        })?;
        match &*host.transport {
            Transport::Tls(context) => {
                let handshake = context.connect(stream, host.address.ip(), authority, carried);
                let (stream, session) = tokio::time::timeout_at(deadline, handshake)
                    .await
                    .map_err(|_elapsed| ConnectError::Timeout)?
                    .map_err(ConnectError::Tls)?;
                Ok(Connected {
                    stream: Stream::Tls(Box::new(stream)),
                    session: Some(Rc::new(session)),
                })
            }
            Transport::Plain | Transport::Broken(_) => Ok(Connected {
                stream: Stream::Plain(stream),
                session: None,
            }),
        }
    }
}
