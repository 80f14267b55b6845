//! The task beside the workers that takes what they hand over and gives each collector its own.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use hauberk_config::access_log::LogService;
use hauberk_config::connection_manager::SpanExporter;
use hauberk_net::socket::Origin;
use hauberk_telemetry::entry::Entry;
use hauberk_telemetry::outbox::{Outbox, Parcel, Tally};
use hauberk_telemetry::span::Span;
use hauberk_upstream::Target;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::otlp::{KeyValue, attribute};
use crate::{collector, logs, spans};

/// Parcels that may wait for one collector.
const WAITING: usize = 4096;
/// While something comes, it is looked for this often: being woken for each would cost the workers a system call.
const PERIOD: Duration = Duration::from_millis(50);
/// For collectors to take what is left when the proxy ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Finds a cluster of the program that runs now.
pub type Clusters = Rc<dyn Fn(&str) -> Option<Arc<Target>>>;

/// Who tells, and how collectors are reached.
pub struct Exporter {
    pub node: Node,
    pub clusters: Clusters,
    pub origin: Origin,
    pub outbox: Outbox,
}

/// The way to collectors.
#[derive(Clone)]
pub struct Route {
    clusters: Clusters,
    origin: Origin,
    /// Its sender is gone once the proxy ends.
    ending: watch::Receiver<()>,
}

impl Route {
    /// # Errors
    /// The cluster is not known, has no endpoint, or none that can be reached.
    pub async fn connect(&self, cluster: &str) -> Result<Channel, String> {
        let target = (self.clusters)(cluster);
        let target = target.ok_or_else(|| format!("there is no cluster {cluster}"))?;
        collector::connect(target, self.origin).await
    }

    /// Before the next attempt; the proxy's end waits for none.
    pub async fn pause(&self, time: Duration) {
        let mut ending = self.ending.clone();
        tokio::select! {
            () = sleep(time) => {}
            _ = ending.changed() => {}
        }
    }
}

/// A running exporter.
pub struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Sends what is left, if the collectors take it soon.
    pub async fn finish(self) {
        self.stop.send(()).ok();
        if timeout(FAREWELL, self.task).await.is_err() {
            tracing::info!("collectors did not take the last of what was told");
        }
    }
}

impl Exporter {
    /// Runs on the current `LocalSet`. `None`: the outbox has a taker already.
    pub fn start(self) -> Option<Exporting> {
        let parcels = self.outbox.take()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_local(self.run(parcels, stopped));
        Some(Exporting { stop, task })
    }

    async fn run(self, mut parcels: mpsc::Receiver<Parcel>, mut stopped: oneshot::Receiver<()>) {
        let mut collectors = Collectors::new(&self);
        loop {
            if collectors.serve(&mut parcels) == 0 {
                self.outbox.rest();
                // What came in between did not wake anybody.
                if collectors.serve(&mut parcels) == 0 {
                    tokio::select! {
                        () = self.outbox.woken() => {}
                        _ = &mut stopped => break,
                    }
                    continue;
                }
            }
            tokio::select! {
                () = sleep(PERIOD) => {}
                _ = &mut stopped => break,
            }
        }
        collectors.serve(&mut parcels);
        collectors.finish().await;
    }
}

/// Each collector has a queue and a task of its own, so that one that is away holds up no other.
struct Collectors {
    logs: HashMap<LogService, mpsc::Sender<Entry>>,
    spans: HashMap<SpanExporter, mpsc::Sender<Span>>,
    tasks: JoinSet<()>,
    route: Route,
    ending: watch::Sender<()>,
    node: Node,
    identity: Vec<KeyValue>,
    outbox: Outbox,
}

impl Collectors {
    fn new(exporter: &Exporter) -> Self {
        let node = &exporter.node;
        let (ending, end) = watch::channel(());
        Self {
            logs: HashMap::new(),
            spans: HashMap::new(),
            tasks: JoinSet::new(),
            route: Route {
                clusters: Rc::clone(&exporter.clusters),
                origin: exporter.origin,
                ending: end,
            },
            ending,
            node: node.clone(),
            identity: vec![
                attribute(spans::SERVICE, &node.cluster),
                attribute("service.instance.id", &node.id),
            ],
            outbox: exporter.outbox.clone(),
        }
    }

    /// Gives out what has come; how many parcels that were.
    fn serve(&mut self, parcels: &mut mpsc::Receiver<Parcel>) -> usize {
        let mut served = 0;
        while let Ok(parcel) = parcels.try_recv() {
            served += 1;
            let (route, outbox) = (self.route.clone(), self.outbox.clone());
            match parcel {
                Parcel::Entry(service, entry) => {
                    let node = &self.node;
                    give(
                        &mut self.logs,
                        &mut self.tasks,
                        &service,
                        *entry,
                        self.outbox.entries(),
                        |queue| {
                            logs::send(Arc::clone(&service), node.clone(), queue, route, outbox)
                        },
                    );
                }
                Parcel::Span(exporter, span) => {
                    let identity = &self.identity;
                    give(
                        &mut self.spans,
                        &mut self.tasks,
                        &exporter,
                        *span,
                        self.outbox.spans(),
                        |queue| {
                            spans::send(
                                Arc::clone(&exporter),
                                identity.clone(),
                                queue,
                                route,
                                outbox,
                            )
                        },
                    );
                }
            }
        }
        served
    }

    async fn finish(mut self) {
        self.logs.clear();
        self.spans.clear();
        drop(self.ending);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Puts `parcel` into its collector's queue, which is made if there is none. One that is full loses it.
fn give<K: Clone + Eq + Hash, T, F: Future<Output = ()> + 'static>(
    queues: &mut HashMap<K, mpsc::Sender<T>>,
    tasks: &mut JoinSet<()>,
    key: &K,
    parcel: T,
    tally: &Tally,
    start: impl FnOnce(mpsc::Receiver<T>) -> F,
) {
    let queue = match queues.get(key) {
        Some(queue) if !queue.is_closed() => queue.clone(),
        _ => {
            let (sender, receiver) = mpsc::channel(WAITING);
            tasks.spawn_local(start(receiver));
            queues.insert(key.clone(), sender.clone());
            sender
        }
    };
    if queue.try_send(parcel).is_err() {
        tally.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Instant, SystemTime};

    use hauberk_config::access_log::AccessLogKind;
    use hauberk_telemetry::flags::Flags;
    use tokio::task::LocalSet;

    use super::*;

    const MANY: u64 = 20_000;

    fn entry() -> Box<Entry> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Box::new(Entry {
            started: SystemTime::now(),
            duration: Duration::ZERO,
            remote: nowhere,
            local: nowhere,
            upstream: None,
            cluster: None,
            flags: Flags::default(),
            bytes_in: 0,
            bytes_out: 0,
            tls: None,
            audit: None,
            http: None,
        })
    }

    #[tokio::test]
    async fn a_collector_that_never_comes_costs_bounded_memory_and_no_time_and_all_is_counted() {
        let outbox = Outbox::default();
        let exporter = Exporter {
            node: Node::default(),
            clusters: Rc::new(|_| None),
            origin: Origin::default(),
            outbox: outbox.clone(),
        };
        let service = Arc::new(LogService {
            cluster: "nowhere".into(),
            log_name: "log".into(),
            kind: AccessLogKind::Tcp,
            flush: Duration::from_millis(10),
        });
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                let exporting = exporter.start();
                for _ in 0..MANY / 1000 {
                    let began = Instant::now();
                    for _ in 0..1000 {
                        outbox.put(Parcel::Entry(Arc::clone(&service), entry()));
                    }
                    assert!(began.elapsed() < Duration::from_secs(1));
                    sleep(2 * PERIOD).await;
                }
                let dropped = outbox.entries().dropped.load(Ordering::Relaxed);
                let most = 2 * WAITING as u64 + 1000;
                assert!((MANY - most..MANY).contains(&dropped), "{dropped}");
                assert!(outbox.take().is_none(), "there is one taker");
                if let Some(exporting) = exporting {
                    exporting.finish().await;
                }
            })
            .await;
        let entries = outbox.entries();
        assert_eq!(entries.sent.load(Ordering::Relaxed), 0);
        assert_eq!(entries.dropped.load(Ordering::Relaxed), MANY);
    }
}
