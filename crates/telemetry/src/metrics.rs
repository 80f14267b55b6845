//! Counters of one worker under Istio's standard names, and their merge into the Prometheus text format.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::edge::{Edge, label, reporter_name};
use crate::flags::Flags;
use crate::open_metrics::Format;
use crate::record::{Id, Reporter, Verdict};
use crate::timestamp::Timestamp;

/// Label combinations of each kind kept by a worker; further ones are counted together under `overflow`.
const MOST_SERIES: usize = 2000;
/// Routes likewise. They come from the configuration, which may have more of them than anybody wants series.
const MOST_ROUTES: usize = 500;

/// Upper bounds of the duration buckets in milliseconds, Istio's.
const MILLISECONDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// Upper bounds of the size buckets in bytes.
const BYTES: [f64; 9] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    16_777_216.0,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Grpc,
    Tcp,
}

/// One series of the HTTP metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestKey {
    pub edge: Arc<Edge>,
    pub protocol: Protocol,
    pub response_code: u16,
    pub flags: Flags,
    /// `grpc-status`; `None` for what is not gRPC.
    pub grpc_status: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    pub edge: Arc<Edge>,
    pub flags: Flags,
}

/// Calls that an AUDIT policy matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuditKey {
    pub policy: Arc<str>,
    pub source_principal: Arc<str>,
}

/// Calls on which policies in dry run would have decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DryRunKey {
    pub verdict: Verdict,
    /// Empty: none matched.
    pub policy: Arc<str>,
    pub source_principal: Arc<str>,
}

/// One route of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteKey {
    pub reporter: Reporter,
    pub service: Arc<str>,
    /// The route's name; empty for one without.
    pub route: Arc<str>,
    /// The response code's first digit; 0: no answer.
    pub class: u8,
}

/// A call to look at for what a bucket counts: `hauberk why ID` explains it.
#[derive(Debug, Clone)]
pub struct Exemplar {
    pub call: Id,
    pub trace: Option<Arc<str>>,
    pub time: Timestamp,
}

/// Requests that a limit was for, and questions to a rate limit service that got no answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// `NAMESPACE/NAME/RULE`.
    pub limit: Arc<str>,
    /// `passed`, `limited` or `unanswered`.
    pub outcome: &'static str,
}

/// Questions to a processor outside the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessorKey {
    /// `NAMESPACE/NAME`.
    pub processor: Arc<str>,
    /// `answered` or `unanswered`.
    pub outcome: &'static str,
}

/// Questions to an authorizer outside the proxy, by what came of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuthorizerKey {
    pub authorizer: Arc<str>,
    /// `allowed`, `denied` or `error`.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: f64,
    /// By bucket, the newest of each.
    exemplars: Vec<(usize, f64, Exemplar)>,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; bounds.len()];
        }
        if let Some(count) = self
            .counts
            .get_mut(bounds.partition_point(|bound| *bound < value))
        {
            *count += 1;
        }
        self.total += 1;
        self.sum += value;
    }

    fn exemplify(&mut self, bounds: &[f64], value: f64, exemplar: Exemplar) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.exemplars.retain(|(known, ..)| *known != bucket);
        self.exemplars.push((bucket, value, exemplar));
    }

    fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
        }
        self.total += other.total;
        self.sum += other.sum;
        for (bucket, value, theirs) in &other.exemplars {
            let mine = self.exemplars.iter().find(|(known, ..)| known == bucket);
            if mine.is_none_or(|(.., mine)| mine.time < theirs.time) {
                self.exemplars.retain(|(known, ..)| known != bucket);
                self.exemplars.push((*bucket, *value, theirs.clone()));
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct RequestSeries {
    count: u64,
    milliseconds: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

#[derive(Debug, Clone, Default)]
pub struct RouteSeries {
    count: u64,
    milliseconds: Histogram,
}

#[derive(Debug, Clone, Default)]
pub struct ConnectionSeries {
    opened: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    requests: HashMap<RequestKey, RequestSeries>,
    routes: HashMap<RouteKey, RouteSeries>,
    connections: HashMap<ConnectionKey, ConnectionSeries>,
    audited: HashMap<AuditKey, u64>,
    dry_runs: HashMap<DryRunKey, u64>,
    asked: HashMap<AuthorizerKey, u64>,
    limited: HashMap<LimitKey, u64>,
    processed: HashMap<ProcessorKey, u64>,
    overflow: u64,
}

/// The counters of one worker; not shared, so never contended.
#[derive(Debug, Default)]
pub struct Metrics {
    values: RefCell<Snapshot>,
}

impl Metrics {
    pub fn request(&self, key: RequestKey, milliseconds: f64, bytes_in: u64, bytes_out: u64) {
        let mut values = self.values.borrow_mut();
        if values.requests.len() >= MOST_SERIES && !values.requests.contains_key(&key) {
            values.overflow += 1;
            return;
        }
        let series = values.requests.entry(key).or_default();
        series.count += 1;
        series.milliseconds.observe(&MILLISECONDS, milliseconds);
        series.request_bytes.observe(&BYTES, bytes_in as f64);
        series.response_bytes.observe(&BYTES, bytes_out as f64);
    }

    /// A call that has a record of its own, for the bucket of [`Self::request`] that counted it.
    pub fn exemplar(&self, key: &RequestKey, milliseconds: f64, exemplar: Exemplar) {
        if let Some(series) = self.values.borrow_mut().requests.get_mut(key) {
            let histogram = &mut series.milliseconds;
            histogram.exemplify(&MILLISECONDS, milliseconds, exemplar);
        }
    }

    pub fn route(&self, key: RouteKey, milliseconds: f64) {
        let mut values = self.values.borrow_mut();
        if values.routes.len() >= MOST_ROUTES && !values.routes.contains_key(&key) {
            values.overflow += 1;
            return;
        }
        let series = values.routes.entry(key).or_default();
        series.count += 1;
        series.milliseconds.observe(&MILLISECONDS, milliseconds);
    }

    fn connection(&self, key: ConnectionKey, change: impl FnOnce(&mut ConnectionSeries)) {
        let mut values = self.values.borrow_mut();
        if values.connections.len() >= MOST_SERIES && !values.connections.contains_key(&key) {
            values.overflow += 1;
            return;
        }
        change(values.connections.entry(key).or_default());
    }

    pub fn opened(&self, key: ConnectionKey) {
        self.connection(key, |series| series.opened += 1);
    }

    pub fn closed(&self, key: ConnectionKey) {
        self.connection(key, |series| series.closed += 1);
    }

    pub fn audited(&self, key: AuditKey) {
        let mut values = self.values.borrow_mut();
        if values.audited.len() >= MOST_SERIES && !values.audited.contains_key(&key) {
            values.overflow += 1;
            return;
        }
        *values.audited.entry(key).or_default() += 1;
    }

    pub fn tried(&self, key: DryRunKey) {
        let mut values = self.values.borrow_mut();
        if values.dry_runs.len() >= MOST_SERIES && !values.dry_runs.contains_key(&key) {
            values.overflow += 1;
            return;
        }
        *values.dry_runs.entry(key).or_default() += 1;
    }

    pub fn processed(&self, key: ProcessorKey) {
        // Their number is that of configured processors.
        let mut values = self.values.borrow_mut();
        *values.processed.entry(key).or_default() += 1;
    }

    pub fn limited(&self, key: LimitKey) {
        // Their number is that of configured limits.
        *self.values.borrow_mut().limited.entry(key).or_default() += 1;
    }

    pub fn asked(&self, key: AuthorizerKey) {
        // Their number is that of configured authorizers.
        *self.values.borrow_mut().asked.entry(key).or_default() += 1;
    }

    /// `sent` to the caller, `received` from it.
    pub fn moved(&self, key: ConnectionKey, sent: u64, received: u64) {
        self.connection(key, |series| {
            series.sent += sent;
            series.received += received;
        });
    }

    pub fn snapshot(&self) -> Snapshot {
        self.values.borrow().clone()
    }
}

impl Snapshot {
    pub fn merge(&mut self, other: &Self) {
        for (key, series) in &other.requests {
            let mine = self.requests.entry(key.clone()).or_default();
            mine.count += series.count;
            mine.milliseconds.merge(&series.milliseconds);
            mine.request_bytes.merge(&series.request_bytes);
            mine.response_bytes.merge(&series.response_bytes);
        }
        for (key, series) in &other.routes {
            let mine = self.routes.entry(key.clone()).or_default();
            mine.count += series.count;
            mine.milliseconds.merge(&series.milliseconds);
        }
        for (key, series) in &other.connections {
            let mine = self.connections.entry(key.clone()).or_default();
            mine.opened += series.opened;
            mine.closed += series.closed;
            mine.sent += series.sent;
            mine.received += series.received;
        }
        for (key, count) in &other.dry_runs {
            *self.dry_runs.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.audited {
            *self.audited.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.processed {
            *self.processed.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.limited {
            *self.limited.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.asked {
            *self.asked.entry(key.clone()).or_default() += count;
        }
        self.overflow += other.overflow;
    }

    /// For [`Format::finish`].
    pub fn render(&self, out: &mut String, format: Format) {
        let requests: Vec<(String, &RequestSeries)> = self
            .requests
            .iter()
            .map(|(key, series)| (request_labels(key), series))
            .collect();
        header(out, "istio_requests_total", "counter", "Requests.");
        for (labels, series) in &requests {
            line(out, "istio_requests_total", labels, series.count as f64);
        }
        type Pick = fn(&RequestSeries) -> &Histogram;
        let histograms: [(&str, &str, &[f64], Pick); 3] = [
            (
                "istio_request_duration_milliseconds",
                "Duration of requests in milliseconds.",
                &MILLISECONDS,
                |series| &series.milliseconds,
            ),
            (
                "istio_request_bytes",
                "Size of request bodies.",
                &BYTES,
                |series| &series.request_bytes,
            ),
            (
                "istio_response_bytes",
                "Size of response bodies.",
                &BYTES,
                |series| &series.response_bytes,
            ),
        ];
        for (name, help, bounds, pick) in histograms {
            header(out, name, "histogram", help);
            for (labels, series) in &requests {
                histogram(out, name, labels, bounds, pick(series), format);
            }
        }
        self.render_routes(out, format);
        type Count = fn(&ConnectionSeries) -> u64;
        let counters: [(&str, &str, Count); 4] = [
            (
                "istio_tcp_connections_opened_total",
                "Connections opened.",
                |series| series.opened,
            ),
            (
                "istio_tcp_connections_closed_total",
                "Connections closed.",
                |series| series.closed,
            ),
            (
                "istio_tcp_sent_bytes_total",
                "Bytes sent to callers.",
                |series| series.sent,
            ),
            (
                "istio_tcp_received_bytes_total",
                "Bytes received from callers.",
                |series| series.received,
            ),
        ];
        for (name, help, pick) in counters {
            header(out, name, "counter", help);
            for (key, series) in &self.connections {
                let mut labels = key.edge.labels();
                let _ = write!(
                    labels,
                    ",request_protocol=\"tcp\",response_flags=\"{}\"",
                    key.flags.text()
                );
                line(out, name, &labels, pick(series) as f64);
            }
        }
        header(
            out,
            "hauberk_audited_total",
            "counter",
            "Requests and TCP connections that an AUDIT policy matched.",
        );
        for (key, count) in &self.audited {
            let mut labels = String::new();
            label(&mut labels, "policy", &key.policy);
            labels.push(',');
            label(&mut labels, "source_principal", &key.source_principal);
            line(out, "hauberk_audited_total", &labels, *count as f64);
        }
        header(
            out,
            "hauberk_dry_run_total",
            "counter",
            "Requests and TCP connections, by what the policies in dry run would have decided.",
        );
        for (key, count) in &self.dry_runs {
            let mut labels = String::new();
            label(&mut labels, "verdict", key.verdict.text());
            labels.push(',');
            label(&mut labels, "policy", &key.policy);
            labels.push(',');
            label(&mut labels, "source_principal", &key.source_principal);
            line(out, "hauberk_dry_run_total", &labels, *count as f64);
        }
        header(
            out,
            "hauberk_external_processing_total",
            "counter",
            "Questions to processors outside the proxy: answered, or unanswered.",
        );
        for (key, count) in &self.processed {
            let mut labels = String::new();
            label(&mut labels, "processor", &key.processor);
            let _ = write!(labels, ",outcome=\"{}\"", key.outcome);
            let name = "hauberk_external_processing_total";
            line(out, name, &labels, *count as f64);
        }
        header(
            out,
            "hauberk_rate_limits_total",
            "counter",
            "Requests that a limit let pass or limited, and questions to its service without an answer.",
        );
        for (key, count) in &self.limited {
            let mut labels = String::new();
            label(&mut labels, "limit", &key.limit);
            let _ = write!(labels, ",outcome=\"{}\"", key.outcome);
            line(out, "hauberk_rate_limits_total", &labels, *count as f64);
        }
        header(
            out,
            "hauberk_external_authorizations_total",
            "counter",
            "Questions to authorizers outside the proxy: allowed, denied, or error where no answer came.",
        );
        for (key, count) in &self.asked {
            let mut labels = String::new();
            label(&mut labels, "authorizer", &key.authorizer);
            let _ = write!(labels, ",outcome=\"{}\"", key.outcome);
            let name = "hauberk_external_authorizations_total";
            line(out, name, &labels, *count as f64);
        }
        header(
            out,
            "hauberk_metrics_overflow_total",
            "counter",
            "Observations of series beyond the limit.",
        );
        line(
            out,
            "hauberk_metrics_overflow_total",
            "",
            self.overflow as f64,
        );
    }
}

impl Snapshot {
    fn render_routes(&self, out: &mut String, format: Format) {
        let routes: Vec<(String, &RouteSeries)> = self
            .routes
            .iter()
            .map(|(key, series)| (route_labels(key), series))
            .collect();
        let name = "hauberk_route_requests_total";
        header(out, name, "counter", "Requests by the route they took.");
        for (labels, series) in &routes {
            line(out, name, labels, series.count as f64);
        }
        let name = "hauberk_route_duration_milliseconds";
        header(
            out,
            name,
            "histogram",
            "Duration of requests by the route they took.",
        );
        for (labels, series) in &routes {
            histogram(
                out,
                name,
                labels,
                &MILLISECONDS,
                &series.milliseconds,
                format,
            );
        }
    }
}

/// `# HELP` and `# TYPE`.
pub fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One sample; `labels` without braces.
pub fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

fn histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    bounds: &[f64],
    values: &Histogram,
    format: Format,
) {
    let mut below = 0;
    let counts = bounds.iter().zip(&values.counts).enumerate();
    for (bucket, (bound, count)) in counts {
        below += count;
        let _ = write!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        exemplar(out, values, bucket, format);
    }
    let total = values.total;
    let _ = write!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}");
    exemplar(out, values, bounds.len(), format);
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", values.sum);
    let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
}

/// The end of a bucket's line.
fn exemplar(out: &mut String, values: &Histogram, bucket: usize, format: Format) {
    let mut known = values.exemplars.iter();
    let found = known.find(|(known, ..)| *known == bucket && format == Format::OpenMetrics);
    if let Some((_, value, exemplar)) = found {
        let Exemplar { call, trace, time } = exemplar;
        let _ = write!(out, " # {{call_id=\"{call}\"");
        if let Some(trace) = trace {
            let _ = write!(out, ",trace_id=\"{trace}\"");
        }
        let _ = write!(out, "}} {value} {}", time.seconds());
    }
    out.push('\n');
}

fn route_labels(key: &RouteKey) -> String {
    let mut labels = format!("reporter=\"{}\",", reporter_name(key.reporter));
    label(&mut labels, "destination_service", &key.service);
    labels.push(',');
    label(&mut labels, "route", &key.route);
    let _ = match key.class {
        0 => write!(labels, ",response_code_class=\"none\""),
        class => write!(labels, ",response_code_class=\"{class}xx\""),
    };
    labels
}

fn request_labels(key: &RequestKey) -> String {
    let mut labels = key.edge.labels();
    let protocol = match key.protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    let _ = write!(
        labels,
        ",request_protocol=\"{protocol}\",response_code=\"{}\",response_flags=\"{}\",grpc_response_status=\"{}\"",
        key.response_code,
        key.flags.text(),
        key.grpc_status
            .map(|status| status.to_string())
            .unwrap_or_default(),
    );
    labels
}
