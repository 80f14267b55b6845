//! The server's side of TLS.

use std::io;
use std::sync::Arc;

use hauberk_config::Table;
use hauberk_config::secret::Secret;
use hauberk_config::tls::{DownstreamTls, TlsVersion};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::error::ContextError;
use crate::identity::{Identity, Peer};
use crate::names::Names;
use crate::session::Session;
use crate::session_stream::SessionStream;
use crate::shake::{Side, shake};
use crate::stream::TlsStream;
use crate::{provider, trust};

/// A filter chain's TLS settings with the secrets they name. A new one is built when a secret rotates; connections keep
/// the one they began with.
#[derive(Debug, Clone)]
pub struct ServerContext {
    config: Arc<ServerConfig>,
    only_tls13: bool,
    verifies: bool,
    /// Of the first certificate.
    own: Arc<Names>,
}

impl ServerContext {
    /// # Errors
    /// A secret is missing or bad, or the settings are.
    pub fn new(tls: &DownstreamTls, secrets: &Table<Secret>) -> Result<Self, ContextError> {
        let provider = provider::provider(&tls.context);
        let identities = tls
            .context
            .certificate_secrets
            .iter()
            .map(|name| Identity::load(secrets, name, &provider))
            .collect::<Result<Vec<_>, _>>()?;
        let own = match identities.first() {
            Some(first) => Arc::new(first.names.clone()),
            None => {
                return Err(ContextError::BadSettings(
                    "a server needs a certificate, and none is named".into(),
                ));
            }
        };
        let validation = &tls.context.validation;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&provider::versions(&tls.context)?)
            .map_err(|error| ContextError::BadSettings(error.to_string()))?;
        let builder = match &validation.trust_secret {
            Some(name) => {
                let verifier = trust::ClientTrust::new(
                    trust::roots(secrets, name)?,
                    trust::Expectation::new(validation)?,
                    tls.require_client_certificate,
                    Arc::clone(&provider),
                )?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
            None if tls.require_client_certificate => {
                return Err(ContextError::BadSettings(
                    "client certificates are required, but no trust bundle is named to verify them"
                        .into(),
                ));
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName(identities)));
        config.alpn_protocols = tls
            .context
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        Ok(Self {
            config: Arc::new(config),
            only_tls13: tls.context.minimum_version == TlsVersion::Tls13,
            verifies: validation.trust_secret.is_some(),
            own,
        })
    }

    /// Shakes hands with a client. Drop the future to give up.
    ///
    /// # Errors
    /// The handshake failed; the message says how.
    pub async fn accept(&self, mut stream: TcpStream) -> io::Result<(TlsStream, Session)> {
        if !self.only_tls13 {
            let stream = TlsAcceptor::from(Arc::clone(&self.config))
                .accept(stream)
                .await?;
            let session = self.session(stream.get_ref().1);
            return Ok((TlsStream::Server(stream), session));
        }
        let mut side =
            UnbufferedServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        let early = shake(&mut side, &mut stream).await?;
        let session = self.session(&side);
        let secrets = side.secrets().map_err(io::Error::other)?;
        let stream = SessionStream::new(stream, secrets, early, false)?;
        Ok((TlsStream::Session(stream), session))
    }

    fn session(&self, settled: &CommonState) -> Session {
        let peer = Peer::of(settled.peer_certificates(), self.verifies);
        Session::of(settled, peer, Arc::clone(&self.own))
    }
}

/// The first certificate with the name that the client asked for, else the first.
#[derive(Debug)]
struct ByServerName(Vec<Identity>);

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default();
        let named = |identity: &&Identity| {
            identity.names.dns.iter().any(|pattern| {
                pattern.eq_ignore_ascii_case(name)
                    || matches!((pattern.strip_prefix("*."), name.split_once('.')),
                                (Some(parent), Some((_, rest))) if parent.eq_ignore_ascii_case(rest))
            })
        };
        let chosen = self.0.iter().find(named).or(self.0.first())?;
        Some(Arc::clone(&chosen.key))
    }
}
