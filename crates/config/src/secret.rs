//! Secrets: our own keys and the bundles that peers are checked against.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: Arc<str>,
    pub material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    Certificate(KeyPair),
    /// PEM certificates of the trust bundle.
    TrustBundle {
        pem: Bytes,
    },
}

/// A private key and its certificate chain, leaf first, both PEM. Printing it shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub private_key_pem: Bytes,
    pub chain_pem: Bytes,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyPair")
            .field("private_key_pem", &"[redacted]")
            .field("chain_pem_bytes", &self.chain_pem.len())
            .finish()
    }
}
