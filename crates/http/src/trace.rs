//! The span of a request: begun when its trace context is settled, handed over when it is over. Names and attributes are
//! Envoy's, so that one view fits both.

use std::sync::Arc;
use std::time::SystemTime;

use hauberk_config::connection_manager::{CustomTag, CustomTagValue, SpanExporter, Tracing};
use hauberk_telemetry::outbox::Parcel;
use hauberk_telemetry::record::Reporter;
use hauberk_telemetry::span::{Context, Side, Span};
use hauberk_upstream::random;
use http::HeaderMap;
use http::header::{HeaderName, USER_AGENT};

use crate::access_log::protocol;
use crate::call::Call;
use crate::ended::{Ended, cut, started, text};
use crate::headers;

const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// A request that is traced, and what of its headers its span will tell.
pub struct Traced {
    exporter: Arc<SpanExporter>,
    context: Context,
    parent: Option<[u8; 8]>,
    trace_state: String,
    /// In place of `ingress` or `egress HOST`.
    pub name: Option<String>,
    attributes: Vec<(String, String)>,
}

/// Continues the caller's trace or begins one. `None`: no span of the request is to be told.
pub fn begin(headers: &mut HeaderMap, tracing: Option<&Tracing>) -> Option<Box<Traced>> {
    let sample = tracing.is_some_and(|tracing| {
        tracing.random_sampling.includes(random()) && tracing.overall_sampling.includes(random())
    });
    let exporter = tracing.and_then(|tracing| tracing.exporter.as_ref());
    let before = exporter.and_then(|_| context(headers));
    headers::trace(headers, sample);
    let exporter = exporter?;
    let context = context(headers).filter(|context| context.sampled)?;
    let mut attributes = vec![("user_agent".to_owned(), text(headers.get(USER_AGENT)))];
    for tag in tracing.map_or(&[][..], |tracing| &tracing.custom_tags) {
        attributes.extend(custom(tag, headers));
    }
    Some(Box::new(Traced {
        exporter: Arc::clone(exporter),
        context,
        parent: before
            .filter(|before| before.trace == context.trace)
            .map(|before| before.span),
        trace_state: text(headers.get(TRACE_STATE)),
        name: None,
        attributes,
    }))
}

fn context(headers: &HeaderMap) -> Option<Context> {
    Context::parse(headers.get(headers::TRACEPARENT)?.to_str().ok()?)
}

/// Nothing where the header is not there and has no default.
fn custom(tag: &CustomTag, headers: &HeaderMap) -> Option<(String, String)> {
    let value = match &tag.value {
        CustomTagValue::Literal(value) => value.clone(),
        CustomTagValue::RequestHeader { name, default } => headers
            .get(name)
            .map_or_else(|| default.clone(), |value| text(Some(value))),
    };
    (!value.is_empty()).then(|| (tag.tag.clone(), value))
}

/// Hands over the span of a call that is over.
pub fn end(mut traced: Box<Traced>, call: &Call, ended: &Ended<'_>) {
    let authority = text(call.authority.as_ref());
    let side = match call.connection.reporter {
        Reporter::Inbound => Side::Server,
        Reporter::Outbound => Side::Client,
    };
    let name = traced.name.take().unwrap_or_else(|| match side {
        Side::Server => "ingress".to_owned(),
        Side::Client => format!("egress {authority}"),
    });
    let span = Span {
        context: traced.context,
        parent: traced.parent,
        trace_state: std::mem::take(&mut traced.trace_state),
        side,
        name,
        started: started(ended.duration()),
        ended: SystemTime::now(),
        attributes: attributes(&mut traced, call, ended, &authority),
        failed: call.status >= 500 || call.status == 0,
    };
    let parcel = Parcel::Span(Arc::clone(&traced.exporter), Box::new(span));
    call.connection.worker.sink.outbox.put(parcel);
}

fn attributes(
    traced: &mut Traced,
    call: &Call,
    ended: &Ended<'_>,
    authority: &str,
) -> Vec<(String, String)> {
    let connection = &call.connection;
    let scheme = if connection.session.is_some() {
        "https"
    } else {
        "http"
    };
    let mut attributes = std::mem::take(&mut traced.attributes);
    for (name, value) in [
        ("component", "proxy".to_owned()),
        ("guid:x-request-id", text(call.request_id.as_ref())),
        ("http.method", call.method.to_string()),
        ("http.protocol", protocol(call.version).to_owned()),
        ("http.status_code", call.status.to_string()),
        (
            "http.url",
            format!("{scheme}://{authority}{}", cut(call.path())),
        ),
        ("peer.address", connection.facts.source.ip().to_string()),
        ("request_size", ended.bytes_in.to_string()),
        ("response_flags", call.flags.text().into_owned()),
        ("response_size", ended.bytes_out.to_string()),
    ] {
        attributes.push((name.to_owned(), value));
    }
    let optional = [
        (
            "grpc.status_code",
            call.grpc_status.map(|status| status.to_string()),
        ),
        ("peer.spiffe_id", connection.peer_id().map(str::to_owned)),
        (
            "upstream_address",
            ended.upstream().map(|address| address.to_string()),
        ),
        (
            "upstream_cluster",
            ended.cluster().map(|name| name.to_string()),
        ),
        (
            "upstream_cluster.name",
            ended.cluster().map(|name| name.to_string()),
        ),
    ];
    for (name, value) in optional {
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    }
    attributes
}
