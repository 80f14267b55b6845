//! The cryptography in use: AWS-LC, with the groups that a context asks for.

use std::sync::Arc;

use hauberk_config::tls::{Curve, TlsContext, TlsVersion};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::error::ContextError;

/// X25519MLKEM768 first, unless the context says otherwise.
pub fn provider(context: &TlsContext) -> Arc<CryptoProvider> {
    let group = |curve: &Curve| -> &'static dyn SupportedKxGroup {
        match curve {
            Curve::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
            Curve::X25519 => aws_lc_rs::kx_group::X25519,
            Curve::P256 => aws_lc_rs::kx_group::SECP256R1,
            Curve::P384 => aws_lc_rs::kx_group::SECP384R1,
        }
    };
    let default = [Curve::X25519MlKem768, Curve::X25519, Curve::P256];
    let curves: &[Curve] = if context.curves.is_empty() {
        &default
    } else {
        &context.curves
    };
    Arc::new(CryptoProvider {
        kx_groups: curves.iter().map(group).collect(),
        cipher_suites: suites(),
        ..aws_lc_rs::default_provider()
    })
}

/// AES with 128 bits first: ten rounds a block instead of fourteen, and the strength of the P-256 keys that sign the
/// handshake (docs/decisions/0016).
fn suites() -> Vec<SupportedCipherSuite> {
    let mut suites = aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec();
    let first = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    suites.sort_by_key(|suite| *suite != first);
    suites
}

pub fn versions(
    context: &TlsContext,
) -> Result<Vec<&'static SupportedProtocolVersion>, ContextError> {
    let wanted = context.minimum_version..=context.maximum_version;
    let mut versions = Vec::new();
    if wanted.contains(&TlsVersion::Tls13) {
        versions.push(&rustls::version::TLS13);
    }
    if wanted.contains(&TlsVersion::Tls12) {
        versions.push(&rustls::version::TLS12);
    }
    if versions.is_empty() {
        return Err(ContextError::BadSettings(format!(
            "no version between {:?} and {:?}",
            context.minimum_version, context.maximum_version
        )));
    }
    Ok(versions)
}
