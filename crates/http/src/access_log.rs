//! Access log lines, from the formats that the control plane states (Envoy's command operators).

use std::borrow::Cow;
use std::sync::Arc;

use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};
use hauberk_telemetry::flags::Flag;
use hauberk_telemetry::outbox::Parcel;
use hauberk_telemetry::timestamp::Timestamp;
use http::Version;
use serde_json::{Map, Value};

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
            let flag = ended.flag();
            flag != Flag::None && (flags.is_empty() || flags.iter().any(|one| one == flag.text()))
        }
        AccessLogFilter::And(all) => all.iter().all(|one| passes(one, ended)),
        AccessLogFilter::Or(any) => any.iter().any(|one| passes(one, ended)),
    }
}

/// Where the RBAC filter says which AUDIT policy matched: `DYNAMIC_METADATA(envoy.filters.http.rbac:…)`.
const AUDITED: &str = ".rbac:audit_shadow_effective_policy_id)";

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

fn line(format: &AccessLogFormat, ended: &Ended<'_>) -> String {
    let object = |fields: &mut dyn Iterator<Item = (&str, &str)>| {
        let fields = fields.map(|(key, template)| (key.to_owned(), field(template, ended)));
        Value::Object(fields.collect::<Map<_, _>>()).to_string()
    };
    match format {
        AccessLogFormat::Text(template) => filled(template, ended).trim_end().to_owned(),
        AccessLogFormat::Default => object(&mut DEFAULT.into_iter()),
        AccessLogFormat::Json(fields) => object(
            &mut fields
                .iter()
                .map(|(key, template)| (key.as_str(), template.as_str())),
        ),
    }
}

/// A lone operator keeps its type: numbers stay numbers, and what is not known is null.
fn field(template: &str, ended: &Ended<'_>) -> Value {
    let lone = template
        .strip_prefix('%')
        .and_then(|rest| rest.strip_suffix('%'))
        .filter(|inner| !inner.contains('%'));
    match lone {
        Some(operator) => operate(operator, ended),
        None => filled(template, ended).into(),
    }
}

fn filled(template: &str, ended: &Ended<'_>) -> String {
    let mut text = String::new();
    for (index, part) in template.split('%').enumerate() {
        if index % 2 == 0 {
            text.push_str(part);
            continue;
        }
        match operate(part, ended) {
            Value::Null => text.push('-'),
            Value::String(value) => text.push_str(&value),
            other => text.push_str(&other.to_string()),
        }
    }
    text
}

/// Null: an operator that is not known here, or has nothing to say of this call.
fn operate(operator: &str, ended: &Ended<'_>) -> Value {
    let connection = ended.connection;
    let facts = &connection.facts;
    let call = ended.call;
    let text = |value: Option<&str>| value.map_or(Value::Null, Value::from);
    let name = operator.split(['(', ':']).next().unwrap_or_default();
    match name {
        "START_TIME" => Timestamp(started(ended.duration())).to_string().into(),
        "PROTOCOL" => text(call.map(|call| protocol(call.version))),
        "RESPONSE_CODE" => call.map_or(0, |call| call.status).into(),
        "RESPONSE_CODE_DETAILS" => ended.details().map_or(Value::Null, Value::from),
        "RESPONSE_FLAGS" => ended.flag().text().into(),
        "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => call
            .and_then(|call| call.grpc_status)
            .map_or(Value::Null, Value::from),
        "BYTES_RECEIVED" => ended.bytes_in.into(),
        "BYTES_SENT" => ended.bytes_out.into(),
        "DURATION" => u64::try_from(ended.duration().as_millis())
            .unwrap_or(u64::MAX)
            .into(),
        "ROUTE_NAME" => text(
            call.map(|call| &*call.route)
                .filter(|name| !name.is_empty()),
        ),
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => ended
            .upstream()
            .map_or(Value::Null, |address| address.to_string().into()),
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => text(ended.cluster().as_deref()),
        "UPSTREAM_PEER_URI_SAN" => {
            let session = ended.upstream_session();
            text(session.as_ref().and_then(|session| session.peer_id()))
        }
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
            facts.source.to_string().into()
        }
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => facts.source.ip().to_string().into(),
        "DOWNSTREAM_LOCAL_ADDRESS" => facts.destination.to_string().into(),
        "DOWNSTREAM_PEER_URI_SAN" => text(connection.peer_id()),
        "DOWNSTREAM_LOCAL_URI_SAN" => {
            let session = connection.session.as_ref();
            text(session.and_then(|session| session.own.spiffe_id()))
        }
        "DOWNSTREAM_TLS_VERSION" => {
            text(connection.session.as_ref().map(|session| session.version))
        }
        "REQUESTED_SERVER_NAME" => text(facts.server_name.as_deref()),
        "TRACE_ID" => text(call.and_then(|call| call.trace_id())),
        "DYNAMIC_METADATA" if operator.ends_with(AUDITED) => text(ended.audited().as_deref()),
        "REQ" => {
            let wanted = operator
                .strip_prefix("REQ(")
                .and_then(|rest| rest.split(')').next())
                .unwrap_or_default();
            // `REQ(A?B)`: B where there is no A.
            let found = wanted.split('?').find_map(|name| request(name, ended));
            text(found.as_deref())
        }
        _ => Value::Null,
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
