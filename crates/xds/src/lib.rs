//! The ADS client: Envoy v3 resources to snapshots.
#![forbid(unsafe_code)]
// Deprecated fields are read too: an older control plane may set them.
#![allow(deprecated)]

mod answers;
pub mod client;
mod connection;
mod decode;
mod fields;
pub mod offline;
mod secrets;
pub mod state;

pub use client::Client;
pub use envoy_types::pb::envoy::config::core::v3::Node;
pub use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
