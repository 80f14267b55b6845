//! Faults put into calls on purpose (`envoy.extensions.filters.http.fault.v3.HTTPFault`).

use std::time::Duration;

use serde::Serialize;

use crate::matcher::HeaderMatcher;

/// A share of calls as numerator and denominator (100, 10 000 or 1 000 000).
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
}

impl Fraction {
    pub const NEVER: Self = Self {
        numerator: 0,
        denominator: 100,
    };
    pub const ALWAYS: Self = Self {
        numerator: 100,
        denominator: 100,
    };

    /// Whether a call that drew `random` (uniform over all `u64`) is of this share.
    pub fn includes(&self, random: u64) -> bool {
        random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub delay: Option<FaultDelay>,
    pub abort: Option<FaultAbort>,
    /// All must match for the fault to apply.
    pub headers: Vec<HeaderMatcher>,
    /// Faults at one time; `None`: no limit.
    pub max_active: Option<u32>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct FaultDelay {
    pub duration: Duration,
    pub share: Fraction,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
pub struct FaultAbort {
    pub status: AbortStatus,
    pub share: Fraction,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AbortStatus {
    Http(u16),
    /// Answered as HTTP 200 with `grpc-status` to a gRPC call, else as the matching HTTP status.
    Grpc(u32),
}
