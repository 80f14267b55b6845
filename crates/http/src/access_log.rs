//! Access log lines, from the formats that the control plane states (Envoy's command operators).

use hauberk_config::access_log::{AccessLog, AccessLogFilter, AccessLogFormat, AccessLogSink};
use hauberk_telemetry::flags::Flag;
use hauberk_telemetry::timestamp::Timestamp;
use serde_json::{Map, Value};

use crate::call::Call;

/// The lines that `call` gets: one for each log whose filter lets it pass.
pub fn lines(logs: &[AccessLog], call: &Call, bytes_in: u64) -> Vec<String> {
    logs.iter()
        .filter(|log| passes(&log.filter, call))
        .filter_map(|log| match &log.sink {
            AccessLogSink::File { format, .. } => Some(line(format, call, bytes_in)),
            AccessLogSink::Grpc { .. } => None,
        })
        .collect()
}

fn passes(filter: &AccessLogFilter, call: &Call) -> bool {
    match filter {
        AccessLogFilter::All => true,
        AccessLogFilter::StatusAtLeast(least) => call.status >= *least,
        AccessLogFilter::ResponseFlags(flags) => {
            call.flag != Flag::None
                && (flags.is_empty() || flags.iter().any(|flag| flag == call.flag.text()))
        }
        AccessLogFilter::And(all) => all.iter().all(|one| passes(one, call)),
        AccessLogFilter::Or(any) => any.iter().any(|one| passes(one, call)),
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

fn line(format: &AccessLogFormat, call: &Call, bytes_in: u64) -> String {
    let object = |fields: &mut dyn Iterator<Item = (&str, &str)>| {
        let fields =
            fields.map(|(key, template)| (key.to_owned(), field(template, call, bytes_in)));
        Value::Object(fields.collect::<Map<_, _>>()).to_string()
    };
    match format {
        AccessLogFormat::Text(template) => filled(template, call, bytes_in).trim_end().to_owned(),
        AccessLogFormat::Default => object(&mut DEFAULT.into_iter()),
        AccessLogFormat::Json(fields) => object(
            &mut fields
                .iter()
                .map(|(key, template)| (key.as_str(), template.as_str())),
        ),
    }
}

/// A lone operator keeps its type: numbers stay numbers, and what is not known is null.
fn field(template: &str, call: &Call, bytes_in: u64) -> Value {
    let lone = template
        .strip_prefix('%')
        .and_then(|rest| rest.strip_suffix('%'))
        .filter(|inner| !inner.contains('%'));
    match lone {
        Some(operator) => operate(operator, call, bytes_in),
        None => filled(template, call, bytes_in).into(),
    }
}

fn filled(template: &str, call: &Call, bytes_in: u64) -> String {
    let mut text = String::new();
    for (index, part) in template.split('%').enumerate() {
        if index % 2 == 0 {
            text.push_str(part);
            continue;
        }
        match operate(part, call, bytes_in) {
            Value::Null => text.push('-'),
            Value::String(value) => text.push_str(&value),
            other => text.push_str(&other.to_string()),
        }
    }
    text
}

fn operate(operator: &str, call: &Call, bytes_in: u64) -> Value {
    let connection = &call.connection;
    let header = |value: Option<&http::HeaderValue>| {
        value
            .and_then(|value| value.to_str().ok())
            .map_or(Value::Null, Value::from)
    };
    let name = operator.split(['(', ':']).next().unwrap_or_default();
    match name {
        "START_TIME" => Timestamp::now().to_string().into(),
        "RESPONSE_CODE" => call.status.into(),
        "RESPONSE_FLAGS" => call.flag.text().into(),
        "GRPC_STATUS" | "GRPC_STATUS_NUMBER" => call.grpc_status.map_or(Value::Null, Value::from),
        "BYTES_RECEIVED" => bytes_in.into(),
        "BYTES_SENT" => call.bytes_out.into(),
        "DURATION" => u64::try_from(call.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .into(),
        "ROUTE_NAME" => call.route.to_string().into(),
        "UPSTREAM_HOST" => call
            .host
            .as_ref()
            .map_or(Value::Null, |host| host.address.to_string().into()),
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => {
            call.cluster.as_ref().map_or(Value::Null, |cluster| {
                cluster.target.config.name.to_string().into()
            })
        }
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => {
            connection.facts.source.to_string().into()
        }
        "DOWNSTREAM_LOCAL_ADDRESS" => connection.facts.destination.to_string().into(),
        "DOWNSTREAM_PEER_URI_SAN" => connection.peer_id().map_or(Value::Null, Value::from),
        "REQUESTED_SERVER_NAME" => connection
            .facts
            .server_name
            .as_deref()
            .map_or(Value::Null, Value::from),
        "DYNAMIC_METADATA" if operator.ends_with(AUDITED) => {
            call.audited.as_deref().map_or(Value::Null, Value::from)
        }
        "REQ" => {
            let wanted = operator
                .strip_prefix("REQ(")
                .and_then(|rest| rest.split([')', '?']).next())
                .unwrap_or_default()
                .to_ascii_lowercase();
            match wanted.as_str() {
                ":method" => call.method.as_str().into(),
                ":path" | "x-envoy-original-path" => call
                    .uri
                    .path_and_query()
                    .map_or(Value::Null, |path| path.as_str().into()),
                ":authority" => header(call.authority.as_ref()),
                "x-request-id" => header(call.request_id.as_ref()),
                "traceparent" => header(call.traceparent.as_ref()),
                _ => Value::Null,
            }
        }
        _ => Value::Null,
    }
}
