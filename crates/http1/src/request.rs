//! A request's head (§3).

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Method, Uri, Version};
use memchr::memchr;

use crate::fields::{Fields, is_token};
use crate::length::BodyLength;
use crate::malformed::Malformed;

#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    /// Origin form has a path alone, CONNECT an authority alone.
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub length: BodyLength,
    /// The caller means to send another request (§9.3).
    pub persistent: bool,
    /// `expect: 100-continue` (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

/// Reads a whole head, which ends with an empty line.
///
/// # Errors
/// What makes it one that readers could understand differently, or none at all.
pub fn parse(head: &Bytes) -> Result<RequestHead, Malformed> {
    let end = memchr(b'\n', head).ok_or(Malformed::RequestLine)?;
    let line = head[..end]
        .strip_suffix(b"\r")
        .ok_or(Malformed::BareLineFeed)?;
    // One space each, and nothing but these two (§3: recipients may be lenient here; this one is not).
    let first = memchr(b' ', line).ok_or(Malformed::RequestLine)?;
    let second = first + 1 + memchr(b' ', &line[first + 1..]).ok_or(Malformed::RequestLine)?;
    if !line[..first].iter().all(|byte| is_token(*byte)) {
        return Err(Malformed::Method);
    }
    let method = Method::from_bytes(&line[..first]).map_err(|_error| Malformed::Method)?;
    let version = version(&line[second + 1..])?;
    let uri = target(&method, head.slice(first + 1..second))?;
    let fields = Fields::parse(head, end + 1)?;
    check_host(&fields.map, version)?;
    let length = BodyLength::told(&fields, version)?.unwrap_or(BodyLength::NONE);
    let tunnel =
        method == Method::CONNECT || fields.upgrade && fields.map.contains_key(header::UPGRADE);
    if tunnel && length != BodyLength::NONE {
        return Err(Malformed::BodyBeforeTunnel);
    }
    let expects_continue = match fields.map.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            return Err(Malformed::Expectation);
        }
        // A caller of HTTP/1.0 does not know what it would get.
        Some(_) => version == Version::HTTP_11 && length != BodyLength::NONE,
        None => false,
    };
    Ok(RequestHead {
        persistent: !fields.close && (version == Version::HTTP_11 || fields.keep_alive),
        method,
        uri,
        version,
        headers: fields.map,
        length,
        expects_continue,
    })
}

fn version(text: &[u8]) -> Result<Version, Malformed> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::RequestLine),
    }
}

/// The four forms of §3.2, each with the methods that have it.
fn target(method: &Method, text: Bytes) -> Result<Uri, Malformed> {
    // No fragment (§3.2), nothing that is not visible ASCII.
    if !text
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
    {
        return Err(Malformed::Target);
    }
    let first = text.first().copied().ok_or(Malformed::Target)?;
    let origin = first == b'/';
    let asterisk = *text == *b"*";
    let uri = Uri::from_maybe_shared(text).map_err(|_error| Malformed::Target)?;
    if method == Method::CONNECT {
        let whole = uri.scheme().is_none()
            && uri.path_and_query().is_none()
            && uri
                .authority()
                .is_some_and(|authority| authority.port().is_some() && is_authority(authority));
        return whole.then_some(uri).ok_or(Malformed::Target);
    }
    let good = if origin {
        true
    } else if asterisk {
        method == Method::OPTIONS
    } else {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(is_authority)
    };
    good.then_some(uri).ok_or(Malformed::Target)
}

/// No user information (RFC 9110 §4.2.4), none of the delimiters that a name may have and no name has, and a port that is one.
fn is_authority(authority: &Authority) -> bool {
    let text = authority.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(&byte);
    text.bytes().all(plain) && !authority.host().is_empty() && port_fits(text)
}

/// A colon behind the host is followed by a port (RFC 3986 §3.2.3 lets it be empty; here it is not).
fn port_fits(authority: &str) -> bool {
    let behind = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[behind..].split_once(':') {
        Some((_, port)) => {
            !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        }
        None => true,
    }
}

/// §3.2: one host field, of the form HOST or HOST:PORT; it may be empty. Whether it may be missing the service decides,
/// since an HTTP/1.0 caller may leave it away.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Malformed> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return if version == Version::HTTP_10 {
            Ok(())
        } else {
            Err(Malformed::Host)
        };
    };
    if hosts.next().is_some() {
        return Err(Malformed::SeveralHosts);
    }
    let host = host.as_bytes();
    if host.is_empty() || is_plain_host(host) {
        return Ok(());
    }
    let authority = Authority::try_from(host).map_err(|_error| Malformed::Host)?;
    if is_authority(&authority) {
        Ok(())
    } else {
        Err(Malformed::Host)
    }
}

/// Nearly every host is of this kind, and told quickly.
fn is_plain_host(host: &[u8]) -> bool {
    host.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}
