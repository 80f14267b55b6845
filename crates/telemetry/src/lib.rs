//! What the proxy tells of its calls: records, access log, metrics. Nothing here ever makes a call wait.
#![forbid(unsafe_code)]

pub mod flags;
pub mod metrics;
pub mod record;
pub mod timestamp;
pub mod writer;
