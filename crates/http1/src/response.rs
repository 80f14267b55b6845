//! A response's head (§4), read in the light of its request.

use bytes::Bytes;
use http::header::HeaderMap;
use http::{StatusCode, Version};
use memchr::memchr;

use crate::fields::Fields;
use crate::length::BodyLength;
use crate::malformed::Malformed;

/// What of its request decides how a response is read (§6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Plain,
    Head,
    Connect,
    /// `upgrade:` was sent.
    Upgrade,
}

#[derive(Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub length: BodyLength,
    /// The connection may be used again.
    pub persistent: bool,
    /// From here on the connection carries something else.
    pub switched: bool,
}

impl ResponseHead {
    /// Another response to the same request follows (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status.is_informational() && !self.switched
    }
}

/// Reads a whole head, which ends with an empty line.
///
/// # Errors
/// What makes it one that readers could understand differently, or none at all.
pub fn parse(head: &Bytes, asked: Asked) -> Result<ResponseHead, Malformed> {
    let end = memchr(b'\n', head).ok_or(Malformed::StatusLine)?;
    let line = head[..end]
        .strip_suffix(b"\r")
        .ok_or(Malformed::BareLineFeed)?;
    let (version, status) = status_line(line)?;
    let fields = Fields::parse(head, end + 1)?;
    let told = BodyLength::told(&fields, version)?;
    let switched = match asked {
        Asked::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
        Asked::Connect => status.is_success(),
        Asked::Plain | Asked::Head => false,
    };
    if status == StatusCode::SWITCHING_PROTOCOLS && !switched {
        return Err(Malformed::UnaskedSwitch);
    }
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if switched || bodiless || asked == Asked::Head {
        BodyLength::NONE
    } else {
        told.unwrap_or(BodyLength::UntilClose)
    };
    // A body where there can be none would be taken for the next response: such a server is not asked again.
    let odd = match told {
        Some(BodyLength::Known(length)) => {
            length > 0 && bodiless && status != StatusCode::NOT_MODIFIED
        }
        Some(_) => bodiless,
        None => false,
    };
    let persistent = !fields.close
        && (version == Version::HTTP_11 || fields.keep_alive)
        && length != BodyLength::UntilClose
        && !odd;
    Ok(ResponseHead {
        status,
        version,
        headers: fields.map,
        length,
        persistent,
        switched,
    })
}

fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Malformed> {
    let (version, rest) = line.split_at_checked(9).ok_or(Malformed::StatusLine)?;
    let version = match version {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return Err(Malformed::StatusLine),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(Malformed::StatusLine)?;
    // Servers leave the space away where they have no reason to give.
    let reason_fits = match reason {
        [] => true,
        [b' ', text @ ..] => text
            .iter()
            .all(|byte| *byte == b'\t' || *byte >= 0x20 && *byte != 0x7f),
        _ => false,
    };
    let status = StatusCode::from_bytes(code).map_err(|_error| Malformed::StatusLine)?;
    if !reason_fits || status.as_u16() >= 600 {
        return Err(Malformed::StatusLine);
    }
    Ok((version, status))
}
