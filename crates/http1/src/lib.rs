//! HTTP/1.0 and HTTP/1.1 messages (RFC 9112): heads, the length of bodies, chunks, and how they are written. No I/O.
//!
//! Whatever two readers could understand differently is refused: that is how requests are smuggled past rules. Section
//! numbers are those of RFC 9112 unless they say otherwise.
#![forbid(unsafe_code)]

mod body;
mod chunked;
pub mod encode;
mod fields;
mod length;
mod lines;
mod malformed;
pub mod request;
pub mod response;

pub use body::{Decoder, Piece};
pub use length::BodyLength;
pub use lines::{HeadSearch, Limits};
pub use malformed::Malformed;
