//! Access logs.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub filter: AccessLogFilter,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogSink {
    File {
        path: String,
        format: AccessLogFormat,
    },
    /// Envoy's access log service over gRPC.
    Grpc(Arc<LogService>),
}

/// A collector of access log entries.
#[derive(Debug, Serialize, Clone, PartialEq, Eq, Hash)]
pub struct LogService {
    pub cluster: Arc<str>,
    pub log_name: String,
    pub kind: AccessLogKind,
    /// Entries are sent together, this often.
    pub flush: Duration,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogKind {
    Http,
    Tcp,
}

#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Envoy's default line.
    Default,
    /// A line with `%COMMAND%`s; ends with a line feed if it wants one.
    Text(String),
    /// A JSON object a line: keys and `%COMMAND%` strings, sorted by key.
    Json(Vec<(String, String)>),
}

/// Which calls are written. `envoy.config.accesslog.v3.AccessLogFilter`.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFilter {
    All,
    /// Status at least this.
    StatusAtLeast(u16),
    /// Any of these response flags; empty: any flag at all.
    ResponseFlags(Vec<String>),
    And(Vec<AccessLogFilter>),
    Or(Vec<AccessLogFilter>),
}
