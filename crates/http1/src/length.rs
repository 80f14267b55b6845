//! How long a message's body is (§6.3).

use crate::fields::{Coding, Fields};
use crate::malformed::Malformed;
use http::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    Known(u64),
    Chunked,
    /// Responses only: up to where the server closes.
    UntilClose,
}

impl BodyLength {
    pub const NONE: Self = Self::Known(0);

    /// What the fields say; `None`: nothing.
    pub(crate) fn told(fields: &Fields, version: Version) -> Result<Option<Self>, Malformed> {
        match (fields.transfer_encoding, fields.content_length) {
            (Some(_), Some(_)) => Err(Malformed::LengthAndChunked),
            (Some(_), None) if version == Version::HTTP_10 => Err(Malformed::ChunkedHttp10),
            (Some(Coding::Unknown), None) => Err(Malformed::UnknownTransferCoding),
            (Some(Coding::Chunked), None) => Ok(Some(Self::Chunked)),
            (None, Some(length)) => Ok(Some(Self::Known(length))),
            (None, None) => Ok(None),
        }
    }
}
