//! Who is at each end: our own key and chain, and what a peer proved to be.

use std::sync::Arc;

use hauberk_config::secret::Secret;
use hauberk_config::secret::{KeyPair, Material};
use hauberk_config::{Snapshot, Table};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::ContextError;
use crate::names::Names;

/// Our own certificate, ready to use.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub names: Names,
}

impl Identity {
    /// The key pair in secret `name`.
    ///
    /// # Errors
    /// It is missing, does not parse, or key and certificate do not belong together.
    pub fn load(
        secrets: &Table<Secret>,
        name: &Arc<str>,
        provider: &CryptoProvider,
    ) -> Result<Self, ContextError> {
        let Some(Material::Certificate(pair)) = secrets.get(name).map(|secret| &secret.material)
        else {
            return Err(ContextError::MissingSecret {
                name: Arc::clone(name),
                expected: "a key and certificate chain",
            });
        };
        let bad = |reason: String| ContextError::BadSecret {
            name: Arc::clone(name),
            reason,
        };
        let key = certified(pair, provider).map_err(&bad)?;
        let leaf = key
            .cert
            .first()
            .ok_or_else(|| bad("expected at least one certificate, found none".into()))?;
        let names = Names::of(leaf).map_err(&bad)?;
        Ok(Self {
            key: Arc::new(key),
            names,
        })
    }

    /// The identities of all key pairs of a snapshot, for showing them.
    pub fn all(snapshot: &Snapshot) -> Vec<(Arc<str>, Result<Names, ContextError>)> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        snapshot
            .secrets
            .iter()
            .filter(|(_, entry)| matches!(entry.value.material, Material::Certificate(_)))
            .map(|(name, _)| {
                let loaded = Self::load(&snapshot.secrets, name, &provider);
                (Arc::clone(name), loaded.map(|identity| identity.names))
            })
            .collect()
    }
}

fn certified(pair: &KeyPair, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(&pair.chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("expected a chain of PEM certificates: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pair.private_key_pem)
        .map_err(|error| format!("expected a PEM private key: {error}"))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("key and certificate do not fit: {error}"))
}

/// What the other side's certificate says, after it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    pub names: Names,
    /// A chain to the trust bundle was found; without it the names are mere claims.
    pub verified: bool,
}

impl Peer {
    /// Evaluates a handshake's peer certificate, once.
    pub(crate) fn of(certificates: Option<&[CertificateDer<'_>]>, verified: bool) -> Option<Self> {
        let names = Names::of(certificates?.first()?).ok()?;
        Some(Self { names, verified })
    }
}
