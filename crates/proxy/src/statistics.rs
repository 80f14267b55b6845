//! Figures of the process.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use hauberk_telemetry::metrics::{header, line};
use hauberk_telemetry::outbox::{Outbox, Tally};
use hauberk_telemetry::writer::Sink;

/// What one worker counts beside its metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerFigures {
    pub connections: u64,
    pub failed_accepts: u64,
}

/// Memory, descriptors and processor time from /proc, and the record writer's counters.
pub fn render(out: &mut String, workers: &[WorkerFigures], sink: &Sink) {
    let gauges = [
        ("process_resident_memory_bytes", "gauge", resident()),
        ("process_open_fds", "gauge", open_descriptors()),
        ("process_cpu_seconds_total", "counter", processor_seconds()),
    ];
    for (name, kind, value) in gauges {
        if let Some(value) = value {
            header(out, name, kind, "Of the proxy's process.");
            line(out, name, "", value);
        }
    }
    header(
        out,
        "hauberk_worker_connections",
        "gauge",
        "Connections open on a worker.",
    );
    for (index, worker) in workers.iter().enumerate() {
        let mut labels = String::new();
        let _ = write!(labels, "worker=\"{index}\"");
        line(
            out,
            "hauberk_worker_connections",
            &labels,
            worker.connections as f64,
        );
    }
    let failed_accepts: u64 = workers.iter().map(|worker| worker.failed_accepts).sum();
    let counters = [
        (
            "hauberk_failed_accepts_total",
            "Accepts that failed for want of a file descriptor or of memory; callers had to wait.",
            failed_accepts,
        ),
        (
            "hauberk_records_written_total",
            "Records and access log lines written.",
            sink.written(),
        ),
        (
            "hauberk_records_dropped_total",
            "Records lost because the queue was full.",
            sink.dropped(),
        ),
        (
            "hauberk_records_failed_total",
            "Records lost because the disk refused them.",
            sink.failures(),
        ),
    ];
    for (name, help, value) in counters {
        header(out, name, "counter", help);
        line(out, name, "", value as f64);
    }
    exports(out, &sink.outbox);
}

fn exports(out: &mut String, outbox: &Outbox) {
    type Pick = fn(&Tally) -> &AtomicU64;
    let outcomes: [(&str, &str, Pick); 2] = [
        (
            "hauberk_export_sent_total",
            "Access log entries and spans sent to collectors.",
            |tally| &tally.sent,
        ),
        (
            "hauberk_export_dropped_total",
            "Access log entries and spans given up: the collector was away, or too slow.",
            |tally| &tally.dropped,
        ),
    ];
    for (name, help, pick) in outcomes {
        header(out, name, "counter", help);
        for (kind, tally) in [("entry", outbox.entries()), ("span", outbox.spans())] {
            let count = pick(tally).load(Ordering::Relaxed);
            line(out, name, &format!("kind=\"{kind}\""), count as f64);
        }
    }
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let row = status.lines().find_map(|row| row.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = row.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn open_descriptors() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

/// The sum over the threads of the first field of `schedstat`, nanoseconds.
fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let path = task.ok()?.path().join("schedstat");
        let text = std::fs::read_to_string(path).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e9)
}
