//! Workers and the program they run.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_http::program::Program;
use hauberk_http::worker::{Worker, Workload};
use hauberk_telemetry::metrics;
use hauberk_telemetry::open_metrics::Format;
use hauberk_telemetry::writer::Sink;
use hauberk_upstream::{Target, Transport};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::listeners::Listeners;
use crate::statistics::{self, WorkerFigures};

/// Idle connections to endpoints are looked for this often; listeners that failed to open are tried again.
const SWEEP: Duration = Duration::from_secs(1);

enum Command {
    Install(Arc<Program>, oneshot::Sender<Vec<String>>),
    Figures(oneshot::Sender<(metrics::Snapshot, WorkerFigures)>),
    Clusters(oneshot::Sender<String>),
    Drain,
    Stop,
}

struct Thread {
    commands: mpsc::UnboundedSender<Command>,
    handle: Option<JoinHandle<()>>,
}

pub struct Engine {
    workers: Vec<Thread>,
    program: Mutex<Arc<Program>>,
    pub sink: Sink,
}

impl Engine {
    /// Starts `count` worker threads with nothing to serve yet.
    ///
    /// # Errors
    /// A thread or its runtime cannot be had.
    pub fn start(workload: &Workload, sink: Sink, count: usize) -> io::Result<Self> {
        let workers = (0..count)
            .map(|index| {
                let (commands, inbox) = mpsc::unbounded_channel();
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let (workload, sink) = (workload.clone(), sink.clone());
                let handle = std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || {
                        let tasks = LocalSet::new();
                        tasks.block_on(&runtime, work(Worker::new(workload, sink), inbox));
                    })?;
                Ok(Thread {
                    commands,
                    handle: Some(handle),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            workers,
            program: Mutex::default(),
            sink,
        })
    }

    /// Runs `snapshot` from now on. Returns what of it cannot be run, in words; empty: every listener is live.
    pub async fn publish(&self, snapshot: Arc<Snapshot>) -> Vec<String> {
        let program = {
            let mut current = self.program.lock().unwrap_or_else(PoisonError::into_inner);
            let program = Arc::new(Program::new(snapshot, &current));
            *current = Arc::clone(&program);
            program
        };
        let mut problems = program.problems();
        let installed = self
            .ask(|reply| Command::Install(Arc::clone(&program), reply))
            .await;
        problems.extend(installed.into_iter().flatten());
        problems.sort();
        problems.dedup();
        problems
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        let program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&program.snapshot)
    }

    /// A cluster of the program that runs now.
    pub fn cluster(&self, name: &str) -> Option<Arc<Target>> {
        let program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        program.clusters.get(name).map(Arc::clone)
    }

    /// All metrics in the Prometheus text format.
    pub async fn statistics(&self) -> String {
        self.statistics_as(Format::Prometheus).await
    }

    pub async fn statistics_as(&self, format: Format) -> String {
        let figures = self.ask(Command::Figures).await;
        let mut merged = metrics::Snapshot::default();
        for (metrics, _) in &figures {
            merged.merge(metrics);
        }
        let workers: Vec<_> = figures.into_iter().map(|(_, figures)| figures).collect();
        let mut text = String::new();
        merged.render(&mut text, format);
        statistics::render(&mut text, &workers, &self.sink);
        format.finish(text)
    }

    /// The clusters in use, with hosts and load, in words.
    pub async fn clusters(&self) -> String {
        self.ask(Command::Clusters).await.concat()
    }

    /// Takes no new connection and finishes those that there are.
    pub fn drain(&self) {
        self.tell(|| Command::Drain);
    }

    /// Connections open on all workers.
    pub async fn connections(&self) -> u64 {
        let figures = self.ask(Command::Figures).await;
        figures.iter().map(|(_, figures)| figures.connections).sum()
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has ended needs no telling.
            worker.commands.send(command()).ok();
        }
    }

    async fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.commands.send(command(reply)).is_ok() {
                answers.push(answer);
            }
        }
        let mut received = Vec::new();
        for answer in answers {
            received.extend(answer.await);
        }
        received
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
        for worker in &mut self.workers {
            if let Some(handle) = worker.handle.take()
                && handle.join().is_err()
            {
                tracing::error!("a worker has panicked");
            }
        }
    }
}

async fn work(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let listeners = RefCell::new(Listeners::default());
    let mut sweep = tokio::time::interval(SWEEP);
    let mut failing = false;
    loop {
        let command = tokio::select! {
            command = inbox.recv() => command,
            _ = sweep.tick() => {
                worker.sweep();
                if failing && !worker.state().draining {
                    failing = !listeners.borrow_mut().follow(&worker).is_empty();
                }
                continue;
            }
        };
        match command {
            Some(Command::Install(program, reply)) => {
                worker.install(program);
                let failures = if worker.state().draining {
                    Vec::new()
                } else {
                    listeners.borrow_mut().follow(&worker)
                };
                failing = !failures.is_empty();
                reply.send(failures).ok();
            }
            Some(Command::Figures(reply)) => {
                let figures = WorkerFigures {
                    connections: worker.connections.get(),
                    failed_accepts: worker.failed_accepts.get(),
                };
                reply.send((worker.metrics.snapshot(), figures)).ok();
            }
            Some(Command::Clusters(reply)) => {
                reply.send(describe_clusters(&worker)).ok();
            }
            Some(Command::Drain) => {
                listeners.borrow_mut().close();
                worker.drain();
            }
            Some(Command::Stop) | None => return,
        }
    }
}

fn describe_clusters(worker: &Worker) -> String {
    let mut text = String::new();
    worker.each_cluster(|cluster| {
        cluster.each_host(|host| {
            let transport = match &*host.transport {
                Transport::Plain => "plain".to_owned(),
                Transport::Tls(_) => "mtls".to_owned(),
                Transport::Broken(error) => format!("broken: {error}"),
            };
            let name = &cluster.target.config.name;
            text.push_str(&format!(
                "{name}::{}::active::{}\n{name}::{}::transport::{transport}\n",
                host.address,
                host.active(),
                host.address
            ));
        });
    });
    text
}
