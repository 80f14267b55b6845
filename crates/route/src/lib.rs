//! Route matching: a request and a table of virtual hosts to a route, and what the route does to the request. Pure.
#![forbid(unsafe_code)]

mod domains;
mod glob;
mod header;
mod index;
mod matching;
mod normalize;
mod pattern;
mod prefixes;
mod routing;
mod table;
mod text;

pub use header::{Field, Header, joined};
pub use index::Index;
pub use normalize::{Normalized, normalized};
pub use prefixes::Prefixes;
pub use routing::*;
pub use table::Routes;
pub use text::{AnyText, Landmark, Text};
