//! Models that are slow and plain enough to be seen right: each rule is read as it stands, one after the other.

pub mod matching;
pub mod policy;
pub mod route;
