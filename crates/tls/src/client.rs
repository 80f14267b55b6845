//! The client's side of TLS.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hauberk_config::Table;
use hauberk_config::secret::Secret;
use hauberk_config::tls::{TlsVersion, UpstreamTls};
use rustls::client::{ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::ContextError;
use crate::identity::{Identity, Peer};
use crate::names::Names;
use crate::session::Session;
use crate::session_stream::SessionStream;
use crate::shake::{Side, shake};
use crate::stream::TlsStream;
use crate::{provider, trust};

/// What the proxy is going to speak over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// What the cluster's own ALPN says.
    AsConfigured,
    Http1,
    Http2,
}

/// A cluster's TLS settings with the secrets they name.
#[derive(Debug, Clone)]
pub struct ClientContext {
    config: Arc<ClientConfig>,
    /// Where the cluster's port detects its protocol: offers of HTTP in place of the mesh's `istio` for TCP.
    detected: Option<Detected>,
    server_name: Option<ServerName<'static>>,
    name_from_authority: bool,
    only_tls13: bool,
    verifies: bool,
    own: Arc<Names>,
}

/// ALPN that tells the peer's proxy which of its policies' chains the connection belongs to.
#[derive(Debug, Clone)]
struct Detected {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

const TCP_OF_THE_MESH: &str = "istio";
/// What an inbound listener knows HTTP of the mesh by: Istio's names, which its control plane's chains match, and ours.
const HTTP1_OF_THE_MESH: [&str; 3] = ["istio-http/1.1", "istio-http", "http/1.1"];
const HTTP2_OF_THE_MESH: [&str; 3] = ["istio-h2", "istio-http", "h2"];

impl Detected {
    fn of(config: &ClientConfig, configured: &[String]) -> Option<Self> {
        let first = configured.first().map(String::as_str);
        (first == Some(TCP_OF_THE_MESH)).then(|| {
            let offering = |protocols: [&str; 3]| {
                let mut config = config.clone();
                config.alpn_protocols = protocols.map(Vec::from).to_vec();
                Arc::new(config)
            };
            Self {
                http1: offering(HTTP1_OF_THE_MESH),
                http2: offering(HTTP2_OF_THE_MESH),
            }
        })
    }
}

impl ClientContext {
    /// # Errors
    /// A secret is missing or bad, or the settings are.
    pub fn new(tls: &UpstreamTls, secrets: &Table<Secret>) -> Result<Self, ContextError> {
        let provider = provider::provider(&tls.context);
        let identity = tls
            .context
            .certificate_secrets
            .first()
            .map(|name| Identity::load(secrets, name, &provider))
            .transpose()?;
        let own = Arc::new(
            identity
                .as_ref()
                .map(|identity| identity.names.clone())
                .unwrap_or_default(),
        );
        let validation = &tls.context.validation;
        let roots = validation
            .trust_secret
            .as_ref()
            .map(|name| trust::roots(secrets, name))
            .transpose()?;
        let verifies = roots.is_some();
        let verifier = trust::ServerTrust {
            roots,
            expectation: trust::Expectation::new(validation)?,
            check_name: tls.validate_authority,
            provider: Arc::clone(&provider),
        };
        let server_name = tls
            .server_name
            .as_ref()
            .map(|name| ServerName::try_from(name.clone()))
            .transpose();
        // Names of the mesh such as `outbound_.80_._.web` have characters that no host name has: such a name is not sent.
        let server_name = server_name.unwrap_or(None);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&provider::versions(&tls.context)?)
            .map_err(|error| ContextError::BadSettings(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Always(identity.key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = tls
            .context
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_secret_extraction = true;
        config.enable_sni = server_name.is_some() || tls.server_name_from_authority;
        Ok(Self {
            detected: Detected::of(&config, &tls.context.alpn),
            config: Arc::new(config),
            server_name,
            name_from_authority: tls.server_name_from_authority,
            only_tls13: tls.context.minimum_version == TlsVersion::Tls13,
            verifies,
            own,
        })
    }

    /// Shakes hands with the server at `address`. `authority`: the host that the caller asked for.
    ///
    /// # Errors
    /// The handshake failed; the message says how.
    pub async fn connect(
        &self,
        mut stream: TcpStream,
        address: IpAddr,
        authority: Option<&str>,
        carried: Carried,
    ) -> io::Result<(TlsStream, Session)> {
        let from_authority = authority
            .filter(|_| self.name_from_authority)
            .and_then(|host| ServerName::try_from(host.to_owned()).ok());
        let name = from_authority
            .or_else(|| self.server_name.clone())
            .unwrap_or_else(|| ServerName::IpAddress(address.into()));
        let config = match (&self.detected, carried) {
            (Some(detected), Carried::Http1) => &detected.http1,
            (Some(detected), Carried::Http2) => &detected.http2,
            _ => &self.config,
        };
        if !self.only_tls13 {
            let stream = TlsConnector::from(Arc::clone(config))
                .connect(name, stream)
                .await?;
            let session = self.session(stream.get_ref().1);
            return Ok((TlsStream::Client(stream), session));
        }
        let mut side =
            UnbufferedClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let early = shake(&mut side, &mut stream).await?;
        let session = self.session(&side);
        let secrets = side.secrets().map_err(io::Error::other)?;
        let stream = SessionStream::new(stream, secrets, early, true)?;
        Ok((TlsStream::Session(stream), session))
    }

    fn session(&self, settled: &CommonState) -> Session {
        let peer = Peer::of(settled.peer_certificates(), self.verifies);
        Session::of(settled, peer, Arc::clone(&self.own))
    }
}

/// Our one certificate, whatever authorities the server names.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes)?;
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
