//! Field lines of heads and trailers (§5).

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use crate::malformed::Malformed;

/// What of the fields says how the message goes on.
#[derive(Debug, Default)]
pub struct Fields {
    pub map: HeaderMap,
    pub content_length: Option<u64>,
    pub transfer_encoding: Option<Coding>,
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

/// What `transfer-encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Chunked,
    Unknown,
}

impl Fields {
    /// Reads `lines` field lines from `at` in `head`, which ends with an empty line.
    ///
    /// # Errors
    /// A line that is no field, or fields that contradict one another about the body's length.
    pub fn parse(head: &Bytes, mut at: usize) -> Result<Self, Malformed> {
        let mut fields = Self {
            map: HeaderMap::with_capacity(16),
            ..Self::default()
        };
        while let Some((name, value, next)) = line(head, at)? {
            fields.note(&name, &value)?;
            fields.map.append(name, value);
            at = next;
        }
        Ok(fields)
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        if *name == header::CONTENT_LENGTH {
            if self.content_length.is_some() {
                return Err(Malformed::SeveralContentLengths);
            }
            self.content_length = Some(decimal(value.as_bytes())?);
        } else if *name == header::TRANSFER_ENCODING {
            if self.transfer_encoding.is_some() {
                return Err(Malformed::TransferEncoding);
            }
            self.transfer_encoding = Some(coding(value.as_bytes())?);
        } else if *name == header::CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            }
        }
        Ok(())
    }
}

/// One field line at `at` of `head`, and where the next begins; `None` at the empty line.
fn line(head: &Bytes, at: usize) -> Result<Option<(HeaderName, HeaderValue, usize)>, Malformed> {
    let rest = head.get(at..).unwrap_or_default();
    let Some(end) = memchr(b'\n', rest) else {
        return Ok(None);
    };
    let line = rest[..end]
        .strip_suffix(b"\r")
        .ok_or(Malformed::BareLineFeed)?;
    match line.first() {
        None => return Ok(None),
        Some(b' ' | b'\t') => return Err(Malformed::FoldedLine),
        Some(_) => {}
    }
    let colon = memchr(b':', line).ok_or(Malformed::FieldWithoutColon)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_error| Malformed::FieldName)?;
    let value = &line[colon + 1..];
    let lead = value.iter().take_while(|byte| is_blank(**byte)).count();
    let tail = value[lead..]
        .iter()
        .rev()
        .take_while(|byte| is_blank(**byte))
        .count();
    let from = at + colon + 1 + lead;
    let to = at + colon + 1 + value.len() - tail;
    let value = HeaderValue::from_maybe_shared(head.slice(from..to))
        .map_err(|_error| Malformed::FieldValue)?;
    Ok(Some((name, value, at + end + 1)))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `1*DIGIT` (RFC 9110 §8.6), and no list of them.
fn decimal(text: &[u8]) -> Result<u64, Malformed> {
    if memchr(b',', text).is_some() {
        return Err(Malformed::SeveralContentLengths);
    }
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    text.iter()
        .try_fold(0_u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(Malformed::ContentLength)
}

fn coding(text: &[u8]) -> Result<Coding, Malformed> {
    if text.eq_ignore_ascii_case(b"chunked") {
        return Ok(Coding::Chunked);
    }
    let codings = || text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let spelt = |coding: &[u8]| !coding.is_empty() && coding.iter().all(|byte| is_token(*byte));
    let chunked = codings()
        .filter(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        .count();
    // `chunked` may stand last, once (§6.1): then the others are what is not known.
    let last = codings()
        .next_back()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    if codings().all(spelt) && (chunked == 0 || chunked == 1 && last) {
        Ok(Coding::Unknown)
    } else {
        Err(Malformed::TransferEncoding)
    }
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a trailer field may be taken as part of a message: nothing that frames, routes, authenticates or describes it
/// (RFC 9110 §6.5.1).
pub fn is_trailer(name: &HeaderName) -> bool {
    const NOT: [HeaderName; 22] = [
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        header::WWW_AUTHENTICATE,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::RANGE,
        header::CACHE_CONTROL,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::ORIGIN,
    ];
    let text = name.as_str();
    !NOT.contains(name)
        && ![
            "x-forwarded-",
            "x-envoy-",
            "forwarded",
            "keep-alive",
            "proxy-",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}
