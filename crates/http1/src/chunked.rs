//! The chunked transfer coding (§7.1), read byte by byte where it frames and in one piece where it carries.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::body::Piece;
use crate::fields::{Fields, is_trailer};
use crate::lines::{HeadSearch, Limits};
use crate::malformed::Malformed;

/// A size has at most so many digits: no more than a `u64` holds.
const MOST_DIGITS: u8 = 16;
/// Bytes of the extensions of all chunks of a message. They are dropped (§7.1.1).
const MOST_EXTENSIONS: u32 = 4096;
const TRAILERS: Limits = Limits {
    head: 8 * 1024,
    first_line: 8 * 1024,
    fields: 64,
};

#[derive(Debug)]
pub struct Chunked {
    state: State,
    extensions: u32,
}

#[derive(Debug)]
enum State {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
    },
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataEnd,
    DataEndLineFeed,
    /// Behind the last chunk, nothing read.
    Trailers(BytesMut, HeadSearch),
    Ended,
}

const START: State = State::Size {
    value: 0,
    digits: 0,
};

impl Chunked {
    pub fn new() -> Self {
        Self {
            state: START,
            extensions: 0,
        }
    }

    /// The next piece in `input`, from which it is taken; `None`: more has to come.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        loop {
            if let State::Ended = self.state {
                return Ok(Some(Piece::End));
            }
            if input.is_empty() {
                return Ok(None);
            }
            match &mut self.state {
                State::Data { left } => {
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Some(Piece::Data(input.split_to(take))));
                }
                State::Trailers(held, search) => {
                    let before = held.len();
                    held.extend_from_slice(input);
                    if let Some((end, trailers)) = trailers(held, search)? {
                        drop(input.split_to(end - before));
                        self.state = State::Ended;
                        if let Some(trailers) = trailers {
                            return Ok(Some(Piece::Trailers(trailers)));
                        }
                    } else {
                        input.clear();
                    }
                }
                _ => {
                    let byte = input[0];
                    *input = input.slice(1..);
                    self.framing(byte)?;
                }
            }
        }
    }

    /// One byte between the chunks' data.
    fn framing(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (&self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if *digits == MOST_DIGITS {
                    return Err(Malformed::ChunkSize);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Malformed::ChunkSize),
            (State::Size { value, .. } | State::Extension { value }, b'\r') => {
                State::SizeEnd { value: *value }
            }
            (State::Size { value, .. }, b';') => State::Extension { value: *value },
            (State::Size { .. }, _) => return Err(Malformed::ChunkSize),
            (State::Extension { value }, _) => {
                self.extensions += 1;
                let control = byte < 0x20 && byte != b'\t' || byte == 0x7f;
                if control || self.extensions > MOST_EXTENSIONS {
                    return Err(Malformed::ChunkExtension);
                }
                State::Extension { value: *value }
            }
            (State::SizeEnd { value: 0 }, b'\n') => {
                State::Trailers(BytesMut::new(), HeadSearch::default())
            }
            (State::SizeEnd { value }, b'\n') => State::Data { left: *value },
            (State::SizeEnd { .. }, _) => return Err(Malformed::ChunkSize),
            (State::DataEnd, b'\r') => State::DataEndLineFeed,
            (State::DataEndLineFeed, b'\n') => START,
            (State::DataEnd | State::DataEndLineFeed, _) => return Err(Malformed::ChunkEnd),
            (State::Data { .. } | State::Trailers(..) | State::Ended, _) => {
                unreachable!("these are no states of framing")
            }
        };
        Ok(())
    }
}

/// Where trailers end in `held`, and those that count.
fn trailers(
    held: &BytesMut,
    search: &mut HeadSearch,
) -> Result<Option<(usize, Option<HeaderMap>)>, Malformed> {
    if held.starts_with(b"\r\n") {
        return Ok(Some((2, None)));
    }
    if **held == *b"\r" {
        return Ok(None);
    }
    let found = search.find(held, &TRAILERS).map_err(|error| match error {
        Malformed::BareLineFeed => error,
        _ => Malformed::TrailersTooLarge,
    })?;
    let Some(found) = found else {
        return Ok(None);
    };
    let bytes = Bytes::copy_from_slice(&held[..found.end]);
    let mut fields = Fields::parse(&bytes, 0)?.map;
    let refused: Vec<_> = fields
        .keys()
        .filter(|name| !is_trailer(name))
        .cloned()
        .collect();
    for name in refused {
        fields.remove(name);
    }
    Ok(Some((found.end, (!fields.is_empty()).then_some(fields))))
}
