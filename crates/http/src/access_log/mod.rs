//! Access logs, made ready when they are configured: every request writes to them.

mod line;
mod operator;

use std::sync::Arc;

use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogSink, LogService};
use hauberk_telemetry::outbox::Parcel;
use http::Version;

use crate::ended::Ended;
use line::Line;

/// The logs of a connection manager, or of a TCP proxy.
#[derive(Debug, Default)]
pub struct Logs(Vec<Log>);

#[derive(Debug)]
struct Log {
    filter: AccessLogFilter,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    File(Line),
    Collector(Arc<LogService>),
}

impl Logs {
    pub fn new(configured: &[AccessLog]) -> Self {
        let log = |configured: &AccessLog| Log {
            filter: configured.filter.clone(),
            sink: match &configured.sink {
                AccessLogSink::File { format, .. } => Sink::File(Line::new(format)),
                AccessLogSink::Grpc(service) => Sink::Collector(Arc::clone(service)),
            },
        };
        Self(configured.iter().map(log).collect())
    }

    /// Tells each log whose filter lets `ended` pass: a line in a file, or an entry for a collector.
    pub fn write(&self, ended: &Ended<'_>) {
        let worker = &ended.connection.worker;
        for log in self.0.iter().filter(|log| passes(&log.filter, ended)) {
            match &log.sink {
                Sink::File(line) if worker.workload.access_log => {
                    worker.sink.access(line.written(ended));
                }
                Sink::File(_) => {}
                Sink::Collector(service) => {
                    let entry = Box::new(ended.entry());
                    let parcel = Parcel::Entry(Arc::clone(service), entry);
                    worker.sink.outbox.put(parcel);
                }
            }
        }
    }

    /// Whether any looks at headers of a request beyond those that every call keeps.
    pub fn want_headers(&self) -> bool {
        self.0.iter().any(|log| match &log.sink {
            Sink::File(line) => line.wants_headers(),
            Sink::Collector(_) => true,
        })
    }
}

fn passes(filter: &AccessLogFilter, ended: &Ended<'_>) -> bool {
    match filter {
        AccessLogFilter::All => true,
        AccessLogFilter::StatusAtLeast(least) => {
            ended.call.is_some_and(|call| call.status >= *least)
        }
        AccessLogFilter::ResponseFlags(flags) => {
            let found = ended.flags();
            !found.is_empty()
                && (flags.is_empty()
                    || found
                        .iter()
                        .any(|one| flags.iter().any(|told| told == one.text())))
        }
        AccessLogFilter::And(all) => all.iter().all(|one| passes(one, ended)),
        AccessLogFilter::Or(any) => any.iter().any(|one| passes(one, ended)),
    }
}

pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
