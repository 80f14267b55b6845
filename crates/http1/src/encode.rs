//! Writing heads and chunks. What frames a message is written here alone, never taken over from a map of fields.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::fields::is_trailer;

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No field about it: there is no body, or the end of the connection ends it.
    Unsaid,
    Length(u64),
    Chunked,
    /// A `content-length` in the fields stays: it speaks of what a GET would have brought (HEAD, 304).
    AsToldBy,
}

/// What is said of the connection (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Unsaid,
    Close,
    KeepAlive,
    /// `upgrade` of the fields stays.
    Upgrade,
}

/// `target` is the request target as it is to be sent.
pub fn request_head(
    out: &mut Vec<u8>,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    framing: Framing,
    connection: Connection,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(out, headers, framing, connection);
    end(out, framing, connection);
}

/// `date`: the value of a `date` field, written if there is none.
pub fn response_head(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: Connection,
    date: &[u8],
) {
    if version == Version::HTTP_10 {
        out.extend_from_slice(b"HTTP/1.0 ");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
    }
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(out, headers, framing, connection);
    if !headers.contains_key(header::DATE) {
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    end(out, framing, connection);
}

/// The fields of `headers` that are not said by [`end`].
fn fields(out: &mut Vec<u8>, headers: &HeaderMap, framing: Framing, connection: Connection) {
    for (name, value) in headers {
        let drop = *name == header::CONTENT_LENGTH && framing != Framing::AsToldBy
            || *name == header::TRANSFER_ENCODING
            || *name == header::CONNECTION
            || *name == header::UPGRADE && connection != Connection::Upgrade;
        if !drop {
            field(out, name, value);
        }
    }
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn end(out: &mut Vec<u8>, framing: Framing, connection: Connection) {
    match framing {
        Framing::Unsaid | Framing::AsToldBy => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(match connection {
        Connection::Unsaid => b"\r\n",
        Connection::Close => b"connection: close\r\n\r\n",
        Connection::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Connection::Upgrade => b"connection: Upgrade\r\n\r\n",
    });
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// What stands before `length` bytes of a chunk's data; [`CHUNK_END`] stands behind them.
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[length >> (4 * digit) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body. Of the trailers go those that `announced` (the values of `trailer`) names and that may be.
pub fn last_chunk(
    out: &mut Vec<u8>,
    trailers: Option<&HeaderMap>,
    announced: Option<&HeaderValue>,
) {
    out.extend_from_slice(b"0\r\n");
    let announced = announced
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    for (name, value) in trailers.into_iter().flatten() {
        let named = announced
            .split(',')
            .any(|one| one.trim().eq_ignore_ascii_case(name.as_str()));
        if named && is_trailer(name) {
            field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// What a caller that asks before it sends its body is told (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
