//! Taking a body out of the bytes of a connection.

use bytes::Bytes;
use http::HeaderMap;

use crate::chunked::Chunked;
use crate::length::BodyLength;
use crate::malformed::Malformed;

/// Reads one body.
#[derive(Debug)]
pub struct Decoder(Kind);

#[derive(Debug)]
enum Kind {
    Known(u64),
    Chunked(Box<Chunked>),
    UntilClose,
}

/// What comes out of a body.
#[derive(Debug)]
pub enum Piece {
    Data(Bytes),
    /// Of a chunked body: those fields that may be trailers.
    Trailers(HeaderMap),
    End,
}

impl Decoder {
    pub fn new(length: BodyLength) -> Self {
        Self(match length {
            BodyLength::Known(length) => Kind::Known(length),
            BodyLength::Chunked => Kind::Chunked(Box::new(Chunked::new())),
            BodyLength::UntilClose => Kind::UntilClose,
        })
    }

    /// The next piece in `input`, from which it is taken; `None`: more has to come.
    ///
    /// # Errors
    /// Chunks that are none.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        match &mut self.0 {
            Kind::Known(0) => Ok(Some(Piece::End)),
            Kind::Chunked(chunked) => chunked.next(input),
            Kind::Known(_) | Kind::UntilClose if input.is_empty() => Ok(None),
            Kind::Known(left) => {
                let take = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= take as u64;
                Ok(Some(Piece::Data(input.split_to(take))))
            }
            Kind::UntilClose => Ok(Some(Piece::Data(std::mem::take(input)))),
        }
    }

    /// The peer has closed: the end of a body that lasts until then, and a failure in any other.
    ///
    /// # Errors
    /// [`Malformed::Truncated`].
    pub fn close(&mut self) -> Result<(), Malformed> {
        match self.0 {
            Kind::Known(0) => Ok(()),
            Kind::UntilClose => {
                self.0 = Kind::Known(0);
                Ok(())
            }
            Kind::Known(_) | Kind::Chunked(_) => Err(Malformed::Truncated),
        }
    }

    /// Nothing more comes, known before the next byte.
    pub fn is_ended(&self) -> bool {
        matches!(self.0, Kind::Known(0))
    }

    /// Bytes that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            Kind::Known(left) => Some(left),
            Kind::Chunked(_) | Kind::UntilClose => None,
        }
    }
}
