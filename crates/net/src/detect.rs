//! What a connection speaks, from its first bytes. No I/O.

use crate::client_hello::{self, ClientHello};

/// Bytes that are looked at before giving up: a TLS record, or a long request line.
pub const LONGEST_PREFIX: usize = 16 * 1024 + 5;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A method longer than this is not looked for.
const LONGEST_METHOD: usize = 20;
/// Enough of a target to look for ` HTTP/1.` behind it.
const LONGEST_REQUEST_LINE: usize = 8 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
    Tls(ClientHello),
    /// None of these: server-first or unknown.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detection {
    NeedMore,
    Found(Protocol),
}

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub http: bool,
    pub tls: bool,
}

/// Judges `prefix`, the first bytes of a connection.
pub fn detect(prefix: &[u8], wanted: Wanted) -> Detection {
    if prefix.is_empty() {
        return Detection::NeedMore;
    }
    let full = prefix.len() >= LONGEST_PREFIX;
    if wanted.tls {
        match client_hello::parse(prefix) {
            client_hello::Parsed::Complete(hello) => return Detection::Found(Protocol::Tls(hello)),
            client_hello::Parsed::NeedMore if !full => return Detection::NeedMore,
            client_hello::Parsed::NeedMore | client_hello::Parsed::NotTls => {}
        }
    }
    if wanted.http && !full {
        return http(prefix);
    }
    Detection::Found(Protocol::Other)
}

fn http(prefix: &[u8]) -> Detection {
    let shared = prefix.len().min(HTTP2_PREFACE.len());
    if prefix[..shared] == HTTP2_PREFACE[..shared] {
        return if shared == HTTP2_PREFACE.len() {
            Detection::Found(Protocol::Http2)
        } else {
            Detection::NeedMore
        };
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = prefix.iter().take_while(|byte| is_token(byte)).count();
    if method == 0 || method > LONGEST_METHOD {
        return Detection::Found(Protocol::Other);
    }
    match prefix.get(method) {
        None => return Detection::NeedMore,
        Some(b' ') => {}
        Some(_) => return Detection::Found(Protocol::Other),
    }
    let Some(end) = prefix.iter().position(|byte| *byte == b'\n') else {
        return if prefix.len() < LONGEST_REQUEST_LINE {
            Detection::NeedMore
        } else {
            Detection::Found(Protocol::Other)
        };
    };
    let line = prefix[..end].strip_suffix(b"\r").unwrap_or(&prefix[..end]);
    if line.ends_with(b" HTTP/1.1") {
        Detection::Found(Protocol::Http11)
    } else if line.ends_with(b" HTTP/1.0") {
        Detection::Found(Protocol::Http10)
    } else {
        Detection::Found(Protocol::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Wanted = Wanted {
        http: true,
        tls: true,
    };

    fn found(protocol: Protocol) -> Detection {
        Detection::Found(protocol)
    }

    #[test]
    fn http_is_told_by_its_request_line() {
        assert_eq!(detect(b"GET / HTTP/1.1\r\n", BOTH), found(Protocol::Http11));
        assert_eq!(
            detect(b"M-SEARCH * HTTP/1.0\n", BOTH),
            found(Protocol::Http10)
        );
        assert_eq!(detect(HTTP2_PREFACE, BOTH), found(Protocol::Http2));
    }

    #[test]
    fn every_prefix_of_a_good_start_needs_more() {
        for whole in [&b"GET /path HTTP/1.1\r\n"[..], HTTP2_PREFACE] {
            for length in 0..whole.len() - 1 {
                assert_eq!(
                    detect(&whole[..length], BOTH),
                    Detection::NeedMore,
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn other_protocols_are_told_at_once() {
        // PostgreSQL's SSLRequest, a Redis command, a MariaDB greeting, an SMTP greeting's first bytes.
        for start in [
            &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
            b"*1\r\n$4\r\nPING\r\n",
            b"\x4a\0\0\0\x0a5.5",
            b"EHLO-x\r\n",
        ] {
            assert_eq!(detect(start, BOTH), found(Protocol::Other), "{start:?}");
        }
    }

    #[test]
    fn a_request_line_without_end_is_given_up() {
        let mut endless = b"GET /".to_vec();
        endless.resize(LONGEST_REQUEST_LINE, b'a');
        assert_eq!(detect(&endless, BOTH), found(Protocol::Other));
    }
}
