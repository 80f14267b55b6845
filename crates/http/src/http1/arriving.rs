//! A body that arrives, one piece ahead of who reads it, so that its end is known with its last bytes.

use bytes::Bytes;
use hauberk_http1::{BodyLength, Decoder, Malformed, Piece};

#[derive(Debug)]
pub struct Arriving {
    decoder: Decoder,
    ahead: Option<Result<Piece, Malformed>>,
    ended: bool,
}

impl Arriving {
    pub fn new(length: BodyLength) -> Self {
        Self {
            decoder: Decoder::new(length),
            ahead: None,
            ended: length == BodyLength::NONE,
        }
    }

    /// The next piece in `input`, from which it is taken; `None`: more has to come.
    ///
    /// # Errors
    /// Chunks that are none.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        if self.ended {
            return Ok(Some(Piece::End));
        }
        let piece = match self.ahead.take() {
            Some(piece) => Some(piece?),
            None => self.decoder.next(input)?,
        };
        match &piece {
            Some(Piece::Data(_)) => match self.decoder.next(input) {
                Ok(Some(Piece::End)) => self.ended = true,
                ahead => self.ahead = ahead.transpose(),
            },
            // Nothing follows trailers.
            Some(Piece::Trailers(_) | Piece::End) => self.ended = true,
            None => {}
        }
        Ok(piece)
    }

    /// The peer has closed.
    ///
    /// # Errors
    /// The body's end had not come.
    pub fn close(&mut self) -> Result<(), Malformed> {
        self.decoder.close()?;
        self.ended = true;
        Ok(())
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that whoever reads is still to get, where that is known.
    pub fn left(&self) -> Option<u64> {
        let ahead = match &self.ahead {
            Some(Ok(Piece::Data(data))) => data.len() as u64,
            _ => 0,
        };
        if self.ended {
            Some(0)
        } else {
            self.decoder.left().map(|left| left + ahead)
        }
    }
}
