//! Access log lines, from the formats that the control plane states (Envoy's command operators).

use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};
use hauberk_telemetry::outbox::Parcel;
use hauberk_telemetry::timestamp::Timestamp;
use http::Version;

use crate::ended::{Ended, started};

/// Tells each log whose filter lets `ended` pass: a line in a file, or an entry for a collector.
pub fn write(logs: &[AccessLog], ended: &Ended<'_>) {
    let worker = &ended.connection.worker;
    for log in logs.iter().filter(|log| passes(&log.filter, ended)) {
        match &log.sink {
            AccessLogSink::File { format, .. } if worker.workload.access_log => {
                worker.sink.access(line(format, ended));
            }
            AccessLogSink::File { .. } => {}
            AccessLogSink::Grpc(service) => {
                let entry = Box::new(ended.entry());
                let parcel = Parcel::Entry(Arc::clone(service), entry);
                worker.sink.outbox.put(parcel);
            }
        }
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

/// Where the RBAC filter says which AUDIT policy matched: `DYNAMIC_METADATA(envoy.filters.http.rbac:…)`.
const AUDITED: &str = ".rbac:audit_shadow_effective_policy_id)";

/// Bytes of a line with the usual fields.
const USUAL_LINE: usize = 768;

/// The keys of lines for which no format is stated.
const DEFAULT: [(&str, &str); 12] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(:PATH)%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
];

/// A line without its line feed. Written field by field, since every request has one.
fn line(format: &AccessLogFormat, ended: &Ended<'_>) -> Vec<u8> {
    match format {
        AccessLogFormat::Text(template) => filled(template, ended).trim_end().into(),
        AccessLogFormat::Default => object(DEFAULT.into_iter(), ended),
        AccessLogFormat::Json(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, template)| (key.as_str(), template.as_str()));
            object(fields, ended)
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>, ended: &Ended<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(USUAL_LINE);
    line.push(b'{');
    for (key, template) in fields {
        if line.len() > 1 {
            line.push(b',');
        }
        quote(&mut line, key);
        line.push(b':');
        // A lone operator keeps its type: numbers stay numbers, and what is not known is null.
        match lone(template) {
            Some(operator) => operate(operator, ended).write_json(&mut line),
            None => quote(&mut line, &filled(template, ended)),
        }
    }
    line.push(b'}');
    line
}

fn lone(template: &str) -> Option<&str> {
    let inner = template.strip_prefix('%')?.strip_suffix('%')?;
    (!inner.contains('%')).then_some(inner)
}

fn filled(template: &str, ended: &Ended<'_>) -> String {
    let mut text = String::new();
    for (index, part) in template.split('%').enumerate() {
        if index % 2 == 0 {
            text.push_str(part);
        } else {
            operate(part, ended).write_text(&mut text);
        }
    }
    text
}

fn quote(line: &mut Vec<u8>, text: &str) {
    // Writing text into memory cannot fail.
    serde_json::to_writer(line, text).ok();
}

/// What an operator stands for.
enum Found<'a> {
    /// The operator is not known here, or has nothing to say of this call.
    Nothing,
    Number(u64),
    Text(Cow<'a, str>),
    Name(Arc<str>),
    Address(SocketAddr),
    Time(Timestamp),
}

impl<'a> Found<'a> {
    fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Nothing, |text| Self::Text(text.into()))
    }

    fn owned(value: Option<String>) -> Self {
        value.map_or(Self::Nothing, |text| Self::Text(text.into()))
    }

    fn name(value: Option<Arc<str>>) -> Self {
        value.map_or(Self::Nothing, Self::Name)
    }

    fn write_json(&self, line: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        match self {
            Self::Nothing => line.extend_from_slice(b"null"),
            Self::Number(number) => write!(line, "{number}").unwrap_or_default(),
            Self::Text(text) => quote(line, text),
            Self::Name(name) => quote(line, name),
            Self::Address(address) => write!(line, "\"{address}\"").unwrap_or_default(),
            Self::Time(time) => write!(line, "\"{time}\"").unwrap_or_default(),
        }
    }

    fn write_text(&self, text: &mut String) {
        use std::fmt::Write;
        match self {
            Self::Nothing => text.push('-'),
            Self::Number(number) => write!(text, "{number}").unwrap_or_default(),
            Self::Text(value) => text.push_str(value),
            Self::Name(name) => text.push_str(name),
            Self::Address(address) => write!(text, "{address}").unwrap_or_default(),
            Self::Time(time) => write!(text, "{time}").unwrap_or_default(),
        }
    }
}

fn operate<'a>(operator: &str, ended: &Ended<'a>) -> Found<'a> {
    let connection = ended.connection;
    let facts = &connection.facts;
    let call = ended.call;
    let name = operator.split(['(', ':']).next().unwrap_or_default();
    match name {
        "START_TIME" => Found::Time(Timestamp(started(ended.duration()))),
        "PROTOCOL" => Found::text(call.map(|call| protocol(call.version))),
        "RESPONSE_CODE" => Found::Number(call.map_or(0, |call| call.status.into())),
        "RESPONSE_CODE_DETAILS" => Found::owned(ended.details()),
        "RESPONSE_FLAGS" => Found::Text(ended.flags().text()),
        "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => call
            .and_then(|call| call.grpc_status)
            .map_or(Found::Nothing, |status| Found::Number(status.into())),
        "BYTES_RECEIVED" => Found::Number(ended.bytes_in),
        "BYTES_SENT" => Found::Number(ended.bytes_out),
        "DURATION" => {
            Found::Number(u64::try_from(ended.duration().as_millis()).unwrap_or(u64::MAX))
        }
        "ROUTE_NAME" => Found::text(
            call.map(|call| &*call.route)
                .filter(|name| !name.is_empty()),
        ),
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => {
            ended.upstream().map_or(Found::Nothing, Found::Address)
        }
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Found::name(ended.cluster()),
        "UPSTREAM_PEER_URI_SAN" => {
            let session = ended.upstream_session();
            Found::owned(session.and_then(|session| session.peer_id().map(str::to_owned)))
        }
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
            Found::Address(facts.source)
        }
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Found::owned(Some(facts.source.ip().to_string()))
        }
        "DOWNSTREAM_LOCAL_ADDRESS" => Found::Address(facts.destination),
        "DOWNSTREAM_PEER_URI_SAN" => Found::text(connection.peer_id()),
        "DOWNSTREAM_LOCAL_URI_SAN" => {
            let session = connection.session.as_ref();
            Found::text(session.and_then(|session| session.own.spiffe_id()))
        }
        "DOWNSTREAM_TLS_VERSION" => {
            Found::text(connection.session.as_ref().map(|session| session.version))
        }
        "REQUESTED_SERVER_NAME" => Found::text(facts.server_name.as_deref()),
        "TRACE_ID" => Found::text(call.and_then(|call| call.trace_id())),
        "DYNAMIC_METADATA" if operator.ends_with(AUDITED) => Found::name(ended.audited()),
        "REQ" => {
            let wanted = operator
                .strip_prefix("REQ(")
                .and_then(|rest| rest.split(')').next())
                .unwrap_or_default();
            // `REQ(A?B)`: B where there is no A.
            wanted
                .split('?')
                .find_map(|name| request(name, ended))
                .map_or(Found::Nothing, Found::Text)
        }
        _ => Found::Nothing,
    }
}

fn request<'a>(name: &str, ended: &Ended<'a>) -> Option<Cow<'a, str>> {
    let call = ended.call?;
    let header = |value: Option<&'a http::HeaderValue>| value?.to_str().ok().map(Cow::Borrowed);
    match name.to_ascii_lowercase().as_str() {
        ":method" => Some(call.method.as_str().into()),
        ":path" | "x-envoy-original-path" => Some(call.uri.path_and_query()?.as_str().into()),
        ":authority" => header(call.authority.as_ref()),
        "x-request-id" => header(call.request_id.as_ref()),
        "traceparent" => header(call.traceparent.as_ref()),
        "user-agent" => header(call.user_agent.as_ref()),
        name => header(call.headers.as_ref()?.get(name)),
    }
}

pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Whether any of `logs` looks at headers of a request beyond those that every call keeps.
pub fn wants_headers(logs: &[AccessLog]) -> bool {
    let asks = |template: &str| {
        template.split("%REQ(").skip(1).any(|rest| {
            let names = rest.split(')').next().unwrap_or_default();
            names.split('?').any(|name| {
                !matches!(
                    name.to_ascii_lowercase().as_str(),
                    ":method"
                        | ":path"
                        | "x-envoy-original-path"
                        | ":authority"
                        | "x-request-id"
                        | "traceparent"
                        | "user-agent"
                )
            })
        })
    };
    logs.iter().any(|log| match &log.sink {
        AccessLogSink::Grpc(_) => true,
        AccessLogSink::File { format, .. } => match format {
            AccessLogFormat::Default => false,
            AccessLogFormat::Text(template) => asks(template),
            AccessLogFormat::Json(fields) => fields.iter().any(|(_, template)| asks(template)),
        },
    })
}
