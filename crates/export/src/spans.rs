//! Spans to one collector (OTLP/gRPC): a call for each batch, tried again a few times.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hauberk_config::connection_manager::SpanExporter;
use hauberk_net::back_off::BackOff;
use hauberk_telemetry::outbox::Outbox;
use hauberk_telemetry::span::Span;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::collector::untraced;
use crate::exporter::Route;
use crate::gather::gather;
use crate::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, Resource, ResourceSpans,
    Scope, ScopeSpans, attribute, span,
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Spans in one call.
const MOST: usize = 512;
const PAUSE: Duration = Duration::from_secs(1);
/// For the collector's answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Of one batch: half a minute, with the waits between them.
const ATTEMPTS: u32 = 12;

/// Sends what comes until nothing comes any more. `identity`: attributes that name the proxy.
pub async fn send(
    exporter: Arc<SpanExporter>,
    identity: Vec<KeyValue>,
    mut spans: mpsc::Receiver<Span>,
    route: Route,
    outbox: Outbox,
) {
    let mut batch = Vec::new();
    let mut channel = None;
    let mut back_off = BackOff::new();
    while gather(&mut spans, &mut batch, MOST, PAUSE).await {
        let request = request(&exporter, &identity, &batch);
        let mut left = ATTEMPTS;
        let tally = outbox.spans();
        loop {
            let began = Instant::now();
            let Err(reason) = attempt(&exporter, &route, &mut channel, &request).await else {
                tally.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                break;
            };
            left -= 1;
            let wait = back_off.after(began.elapsed());
            tracing::info!(
                cluster = &*exporter.cluster,
                reason,
                wait_ms = wait.as_millis(),
                attempts_left = left,
                "the collector of spans does not take them"
            );
            // The proxy ends: it waits for no collector.
            if left == 0 || spans.is_closed() {
                tally
                    .dropped
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
                break;
            }
            route.pause(wait).await;
        }
        batch.clear();
    }
}

fn request(
    exporter: &SpanExporter,
    identity: &[KeyValue],
    batch: &[Span],
) -> ExportTraceServiceRequest {
    let mut attributes = identity.to_vec();
    if !exporter.service_name.is_empty() {
        attributes.retain(|one| one.key != SERVICE);
        attributes.push(attribute(SERVICE, &exporter.service_name));
    }
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "hauberk-proxy".into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                }),
                spans: batch.iter().map(span).collect(),
            }],
        }],
    }
}

pub const SERVICE: &str = "service.name";

/// Sends over the connection that there is, or a new one; one that failed is given up.
async fn attempt(
    exporter: &SpanExporter,
    route: &Route,
    channel: &mut Option<Channel>,
    request: &ExportTraceServiceRequest,
) -> Result<(), String> {
    let connected = match channel.take() {
        Some(channel) => channel,
        None => route.connect(&exporter.cluster).await?,
    };
    let mut client = tonic::client::Grpc::new(connected.clone());
    let codec = ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
    let sending = async {
        client.ready().await.map_err(|error| error.to_string())?;
        let request = untraced(request.clone());
        let answer = client.unary(request, PathAndQuery::from_static(EXPORT), codec);
        answer
            .await
            .map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    };
    let answer = timeout(ANSWER, sending)
        .await
        .map_err(|_elapsed| format!("no answer within {ANSWER:?}"))??;
    if let Some(partial) = answer.into_inner().partial_success
        && partial.rejected_spans > 0
    {
        tracing::warn!(
            rejected = partial.rejected_spans,
            reason = partial.error_message,
            "the collector refused some spans"
        );
    }
    *channel = Some(connected);
    Ok(())
}
