//! Entries to one collector, on a stream that is opened anew when it is lost (`envoy.service.accesslog.v3`).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries, TcpAccessLogEntries,
};
use hauberk_config::access_log::{AccessLogKind, LogService};
use hauberk_net::back_off::BackOff;
use hauberk_telemetry::entry::Entry;
use hauberk_telemetry::outbox::Outbox;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::collector::untraced;
use crate::entry;
use crate::exporter::Route;
use crate::gather::gather;

/// Entries in one message.
const MOST: usize = 256;
/// For the collector to take the last of them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends what comes until nothing comes any more.
pub async fn send(
    service: Arc<LogService>,
    node: Node,
    mut entries: mpsc::Receiver<Entry>,
    route: Route,
    outbox: Outbox,
) {
    let mut batch = Vec::new();
    let mut back_off = BackOff::new();
    let mut stream = Stream {
        service: &service,
        node: &node,
        outbox: &outbox,
    };
    // There is no connection before there is something to say.
    while !batch.is_empty() || gather(&mut entries, &mut batch, MOST, service.flush).await {
        let began = Instant::now();
        let Err(reason) = stream.run(&route, &mut entries, &mut batch).await else {
            return;
        };
        let wait = back_off.after(began.elapsed());
        tracing::info!(
            cluster = &*service.cluster,
            reason,
            wait_ms = wait.as_millis(),
            "the collector of access logs is away"
        );
        if entries.is_closed() {
            // The proxy ends: it waits for no collector.
            let lost = batch.len() + entries.len();
            outbox
                .entries()
                .dropped
                .fetch_add(lost as u64, Ordering::Relaxed);
            return;
        }
        route.pause(wait).await;
    }
}

struct Stream<'a> {
    service: &'a LogService,
    node: &'a Node,
    outbox: &'a Outbox,
}

impl Stream<'_> {
    /// One connection. `Ok` if nothing will ever come again and all was sent.
    async fn run(
        &mut self,
        route: &Route,
        entries: &mut mpsc::Receiver<Entry>,
        batch: &mut Vec<Entry>,
    ) -> Result<(), String> {
        let channel = route.connect(&self.service.cluster).await?;
        let (messages, receiver) = mpsc::channel(1);
        let mut client = AccessLogServiceClient::new(channel);
        let mut call = pin!(client.stream_access_logs(untraced(ReceiverStream::new(receiver))));
        let feeding = self.feed(messages, entries, batch);
        tokio::select! {
            ended = &mut call => return Err(said(ended)),
            fed = feeding => fed?,
        }
        // The collector answers when it has read the end of the stream.
        timeout(FAREWELL, call).await.ok();
        Ok(())
    }

    async fn feed(
        &self,
        messages: mpsc::Sender<StreamAccessLogsMessage>,
        entries: &mut mpsc::Receiver<Entry>,
        batch: &mut Vec<Entry>,
    ) -> Result<(), String> {
        let mut identifier = Some(Identifier {
            node: Some(self.node.clone()),
            log_name: self.service.log_name.clone(),
        });
        loop {
            let room = messages.reserve().await;
            let room = room.map_err(|_| "the stream has ended".to_owned())?;
            let sent = &self.outbox.entries().sent;
            sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
            room.send(StreamAccessLogsMessage {
                identifier: identifier.take(),
                log_entries: Some(self.entries(batch)),
            });
            batch.clear();
            if !gather(entries, batch, MOST, self.service.flush).await {
                return Ok(());
            }
        }
    }

    fn entries(&self, batch: &[Entry]) -> LogEntries {
        match self.service.kind {
            AccessLogKind::Http => LogEntries::HttpLogs(HttpAccessLogEntries {
                log_entry: batch.iter().map(entry::http).collect(),
            }),
            AccessLogKind::Tcp => LogEntries::TcpLogs(TcpAccessLogEntries {
                log_entry: batch.iter().map(entry::tcp).collect(),
            }),
        }
    }
}

fn said<T>(ended: Result<T, tonic::Status>) -> String {
    match ended {
        Ok(_) => "it ended the stream".into(),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}
