//! What the proxy tells of its calls: records, access log, metrics. Nothing here ever makes a call wait.
#![forbid(unsafe_code)]

pub mod edge;
pub mod entry;
pub mod flags;
pub mod metrics;
pub mod open_metrics;
pub mod outbox;
pub mod record;
pub mod span;
pub mod timestamp;
pub mod writer;
