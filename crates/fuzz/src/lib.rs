//! Fuzz targets: functions of bytes that must not panic. `make test` replays what is kept and tries some thousand new
//! inputs; `make fuzz` looks for more, guided by coverage.
#![forbid(unsafe_code)]

mod choices;
mod generate;
mod policy;
pub mod reference;
mod route;

/// A target by its name, which is also that of its folder under `corpus`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 2] = [("policy", policy::run), ("route", route::run)];
