//! HTTP/2 (RFC 9113) beyond what the `h2` crate does for us.

mod frames;
pub mod guarded;
pub mod meter;
pub mod patience;
