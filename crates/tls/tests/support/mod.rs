//! Authorities and certificates, good and bad, and two ends of a TLS connection over the loopback.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io;
use std::sync::Arc;

use hauberk_config::Table;
use hauberk_config::matcher::StringMatcher;
use hauberk_config::secret::{KeyPair, Material, Secret};
use hauberk_config::tls::{
    DownstreamTls, PeerValidation, SanKind, SanMatcher, TlsContext, TlsVersion, UpstreamTls,
};
use hauberk_tls::{Carried, ClientContext, ServerContext, Session, TlsStream};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair as Key,
    KeyUsagePurpose, SanType,
};
use tokio::net::{TcpListener, TcpStream};

pub const WEB: &str = "spiffe://cluster.local/ns/bank/sa/web";
pub const LEDGER: &str = "spiffe://cluster.local/ns/bank/sa/ledger";

/// One that signs. `chain` is what its leaves carry above them.
pub struct Authority {
    pub pem: String,
    pub chain: String,
    issuer: Issuer<'static, Key>,
}

pub fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// Of an X.509-SVID with the URI names.
pub fn leaf_params(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    let names = uris.iter().map(|uri| (*uri).try_into().expect("a URI"));
    params.subject_alt_names = names.map(SanType::URI).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

impl Authority {
    pub fn root() -> Self {
        let key = Key::generate().expect("a key");
        let params = authority_params();
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            chain: String::new(),
            issuer: Issuer::new(params, key),
        }
    }

    pub fn intermediate(&self, params: CertificateParams) -> Self {
        let key = Key::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Self {
            pem: self.pem.clone(),
            chain: certificate.pem() + &self.chain,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn leaf(&self, params: &CertificateParams) -> Secret {
        let key = Key::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Secret {
            name: "default".into(),
            material: Material::Certificate(KeyPair {
                private_key_pem: key.serialize_pem().into(),
                chain_pem: (certificate.pem() + &self.chain).into(),
            }),
        }
    }

    pub fn svid(&self, id: &str) -> Secret {
        self.leaf(&leaf_params(&[id]))
    }

    /// What one end has: its own certificate, and trust in this authority's root.
    pub fn secrets(&self, own: Secret) -> Table<Secret> {
        let bundle = Secret {
            name: "ROOTCA".into(),
            material: Material::TrustBundle {
                pem: self.pem.clone().into(),
            },
        };
        let mut table = Table::default();
        for secret in [own, bundle] {
            table.insert(Arc::clone(&secret.name), "1".into(), Arc::new(secret));
        }
        table
    }
}

pub fn context(expected: Option<&str>) -> TlsContext {
    let expected = expected.map(|id| SanMatcher {
        kind: SanKind::Uri,
        matcher: StringMatcher::exact(id),
    });
    TlsContext {
        certificate_secrets: vec!["default".into()],
        validation: PeerValidation {
            trust_secret: Some("ROOTCA".into()),
            san_matchers: expected.into_iter().collect(),
        },
        alpn: vec!["istio".into()],
        minimum_version: TlsVersion::Tls13,
        maximum_version: TlsVersion::Tls13,
        curves: Vec::new(),
    }
}

pub fn server(secrets: &Table<Secret>, expected: Option<&str>) -> ServerContext {
    let told = DownstreamTls {
        context: context(expected),
        require_client_certificate: true,
    };
    ServerContext::new(&told, secrets).expect("a server's context")
}

pub fn client(secrets: &Table<Secret>, expected: Option<&str>) -> ClientContext {
    let told = UpstreamTls {
        context: context(expected),
        server_name: None,
        server_name_from_authority: false,
        validate_authority: false,
    };
    ClientContext::new(&told, secrets).expect("a client's context")
}

/// Two ends of a TCP connection: the caller's, the listener's.
pub async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

type End = io::Result<(TlsStream, Session)>;

/// Both ends of a handshake. A TLS 1.3 client that is refused by the server hears of it after its own end is done.
pub async fn shake(client: &ClientContext, server: &ServerContext) -> (End, End) {
    let (near, far) = sockets().await;
    let address = near.peer_addr().expect("an address").ip();
    tokio::join!(
        client.connect(near, address, None, Carried::AsConfigured),
        server.accept(far)
    )
}

pub async fn established(client: &ClientContext, server: &ServerContext) -> (TlsStream, TlsStream) {
    let (near, far) = shake(client, server).await;
    (near.expect("a client").0, far.expect("a server").0)
}
