//! JSON Web Tokens (RFC 7519) in requests: found, verified against an issuer's public keys, and passed on. Signatures only:
//! RS, PS, ES and EdDSA; `none` and the symmetric algorithms do not exist here (RFC 8725, 3.1 and 3.2).
#![forbid(unsafe_code)]

mod authenticator;
mod key_set;
mod place;
mod token;

pub use authenticator::{Accepted, Authenticator, Failure};
pub use key_set::KeySet;
pub use place::Place;
