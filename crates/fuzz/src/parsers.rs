//! Parsers of what strangers send: whatever it is, they answer, and agree with themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hauberk_config::connection_manager::{EscapedSlashes, PathNormalization};
use hauberk_config::dns::{DnsRecord, DnsTable};
use hauberk_config::jwt::{JwtAuthentication, JwtProvider, JwtRequirement};
use hauberk_http1::{BodyLength, Decoder, Piece, request};
use hauberk_jwt::Authenticator;
use hauberk_net::client_hello;
use hauberk_net::detect::{Detection, Wanted, detect};
use hauberk_net::dns_message::{Carrier, answer};
use hauberk_proxy::bootstrap::Bootstrap;
use hauberk_route::{Normalized, normalized};
use hauberk_xds::offline::{Encoded, snapshot};
use hauberk_xds::state::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use http::{HeaderMap, HeaderValue, Uri};

use crate::choices::Choices;

/// The head of an HTTP/1 request: what is taken has one meaning, and a body behind it is read whatever its pieces.
///
/// # Panics
/// If what was taken holds a byte that ends lines or names.
pub fn http1_head(bytes: &[u8]) {
    let Ok(head) = request::parse(&Bytes::copy_from_slice(bytes)) else {
        return;
    };
    for (name, value) in &head.headers {
        let plain = |byte: &u8| !matches!(byte, b'\r' | b'\n' | 0);
        assert!(value.as_bytes().iter().all(plain), "{name}: {value:?}");
    }
    let lengths = head.headers.get_all("content-length").iter().count();
    assert!(lengths <= 1, "{:?}", head.headers);
}

/// A chunked body gives the same in one piece and byte by byte.
///
/// # Panics
/// If it does not.
pub fn http1_chunks(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = Bytes>| {
        let (mut decoder, mut told, mut waiting) =
            (Decoder::new(BodyLength::Chunked), Vec::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(&piece);
            let mut input = Bytes::from(std::mem::take(&mut waiting));
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(Piece::Data(data))) => told.extend_from_slice(&data),
                    Ok(Some(_)) => return (told, "ended"),
                    Ok(None) => break,
                    Err(_) => return (told, "malformed"),
                }
            }
            waiting = input.to_vec();
        }
        (told, "unfinished")
    };
    let whole = read(&mut std::iter::once(Bytes::copy_from_slice(bytes)));
    let split = read(&mut bytes.iter().map(|byte| Bytes::copy_from_slice(&[*byte])));
    assert_eq!(whole, split);
}

/// Normalization changes nothing that it made, and leaves no dot segment.
///
/// # Panics
/// If it does.
pub fn normalize(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let settings = PathNormalization {
        normalize: choices.once_in(2),
        merge_slashes: choices.once_in(2),
        escaped_slashes: choices.pick(&[
            EscapedSlashes::Keep,
            EscapedSlashes::UnescapeAndForward,
            EscapedSlashes::Reject,
            EscapedSlashes::UnescapeAndRedirect,
        ]),
    };
    let Ok(uri) = Uri::try_from(choices.rest()) else {
        return;
    };
    let path = match normalized(&uri, &settings) {
        Normalized::Path(path) | Normalized::Redirect(path) => path,
        Normalized::Same => uri.path().to_owned(),
        Normalized::Reject => return,
    };
    let alone = path.split('?').next().unwrap_or_default();
    if settings.normalize && alone.starts_with('/') {
        let dots = alone.split('/').any(|part| part == "." || part == "..");
        assert!(!dots, "{uri} became {path}");
    }
    if settings.merge_slashes && alone.starts_with('/') {
        assert!(!alone.contains("//"), "{uri} became {path}");
    }
}

/// A token that nobody signed is never taken.
///
/// # Panics
/// If one is.
pub fn jwt(bytes: &[u8]) {
    let provider = JwtProvider {
        issuer: "i".into(),
        audiences: Vec::new(),
        key_set: r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#.into(),
        from_headers: vec![("authorization".into(), "Bearer ".into())],
        from_params: vec!["token".into()],
        from_cookies: vec!["token".into()],
        forward: false,
        payload_header: None,
        claim_headers: Vec::new(),
        metadata_key: "payload".into(),
        space_delimited_claims: Vec::new(),
        clock_skew: Duration::ZERO,
        require_expiration: false,
    };
    let authenticator = Authenticator::new(&JwtAuthentication {
        providers: vec![provider],
        requirement: JwtRequirement::Provider(0),
        bypass_cors_preflight: false,
    });
    let mut headers = HeaderMap::new();
    for name in ["authorization", "cookie"] {
        if let Ok(value) = HeaderValue::from_bytes(bytes) {
            headers.insert(name, value);
        }
    }
    let uri = Uri::try_from(bytes).unwrap_or_default();
    assert!(
        authenticator.authenticate(&headers, &uri, 0.0).is_err(),
        "{headers:?}"
    );
}

/// Resources from a control plane: decoded and published, or refused with a reason.
pub fn xds(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let type_url = choices.pick(&[LISTENER, CLUSTER, ROUTE, ENDPOINT]);
    let resource = Encoded {
        type_url: type_url.into(),
        name: "x".into(),
        value: choices.rest().to_vec(),
    };
    if let Err(reason) = snapshot(vec![resource]) {
        assert!(!reason.is_empty());
    }
}

/// What a ClientHello says does not depend on what comes after it, nor does a shorter beginning say something else.
///
/// # Panics
/// If it does.
pub fn hello(bytes: &[u8]) {
    use client_hello::Parsed;
    let whole = client_hello::parse(bytes);
    for end in 0..bytes.len().min(600) {
        match client_hello::parse(&bytes[..end]) {
            Parsed::NeedMore => {}
            early => {
                assert_eq!(early, whole, "after {end} bytes");
                break;
            }
        }
    }
}

/// A protocol that is found stays found when more bytes come.
///
/// # Panics
/// If it does not.
pub fn detection(bytes: &[u8]) {
    let wanted = Wanted {
        http: true,
        tls: false,
    };
    let mut found: Option<Detection> = None;
    for end in 0..=bytes.len().min(200) {
        let now = detect(&bytes[..end], wanted);
        match &found {
            Some(before) => assert_eq!(&now, before, "after {end} bytes"),
            None if now != Detection::NeedMore => found = Some(now),
            None => {}
        }
    }
}

/// An answer to a DNS query has its id, says that it is an answer, and fits its carrier.
///
/// # Panics
/// If it does not.
pub fn dns(bytes: &[u8]) {
    let record = DnsRecord {
        addresses: vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])],
        time_to_live: Duration::from_secs(5),
    };
    let table = DnsTable {
        records: HashMap::from([("a.example".to_owned(), record)]),
        known_suffixes: vec!["example".into()],
        upstream_resolvers: Vec::new(),
    };
    for (carrier, most) in [(Carrier::Udp, 4096), (Carrier::Tcp, usize::from(u16::MAX))] {
        if let Some(answered) = answer(&table, bytes, carrier, 1) {
            assert_eq!(answered.get(..2), bytes.get(..2));
            assert!(answered.get(2).is_some_and(|flags| flags & 0x80 != 0));
            assert!(answered.len() <= most, "{} bytes", answered.len());
        }
    }
}

/// A bootstrap is read or refused.
pub fn bootstrap(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(bootstrap) = Bootstrap::parse(text)
    {
        let _: Arc<str> = bootstrap.pod().into();
        let _ = (bootstrap.drain(), bootstrap.workload(), bootstrap.peer());
    }
}
