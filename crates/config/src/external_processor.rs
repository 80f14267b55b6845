//! A service that sees requests and responses (`envoy.extensions.filters.http.ext_proc.v3`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::external_authorization::GrpcService;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct ExternalProcessor {
    pub name: Arc<str>,
    pub service: GrpcService,
    /// Without an answer go on without it, instead of answering 500.
    pub failure_mode_allow: bool,
    /// For each of its answers.
    pub message_timeout: Duration,
    pub request: Shown,
    pub response: Shown,
}

/// How much of a message the service sees.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shown {
    pub headers: bool,
    /// Whole, before it goes on.
    pub body: bool,
}
