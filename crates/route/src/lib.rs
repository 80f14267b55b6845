//! Route matching: a request and a table of virtual hosts to a route, and what the route does to the request. Pure.
#![forbid(unsafe_code)]

mod normalize;
mod pattern;
mod routing;

pub use normalize::{Normalized, normalized};
pub use routing::*;
