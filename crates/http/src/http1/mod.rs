//! HTTP/1.1 on sockets. What a message is says the crate `http1`; here bytes come and go.
//!
//! One task serves a caller and drives the connection to the endpoint too, so that no request wakes a second task. A
//! connection at rest holds no buffer: bytes are read into one of the thread's, and kept in a place of their own size.

mod arriving;
pub mod caller;
mod date;
pub mod endpoint;
mod link;
mod outgoing;
mod timer;
mod wire;

pub use link::{Broken, RequestBody};
