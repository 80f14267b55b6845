//! A connection after its handshake: every byte arrives in order, and what has no place in TLS 1.3 ends it.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use hauberk_config::Table;
use hauberk_config::secret::{Material, Secret};
use hauberk_tls::TlsStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use support::{Authority, LEDGER, WEB, client, established, server, sockets};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

async fn pair() -> (TlsStream, TlsStream) {
    let root = Authority::root();
    established(
        &client(&root.secrets(root.svid(WEB)), Some(LEDGER)),
        &server(&root.secrets(root.svid(LEDGER)), Some(WEB)),
    )
    .await
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) >> 3) as u8)
        .collect()
}

/// Writes all of `sent` in pieces, closes, and reads it at the other end into buffers of `room` bytes.
async fn carried(
    mut writer: impl AsyncWrite + Unpin,
    mut reader: impl AsyncRead + Unpin,
    sent: &[u8],
    piece: usize,
    room: usize,
) -> Vec<u8> {
    let writing = async {
        for part in sent.chunks(piece) {
            writer.write_all(part).await.expect("sent");
        }
        writer.shutdown().await.expect("closed");
    };
    let reading = async {
        let mut got = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            let count = reader.read(&mut buffer).await.expect("read");
            if count == 0 {
                return got;
            }
            got.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::join!(writing, reading).1
}

#[tokio::test]
async fn bytes_arrive_in_order_whatever_the_sizes() {
    let sent = pattern(1_000_003);
    for (piece, room) in [
        (1_000_003, 131_072 + 512),
        (1_000_003, 1000),
        (16_384, 16_384),
        (16_385, 16_385),
        (16_383, 8192),
        (100_000, 70_000),
        (5000, 1_000_000),
    ] {
        let (near, far) = pair().await;
        let got = carried(near, far, &sent, piece, room).await;
        assert!(
            got == sent,
            "pieces of {piece}, buffers of {room}: {} bytes",
            got.len()
        );
    }
    let (near, far) = pair().await;
    assert!(carried(far, near, &sent[..3000], 1, 1).await == sent[..3000]);
}

#[tokio::test]
async fn what_came_with_the_end_of_the_handshake_is_read() {
    let root = Authority::root();
    let listening = server(&root.secrets(root.svid(LEDGER)), None);
    let (near, far) = sockets().await;
    let theirs = their_client(&root.secrets(root.svid(WEB)));
    let name = ServerName::try_from("ledger").expect("a name");
    let calling = async {
        let mut stream = tokio_rustls::TlsConnector::from(theirs)
            .connect(name, near)
            .await
            .expect("connected");
        // Follows the client's last message at once, before the server has read that.
        stream.write_all(&pattern(40_000)).await.expect("sent");
        stream.shutdown().await.expect("closed");
    };
    let accepting = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (mut stream, _) = listening.accept(far).await.expect("accepted");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.expect("read");
        got
    };
    assert!(tokio::join!(calling, accepting).1 == pattern(40_000));
}

fn roots(secrets: &Table<Secret>) -> RootCertStore {
    let Material::TrustBundle { pem } = &secrets.get("ROOTCA").expect("roots").material else {
        panic!("expected a bundle");
    };
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        store.add(root.expect("PEM")).expect("a root");
    }
    store
}

fn own(secrets: &Table<Secret>) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let Material::Certificate(pair) = &secrets.get("default").expect("a key").material else {
        panic!("expected a key pair");
    };
    let chain = CertificateDer::pem_slice_iter(&pair.chain_pem);
    (
        chain.collect::<Result<_, _>>().expect("a chain"),
        PrivateKeyDer::from_pem_slice(&pair.private_key_pem).expect("a key"),
    )
}

/// rustls's own client, which takes any server.
fn their_client(secrets: &Table<Secret>) -> Arc<ClientConfig> {
    #[derive(Debug)]
    struct Anyone(Arc<rustls::crypto::CryptoProvider>);
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (chain, key) = own(secrets);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_client_auth_cert(chain, key)
        .expect("a certificate");
    config.enable_early_data = true;
    Arc::new(config)
}

/// rustls's own server, which sends tickets.
fn their_server(secrets: &Table<Secret>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(secrets)),
        Arc::clone(&provider),
    )
    .build()
    .expect("a verifier");
    let (chain, key) = own(secrets);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a certificate");
    config.send_tls13_tickets = 4;
    Arc::new(config)
}

type Theirs<S> = (TlsStream, S);

async fn with_their_client() -> Theirs<tokio_rustls::client::TlsStream<TcpStream>> {
    let root = Authority::root();
    let listening = server(&root.secrets(root.svid(LEDGER)), None);
    let (near, far) = sockets().await;
    let theirs = their_client(&root.secrets(root.svid(WEB)));
    let name = ServerName::try_from("ledger").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(theirs);
    let (theirs, ours) = tokio::join!(connector.connect(name, near), listening.accept(far));
    (ours.expect("accepted").0, theirs.expect("connected"))
}

async fn with_their_server() -> Theirs<tokio_rustls::server::TlsStream<TcpStream>> {
    let root = Authority::root();
    let calling = client(&root.secrets(root.svid(WEB)), None);
    let (near, far) = sockets().await;
    let theirs = their_server(&root.secrets(root.svid(LEDGER)));
    let address = near.peer_addr().expect("an address").ip();
    let (ours, theirs) = tokio::join!(
        calling.connect(near, address, None, hauberk_tls::Carried::AsConfigured),
        tokio_rustls::TlsAcceptor::from(theirs).accept(far)
    );
    (ours.expect("connected").0, theirs.expect("accepted"))
}

#[tokio::test]
async fn another_library_understands_us_and_its_tickets_are_passed_over() {
    let sent = pattern(300_000);
    let (ours, theirs) = with_their_client().await;
    assert!(carried(ours, theirs, &sent, 50_000, 10_000).await == sent);
    let (ours, theirs) = with_their_client().await;
    assert!(carried(theirs, ours, &sent, 50_000, 10_000).await == sent);
    let (ours, theirs) = with_their_server().await;
    assert!(carried(theirs, ours, &sent, 50_000, 200_000).await == sent);
    let (ours, theirs) = with_their_server().await;
    assert!(carried(ours, theirs, &sent, 50_000, 10_000).await == sent);
}

#[tokio::test]
async fn keys_change_under_a_connection() {
    let (mut ours, mut theirs) = with_their_client().await;
    for turn in 0..3u8 {
        theirs
            .get_mut()
            .1
            .refresh_traffic_keys()
            .expect("a new key");
        theirs.write_all(&[turn; 1000]).await.expect("sent");
        theirs.flush().await.expect("flushed");
        let mut got = [0; 1000];
        ours.read_exact(&mut got).await.expect("read");
        assert_eq!(got, [turn; 1000]);
        // rustls asks for ours to change, too.
        ours.write_all(&[turn; 70_000]).await.expect("sent");
        ours.flush().await.expect("flushed");
        let mut back = vec![0; 70_000];
        theirs.read_exact(&mut back).await.expect("read");
        assert!(back == [turn; 70_000]);
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    let (mut ours, theirs) = with_their_client().await;
    let (socket, _) = theirs.into_inner();
    drop(socket);
    let error = ours.read(&mut [0; 10]).await.expect_err("cut short");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn bytes_that_are_no_record_of_the_peers_end_the_connection() {
    for forged in [
        &[
            23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ][..], // not sealed by it
        &[23, 3, 3, 0xFF, 0xFF, 0],    // too long
        &[23, 3, 3, 0, 0],             // without a tag
        &[22, 3, 3, 0, 4, 1, 0, 0, 0], // a ClientHello in the clear: renegotiation
        &[20, 3, 3, 0, 1, 1],          // change_cipher_spec after the handshake
        &[21, 3, 3, 0, 2, 1, 0],       // close_notify in the clear
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let (mut ours, theirs) = with_their_client().await;
        let (mut socket, _) = theirs.into_inner();
        socket.write_all(forged).await.expect("sent");
        let error = ours.read(&mut [0; 100]).await.expect_err("forged");
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::InvalidData,
            "{forged:?}: {error}"
        );
        // It stays ended.
        assert!(ours.read(&mut [0; 100]).await.is_err());
        assert!(ours.write(b"more").await.is_err());
        // And the peer is told: an alert, sealed.
        let mut told = [0; 100];
        let count = socket.read(&mut told).await.expect("read");
        assert!(count > 5 && told[0] == 23, "{:?}", &told[..count]);
    }
}

/// Neither tickets nor early data: a client of ours or of others begins anew every time.
#[tokio::test]
async fn nothing_is_resumed_and_nothing_comes_early() {
    let root = Authority::root();
    let listening = server(&root.secrets(root.svid(LEDGER)), None);
    let theirs = their_client(&root.secrets(root.svid(WEB)));
    for _ in 0..3 {
        let (near, far) = sockets().await;
        let name = ServerName::try_from("ledger").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&theirs));
        let (near, far) = tokio::join!(connector.connect(name, near), listening.accept(far));
        let (mut near, (mut far, session)) = (near.expect("connected"), far.expect("accepted"));
        assert_eq!(
            session.peer_id(),
            Some(WEB),
            "each connection proves its caller"
        );
        far.write_all(b"x").await.expect("sent");
        far.flush().await.expect("flushed");
        near.read_exact(&mut [0; 1]).await.expect("read");
        let settled = near.get_ref().1;
        assert_eq!(settled.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(settled.tls13_tickets_received(), 0);
        assert!(!settled.is_early_data_accepted());
    }
}

/// A slow reader holds back the writer: what was not taken is not piled up.
#[tokio::test]
async fn a_writer_waits_for_its_reader() {
    let (mut near, mut far) = pair().await;
    let block = vec![7; 100_000];
    let mut taken = 0;
    while let Ok(done) = tokio::time::timeout(Duration::from_millis(300), near.write(&block)).await
    {
        taken += done.expect("sent");
        assert!(taken < 100_000_000, "the writer is never held back");
    }
    let reading = async {
        let mut left = taken;
        let mut buffer = vec![0; 50_000];
        while left > 0 {
            left -= far.read(&mut buffer).await.expect("read").min(left);
        }
    };
    let (flushed, ()) = tokio::join!(near.flush(), reading);
    flushed.expect("sent");
}

#[tokio::test]
async fn key_updates_without_end_end_the_connection() {
    let (mut ours, mut theirs) = with_their_client().await;
    for _ in 0..40 {
        theirs
            .get_mut()
            .1
            .refresh_traffic_keys()
            .expect("a new key");
        theirs.flush().await.expect("flushed");
    }
    let mut buffer = [0; 10];
    let reading = tokio::time::timeout(Duration::from_secs(10), ours.read(&mut buffer));
    let error = reading
        .await
        .expect("an end")
        .expect_err("a flood of key updates");
    assert!(error.to_string().contains("without end"), "{error}");
}
