//! Fuzz targets: functions of bytes that must not panic. `make test` replays what is kept and tries some thousand new
//! inputs for each; `make fuzz` tries new ones for a minute each.
#![forbid(unsafe_code)]

mod choices;
mod generate;
pub mod inputs;
mod parsers;
mod policy;
pub mod reference;
mod route;

/// A target by its name, which is also that of its folder under `corpus`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 11] = [
    ("bootstrap", parsers::bootstrap),
    ("client_hello", parsers::hello),
    ("detect", parsers::detection),
    ("dns_message", parsers::dns),
    ("http1_chunks", parsers::http1_chunks),
    ("http1_head", parsers::http1_head),
    ("jwt", parsers::jwt),
    ("normalize", parsers::normalize),
    ("policy", policy::run),
    ("route", route::run),
    ("xds", parsers::xds),
];
