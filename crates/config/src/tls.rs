//! TLS contexts of listeners and clusters. Keys are not here: they are named, and lie in [`crate::secret`].

use std::sync::Arc;

use serde::Serialize;

use crate::matcher::StringMatcher;

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Groups for the key exchange, by preference.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    X25519MlKem768,
    X25519,
    P256,
    P384,
}

/// Which kind of subject alternative name a matcher looks at.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum SanKind {
    Uri,
    Dns,
    Email,
    IpAddress,
    /// Any of these kinds (the deprecated `match_subject_alt_names`).
    Any,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct SanMatcher {
    pub kind: SanKind,
    pub matcher: StringMatcher,
}

/// What the peer's certificate is checked against.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct PeerValidation {
    /// Name of the secret with the trust bundle; `None`: the peer's certificate is not verified.
    pub trust_secret: Option<Arc<str>>,
    /// One of these must match a name of the peer; empty: any name that the bundle vouches for.
    pub san_matchers: Vec<SanMatcher>,
}

/// What both sides of TLS have in common (`CommonTlsContext`).
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct TlsContext {
    /// Names of the secrets with our own key and chain. Several: chosen by server name.
    pub certificate_secrets: Vec<Arc<str>>,
    pub validation: PeerValidation,
    /// ALPN protocols, most preferred first.
    pub alpn: Vec<String>,
    pub minimum_version: TlsVersion,
    pub maximum_version: TlsVersion,
    /// Empty: the defaults of the TLS library.
    pub curves: Vec<Curve>,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct DownstreamTls {
    pub context: TlsContext,
    pub require_client_certificate: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    pub context: TlsContext,
    /// Server name to send; `None`: none is sent.
    pub server_name: Option<String>,
    /// The server name is the request's authority (`auto_sni`).
    pub server_name_from_authority: bool,
    /// The server's names must include the request's authority (`auto_san_validation`).
    pub validate_authority: bool,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DownstreamTransport {
    Plain,
    Tls(Arc<DownstreamTls>),
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamTransport {
    Plain,
    Tls(Arc<UpstreamTls>),
}

impl TlsContext {
    /// Every secret that this context needs before it can be used.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.certificate_secrets
            .iter()
            .chain(self.validation.trust_secret.iter())
    }
}
