//! Whether a peer's certificate is to be believed.

use std::sync::Arc;

use hauberk_config::Table;
use hauberk_config::matcher::StringPattern;
use hauberk_config::secret::{Material, Secret};
use hauberk_config::tls::PeerValidation;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use crate::error::ContextError;
use crate::names::Names;
use crate::svid;

/// The roots of secret `name`.
///
/// # Errors
/// It is missing or holds no certificate.
pub fn roots(secrets: &Table<Secret>, name: &Arc<str>) -> Result<Arc<RootCertStore>, ContextError> {
    let Some(Material::TrustBundle { pem }) = secrets.get(name).map(|secret| &secret.material)
    else {
        return Err(ContextError::MissingSecret {
            name: Arc::clone(name),
            expected: "a trust bundle",
        });
    };
    let bad = |reason: String| ContextError::BadSecret {
        name: Arc::clone(name),
        reason,
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(format!("expected PEM: {error}")))?;
        store
            .add(certificate)
            .map_err(|error| bad(format!("a root is not usable: {error}")))?;
    }
    if store.is_empty() {
        return Err(bad("expected at least one root, found none".into()));
    }
    Ok(Arc::new(store))
}

/// Which names a peer may have.
#[derive(Debug, Clone)]
pub struct Expectation {
    validation: PeerValidation,
}

impl Expectation {
    /// # Errors
    /// A matcher is a regular expression.
    pub fn new(validation: &PeerValidation) -> Result<Self, ContextError> {
        let regex = |pattern: &StringPattern| matches!(pattern, StringPattern::Regex(_));
        if validation
            .san_matchers
            .iter()
            .any(|matcher| regex(&matcher.matcher.pattern))
        {
            return Err(ContextError::BadSettings(
                "a regular expression for subject alternative names is not supported; use exact, prefix or suffix".into(),
            ));
        }
        Ok(Self {
            validation: validation.clone(),
        })
    }

    /// After the chain was verified: the rules of SVIDs, if it is one, and the names.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let refuse = Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ));
        if let Err(reason) = svid::check(leaf, intermediates.iter().map(AsRef::as_ref)) {
            tracing::info!(
                reason,
                "refused a peer's certificate, which is no X.509-SVID"
            );
            return refuse;
        }
        let names = Names::of(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let matchers = &self.validation.san_matchers;
        if matchers.is_empty() || matchers.iter().any(|matcher| names.fit(matcher)) {
            Ok(())
        } else {
            refuse
        }
    }
}

/// Verifies clients: chain, validity and purpose, then names.
#[derive(Debug)]
pub struct ClientTrust {
    chain: Arc<dyn ClientCertVerifier>,
    expectation: Expectation,
}

impl ClientTrust {
    /// `required`: a client without a certificate is refused.
    ///
    /// # Errors
    /// The roots cannot be used.
    pub fn new(
        roots: Arc<RootCertStore>,
        expectation: Expectation,
        required: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ContextError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = if required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let chain = builder
            .build()
            .map_err(|error| ContextError::BadSettings(error.to_string()))?;
        Ok(Self { chain, expectation })
    }
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Peers have one certificate each: hints would only make the handshake longer.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        self.expectation.check(leaf, intermediates)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Verifies servers. Mesh peers are known by their URI name alone; the server name is compared only if `check_name`.
#[derive(Debug)]
pub struct ServerTrust {
    /// `None`: any certificate is taken (`trust_secret` is absent).
    pub roots: Option<Arc<RootCertStore>>,
    pub expectation: Expectation,
    pub check_name: bool,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        if self.check_name {
            verify_server_name(&parsed, server_name)?;
        }
        self.expectation.check(leaf, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
