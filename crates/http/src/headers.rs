//! Headers that a proxy takes away, adds and changes.

use std::fmt::Write;
use std::net::IpAddr;

use hauberk_config::connection_manager::{ClientCertificateHeader, ConnectionManager, Forwarding};
use hauberk_route::joined;
use hauberk_upstream::random;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::connection::Connection;

pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Of HTTP/2 by upgrade, which nobody speaks any more.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Spoken only between Envoy and its control; from a caller they are lies. All begin with `x-envoy-`.
const INTERNAL: [HeaderName; 8] = [
    HeaderName::from_static("x-envoy-internal"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-attempt-count"),
    HeaderName::from_static("x-envoy-decorator-operation"),
    HeaderName::from_static("x-envoy-peer-metadata"),
    HeaderName::from_static("x-envoy-peer-metadata-id"),
    HeaderName::from_static("x-envoy-original-dst-host"),
];

/// Removes what concerns one connection only (RFC 9110 §7.6.1). `te: trailers` stays.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none, and a look at each name is cheaper than a search for each of these.
    if !headers.keys().any(concerns_connection) {
        return;
    }
    if let Some(listed) = headers.remove(header::CONNECTION) {
        let names = listed.to_str().unwrap_or_default();
        for name in names.split(',') {
            let name = name.trim();
            let keeps = name.eq_ignore_ascii_case("te") || name.eq_ignore_ascii_case("close");
            if !keeps && !name.eq_ignore_ascii_case("keep-alive") && !name.is_empty() {
                headers.remove(name);
            }
        }
    }
    if headers.contains_key(header::TE) {
        let trailers = headers
            .get(header::TE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|one| one.trim() == "trailers"));
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(header::TE);
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(HTTP2_SETTINGS);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}

fn concerns_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "keep-alive"
            | "http2-settings"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// One `cookie` of those into which HTTP/2 may part it (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Says who the caller is, and takes away what it may not say.
pub fn describe_caller(
    headers: &mut HeaderMap,
    manager: &ConnectionManager,
    connection: &Connection,
) {
    let forwarding = &manager.forwarding;
    if headers
        .keys()
        .any(|name| name.as_str().starts_with("x-envoy-"))
    {
        for name in &INTERNAL {
            headers.remove(name);
        }
    }
    if forwarding.use_remote_address && !forwarding.skip_xff_append {
        append(
            headers,
            &FORWARDED_FOR,
            &connection.facts.source.ip().to_string(),
        );
    }
    if forwarding.use_remote_address || !headers.contains_key(FORWARDED_PROTO) {
        let scheme = if connection.session.is_some() {
            "https"
        } else {
            "http"
        };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    describe_certificate(headers, forwarding, connection);
}

/// The caller's address: the connection's `source`, or what a trusted `x-forwarded-for` says, once
/// [`describe_caller`] has added to it. As Envoy's `use_remote_address` and `xff_num_trusted_hops` say: at an edge that
/// many proxies in front are trusted, each of which added the address that called it; elsewhere one more is, which is
/// whatever called this proxy.
pub fn caller_address(headers: &HeaderMap, forwarding: &Forwarding, source: IpAddr) -> IpAddr {
    let edge = forwarding.use_remote_address;
    if edge && forwarding.trusted_hops == 0 {
        return source;
    }
    // At an edge the last address is the one that this proxy added, unless it adds none.
    let skipped = forwarding.trusted_hops - u32::from(edge && forwarding.skip_xff_append);
    let told = joined(headers, FORWARDED_FOR).and_then(|addresses| {
        let address = addresses.rsplit(',').nth(skipped as usize)?;
        address.trim().parse().ok()
    });
    told.unwrap_or(source)
}

fn append(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    let joined = match headers.get(name).and_then(|old| old.to_str().ok()) {
        Some(old) => HeaderValue::from_str(&format!("{old},{value}")),
        None => HeaderValue::from_str(value),
    };
    if let Ok(joined) = joined {
        headers.insert(name, joined);
    }
}

fn describe_certificate(headers: &mut HeaderMap, forwarding: &Forwarding, connection: &Connection) {
    let mode = forwarding.client_certificate;
    let peer = connection
        .session
        .as_ref()
        .and_then(|session| session.peer.as_ref().map(|peer| (session, peer)));
    let keep = match mode {
        ClientCertificateHeader::AlwaysForwardOnly => true,
        ClientCertificateHeader::ForwardOnly | ClientCertificateHeader::AppendForward => {
            peer.is_some()
        }
        ClientCertificateHeader::Sanitize | ClientCertificateHeader::SanitizeSet => false,
    };
    if !keep {
        headers.remove(CLIENT_CERTIFICATE);
    }
    let sets = matches!(
        mode,
        ClientCertificateHeader::AppendForward | ClientCertificateHeader::SanitizeSet
    );
    let Some((session, peer)) = peer.filter(|_| sets) else {
        return;
    };
    let details = &forwarding.client_certificate_details;
    let mut text = String::new();
    if let Some(own) = session.own.uris.first() {
        let _ = write!(text, "By={own}");
    }
    if details.subject {
        let _ = write!(
            text,
            ";Subject=\"{}\"",
            peer.names.subject.replace('"', "\\\"")
        );
    }
    if details.uri {
        for uri in &peer.names.uris {
            let _ = write!(text, ";URI={uri}");
        }
    }
    if details.dns {
        for name in &peer.names.dns {
            let _ = write!(text, ";DNS={name}");
        }
    }
    append(headers, &CLIENT_CERTIFICATE, text.trim_start_matches(';'));
}

/// Gives the request a number, unless it has one that may stay.
pub fn identify(headers: &mut HeaderMap, manager: &ConnectionManager) {
    let settings = &manager.request_id;
    // At the edge (where the peer is the caller) a number from outside is not ours.
    let outside = manager.forwarding.use_remote_address && !settings.preserve_external;
    if settings.generate
        && (outside || !headers.contains_key(REQUEST_ID))
        && let Ok(value) = HeaderValue::from_bytes(&unique(random(), random()))
    {
        headers.insert(REQUEST_ID, value);
    }
}

/// RFC 9562 version 4.
fn unique(high: u64, low: u64) -> [u8; 36] {
    let mut text = *b"00000000-0000-4000-0000-000000000000";
    hexadecimal(&mut text[..8], high >> 32);
    hexadecimal(&mut text[9..13], high >> 16);
    hexadecimal(&mut text[15..18], high);
    hexadecimal(&mut text[19..23], low >> 48 & 0x3fff | 0x8000);
    hexadecimal(&mut text[24..], low);
    text
}

/// The last digits of `number`, as many as there is place for. By hand, since every request has several such numbers.
fn hexadecimal(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// Continues the caller's trace or begins one (W3C Trace Context §3.2).
pub fn trace(headers: &mut HeaderMap, sample: bool) {
    let parent = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok())
        .filter(|value| is_traceparent(value))
        .and_then(|value| <[u8; 55]>::try_from(value.as_bytes()).ok());
    let text = match parent {
        Some(mut text) => {
            hexadecimal(&mut text[36..52], random() | 1);
            text
        }
        None => {
            headers.remove("tracestate");
            let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
            hexadecimal(&mut text[3..19], random());
            hexadecimal(&mut text[19..35], random() | 1);
            hexadecimal(&mut text[36..52], random() | 1);
            hexadecimal(&mut text[53..], sample.into());
            text
        }
    };
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRACEPARENT, value);
    }
}

fn is_traceparent(text: &str) -> bool {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 55
        && text.bytes().enumerate().all(|(index, byte)| match index {
            2 | 35 | 52 => byte == b'-',
            _ => lower_hex(byte),
        })
        && &text[..2] == "00"
        && text[3..35].bytes().any(|byte| byte != b'0')
        && text[36..52].bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_connection_goes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers, deflate"),
            ("keep-alive", "timeout=5"),
            ("accept", "*/*"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [("accept", "*/*"), ("te", "trailers")]);
    }

    #[test]
    fn a_cookie_in_pieces_is_made_whole() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let found: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(found, ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn a_request_s_number_is_a_uuid_of_version_4() {
        let text = unique(0x0123_4567_89ab_cdef, u64::MAX);
        assert_eq!(&text, b"01234567-89ab-4def-bfff-ffffffffffff");
        assert_eq!(&unique(0, 0), b"00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn a_trace_goes_on_under_a_new_span() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(parent));
        trace(&mut headers, false);
        let text = headers[TRACEPARENT].to_str().unwrap_or_default();
        assert!(is_traceparent(text) && text != parent);
        assert_eq!((&text[..36], &text[52..]), (&parent[..36], &parent[52..]));
    }

    #[test]
    fn a_bad_trace_is_replaced() {
        for bad in [
            "",
            "00-0-0-0",
            "zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!is_traceparent(bad));
        }
        let mut headers = HeaderMap::new();
        trace(&mut headers, true);
        assert!(
            headers[TRACEPARENT]
                .to_str()
                .is_ok_and(|text| is_traceparent(text) && text.ends_with("-01"))
        );
    }

    #[test]
    fn the_caller_is_who_a_trusted_proxy_says() {
        let source: IpAddr = [10, 0, 0, 9].into();
        let told = |edge, hops, skips, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                FORWARDED_FOR,
                HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("")),
            );
            let forwarding = Forwarding {
                use_remote_address: edge,
                skip_xff_append: skips,
                trusted_hops: hops,
                client_certificate: ClientCertificateHeader::Sanitize,
                client_certificate_details: Default::default(),
            };
            caller_address(&headers, &forwarding, source).to_string()
        };
        // At an edge, what a caller says of itself counts for nothing; 10.0.0.9 is what this proxy added.
        assert_eq!(
            told(true, 0, false, "1.1.1.1, 2.2.2.2,10.0.0.9"),
            "10.0.0.9"
        );
        assert_eq!(told(true, 1, false, "1.1.1.1, 2.2.2.2,10.0.0.9"), "2.2.2.2");
        assert_eq!(told(true, 2, false, "1.1.1.1, 2.2.2.2,10.0.0.9"), "1.1.1.1");
        assert_eq!(told(true, 1, true, "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        // Elsewhere the proxy that called is trusted.
        assert_eq!(told(false, 0, false, "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(told(false, 1, false, "1.1.1.1, 2.2.2.2"), "1.1.1.1");
        for nonsense in ["", "unknown", "1.1.1.1:80", ","] {
            assert_eq!(told(false, 0, false, nonsense), "10.0.0.9", "{nonsense}");
        }
        assert_eq!(told(false, 5, false, "1.1.1.1"), "10.0.0.9");
    }
}
