//! The ADS client: Envoy v3 resources to snapshots.
#![forbid(unsafe_code)]
