//! Why a TLS context cannot be used.

use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextError {
    /// The snapshot has no such secret, or it is of the other kind.
    MissingSecret {
        name: Arc<str>,
        expected: &'static str,
    },
    /// A secret's PEM does not parse, or key and certificate do not belong together.
    BadSecret { name: Arc<str>, reason: String },
    /// The settings contradict each other or ask for what TLS cannot give.
    BadSettings(String),
}

impl fmt::Display for ContextError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingSecret { name, expected } => {
                write!(
                    formatter,
                    "secret {name:?}: expected {expected}, found none; SDS has not sent it"
                )
            }
            Self::BadSecret { name, reason } => write!(formatter, "secret {name:?}: {reason}"),
            Self::BadSettings(reason) => write!(formatter, "TLS settings: {reason}"),
        }
    }
}

impl std::error::Error for ContextError {}
