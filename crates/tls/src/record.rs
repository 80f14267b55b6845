//! The record layer of TLS 1.3 once the handshake is over (RFC 8446 §5): bytes in, bytes out, no I/O.
//!
//! rustls shakes hands and derives every key; here records are sealed and opened under them, straight between the
//! caller's buffers, which rustls's own record layer would fill by way of buffers for each record and connection.

use std::fmt;
use std::io::IoSlice;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

pub const HEADER: usize = 5;
/// Of plaintext in a record (§5.1).
pub const LARGEST_FRAGMENT: usize = 1 << 14;
/// Of everything after the header (§5.2).
const LARGEST_CIPHERTEXT: usize = LARGEST_FRAGMENT + 256;
pub const LARGEST_RECORD: usize = HEADER + LARGEST_CIPHERTEXT;
const TAG: usize = 16;
/// What a record has beyond its plaintext: header, content type, tag.
pub const OVERHEAD: usize = HEADER + 1 + TAG;
/// Records under one key. AES-GCM keeps its promise for 2^24.5 full ones (§5.5).
const MOST_UNDER_ONE_KEY: u64 = 1 << 24;

/// What a record carries (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Alert,
    Handshake,
    Data,
}

impl Content {
    const fn number(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

/// Why a connection cannot go on. Each ends it with the alert that [`RecordError::alert`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// A record was not sealed under the peer's key, or not in this place.
    BadMac,
    TooLong,
    /// A kind of record that has no place after the handshake, renegotiation among them.
    Unexpected,
    /// A message does not parse.
    Malformed,
    /// The peer sends key updates and empty records without end.
    Flood,
    /// The peer's own alert (its description).
    Alert(u8),
    /// rustls gave a key that does not fit its algorithm, or refuses another one.
    Key,
}

impl RecordError {
    /// The description to send (§6); `None` for the peer's own alert.
    pub fn alert(self) -> Option<u8> {
        match self {
            Self::BadMac => Some(20),
            Self::TooLong => Some(22),
            Self::Unexpected | Self::Flood => Some(10),
            Self::Malformed => Some(50),
            Self::Key => Some(80),
            Self::Alert(_) => None,
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMac => write!(formatter, "a TLS record does not open under the peer's key"),
            Self::TooLong => write!(
                formatter,
                "expected at most {LARGEST_FRAGMENT} bytes in a TLS record, found more"
            ),
            Self::Unexpected => write!(
                formatter,
                "a TLS record that has no place after the handshake (renegotiation does not exist)"
            ),
            Self::Malformed => write!(formatter, "a TLS message does not parse"),
            Self::Flood => write!(
                formatter,
                "the peer sends TLS records that carry nothing, without end"
            ),
            Self::Alert(description) => write!(formatter, "the peer sent TLS alert {description}"),
            Self::Key => write!(formatter, "a TLS key cannot be used"),
        }
    }
}

impl std::error::Error for RecordError {}

/// The keys of one direction.
pub struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Keys({:?}, at {})",
            self.key.algorithm(),
            self.sequence
        )
    }
}

impl Keys {
    /// # Errors
    /// [`RecordError::Key`]: a length does not fit the algorithm.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Key),
        };
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Key)?;
        Ok(Self {
            key: LessSafeKey::new(unbound),
            iv: iv.as_ref().try_into().map_err(|_| RecordError::Key)?,
            sequence,
        })
    }

    /// Whether a new key is due before the next record.
    pub fn worn(&self) -> bool {
        self.sequence >= MOST_UNDER_ONE_KEY
    }

    /// That of the next record (§5.3): no two records under a key have the same.
    fn nonce(&mut self) -> Result<Nonce, RecordError> {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence = self.sequence.checked_add(1).ok_or(RecordError::Key)?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Appends to `out` one record with the parts' bytes, which are at most [`LARGEST_FRAGMENT`].
    ///
    /// # Errors
    /// [`RecordError::Key`]: the key was used for as many records as there are numbers.
    pub fn seal<'a>(
        &mut self,
        content: Content,
        parts: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        for part in parts {
            out.extend_from_slice(part);
        }
        out.push(content.number());
        let header = header(out.len() - start - HEADER + TAG);
        out[start..start + HEADER].copy_from_slice(&header);
        let nonce = self.nonce()?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[start + HEADER..])
            .map_err(|_| RecordError::Key)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens `record` into `plain`, which must have room for [`Record::room`] bytes. Returns what it carries and how many
    /// of these bytes it is.
    ///
    /// # Errors
    /// [`RecordError::BadMac`], [`RecordError::TooLong`] or [`RecordError::Unexpected`].
    pub fn open(
        &mut self,
        record: &Record<'_>,
        plain: &mut [u8],
    ) -> Result<(Content, usize), RecordError> {
        let (sealed, tag) = record.body.split_at(record.room());
        let plain = &mut plain[..sealed.len()];
        let nonce = self.nonce()?;
        self.key
            .open_separate_gather(nonce, Aad::from(record.header), sealed, tag, plain)
            .map_err(|_| RecordError::BadMac)?;
        let kind = plain
            .iter()
            .rposition(|byte| *byte != 0)
            .ok_or(RecordError::Unexpected)?;
        if kind > LARGEST_FRAGMENT {
            return Err(RecordError::TooLong);
        }
        let content = match plain[kind] {
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::Data,
            _ => return Err(RecordError::Unexpected),
        };
        Ok((content, kind))
    }
}

/// `length`: of what follows. Every sealed record says that it is application data of TLS 1.2 (§5.2).
fn header(length: usize) -> [u8; HEADER] {
    let [.., high, low] = length.to_be_bytes();
    [Content::Data.number(), 3, 3, high, low]
}

/// A sealed record that has come whole.
#[derive(Debug)]
pub struct Record<'a> {
    header: [u8; HEADER],
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of `bytes`; `None`: it has not come whole.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] or [`RecordError::Unexpected`]: no record of an established connection begins so.
    pub fn first(bytes: &'a [u8]) -> Result<Option<Self>, RecordError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != Content::Data.number() || header[1] != 3 {
            return Err(RecordError::Unexpected);
        }
        if length > LARGEST_CIPHERTEXT {
            return Err(RecordError::TooLong);
        }
        if length <= TAG {
            return Err(RecordError::BadMac);
        }
        let body = bytes.get(HEADER..HEADER + length);
        Ok(body.map(|body| Self {
            header: *header,
            body,
        }))
    }

    /// Bytes that opening needs: the plaintext, its content type and padding.
    pub fn room(&self) -> usize {
        self.body.len() - TAG
    }

    /// Bytes that it takes on the wire.
    pub fn wire(&self) -> usize {
        HEADER + self.body.len()
    }
}

/// Cuts what is to be written into records: how much of the `parts` fits into `most` records.
pub fn fragments<'a>(parts: &'a [IoSlice<'a>], most: usize) -> impl Iterator<Item = Vec<&'a [u8]>> {
    let mut rest = parts
        .iter()
        .map(|part| &**part)
        .filter(|part| !part.is_empty());
    let mut open: &[u8] = &[];
    std::iter::from_fn(move || {
        let mut fragment = Vec::new();
        let mut room = LARGEST_FRAGMENT;
        while room > 0 {
            if open.is_empty() {
                match rest.next() {
                    Some(part) => open = part,
                    None => break,
                }
            }
            let (now, later) = open.split_at(room.min(open.len()));
            room -= now.len();
            fragment.push(now);
            open = later;
        }
        (!fragment.is_empty()).then_some(fragment)
    })
    .take(most)
}
