//! Calls told to collectors over gRPC: access log entries (Envoy's access log service) and spans (OTLP). One task beside
//! the workers; whatever happens to a collector, no call ever waits for it.
#![forbid(unsafe_code)]

mod collector;
mod entry;
mod exporter;
mod gather;
mod logs;
mod otlp;
mod spans;

pub use exporter::{Clusters, Exporter, Exporting};
