//! Mutual TLS 1.3 between SPIFFE identities.
//!
//! No session is ever resumed and nothing is sent early: each connection proves both sides anew.
#![forbid(unsafe_code)]

mod client;
mod error;
mod identity;
mod names;
mod provider;
mod record;
mod server;
mod session;
mod session_stream;
mod shake;
mod stream;
mod svid;
mod trust;

pub use client::{Carried, ClientContext};
pub use error::ContextError;
pub use identity::{Identity, Peer};
pub use server::ServerContext;
pub use session::Session;
pub use stream::TlsStream;
