//! What a handshake settled.

use std::sync::Arc;

use rustls::{CommonState, ProtocolVersion};

use crate::identity::Peer;
use crate::names::Names;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub peer: Option<Peer>,
    /// Our own certificate's.
    pub own: Arc<Names>,
    pub alpn: Option<String>,
    pub version: &'static str,
    /// IANA's name.
    pub cipher: String,
    /// IANA's name.
    pub group: String,
}

impl Session {
    pub(crate) fn of(connection: &CommonState, peer: Option<Peer>, own: Arc<Names>) -> Self {
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str().map(str::to_owned));
        let group = connection
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str().map(str::to_owned));
        Self {
            peer,
            own,
            alpn: connection
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            // rustls calls the TLS 1.3 suites TLS13_…, IANA TLS_….
            cipher: cipher.unwrap_or_default().replace("TLS13_", "TLS_"),
            group: group.unwrap_or_default(),
        }
    }

    /// The peer's SPIFFE ID, if it was verified and has one.
    pub fn peer_id(&self) -> Option<&str> {
        self.peer
            .as_ref()
            .filter(|peer| peer.verified)
            .and_then(|peer| peer.names.spiffe_id())
    }
}
