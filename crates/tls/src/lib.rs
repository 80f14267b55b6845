//! Mutual TLS 1.3 between SPIFFE identities.
#![forbid(unsafe_code)]
