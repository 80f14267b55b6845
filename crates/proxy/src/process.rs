//! The process: started from a bootstrap file, fed by the control plane, ended by a signal.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hauberk_config::Snapshot;
use hauberk_export::{Exporter, Exporting};
use hauberk_http::worker::Workload;
use hauberk_net::socket::Origin;
use hauberk_telemetry::writer::{self, Files, Sink};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as log, reload};

use crate::admin::{self, Admin, SetLevel};
use crate::bootstrap::Bootstrap;
use crate::engine::Engine;
use crate::{feed, node};

/// While draining, connections are counted this often.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What keeps a proxy from running.
#[derive(Debug)]
pub struct ProcessError(String);

impl fmt::Display for ProcessError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ProcessError {}

/// What the control plane says, newest first.
pub type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// Runs what comes from `connect` until SIGTERM, SIGINT or `/quitquitquit`, then drains. `connect` is called within the
/// runtime that is not the workers'.
///
/// # Errors
/// Files, sockets or threads that it needs cannot be had.
pub fn run(
    bootstrap: Bootstrap,
    connect: impl FnOnce(&Bootstrap) -> Result<Snapshots, String>,
) -> Result<(), ProcessError> {
    let level = start_log();
    let failed = |what: &str, error: &dyn fmt::Display| ProcessError(format!("{what}: {error}"));
    let files = Files {
        records: Some(bootstrap.records.clone()),
        access: Some(bootstrap.access_log.clone()),
    };
    let (sink, writer) = writer::start(files).map_err(|error| failed("records", &error))?;
    let workload = Workload {
        pod: bootstrap.pod().into(),
        peer: bootstrap.peer(),
        origin: Origin {
            address: bootstrap.source_address,
            other: bootstrap.other_source_address,
            mark: bootstrap.upstream_mark,
        },
        access_log: true,
    };
    let engine = Engine::start(&workload, sink.clone(), bootstrap.workers)
        .map_err(|error| failed("workers", &error))?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("runtime", &error))?;
    let tasks = LocalSet::new();
    let engine = Arc::new(engine);
    let result = tasks.block_on(&runtime, async {
        let exporting = export(&bootstrap, &workload, &engine);
        let snapshots = connect(&bootstrap).map_err(ProcessError)?;
        let result = serve(bootstrap, engine, snapshots, level).await;
        if let Some(exporting) = exporting {
            exporting.finish().await;
        }
        result
    });
    drop(tasks);
    end_writer(&sink, writer);
    result
}

/// Tells collectors, through clusters of the program that runs.
fn export(bootstrap: &Bootstrap, workload: &Workload, engine: &Arc<Engine>) -> Option<Exporting> {
    let found = Arc::clone(engine);
    let exporter = Exporter {
        node: node::of(&bootstrap.node),
        clusters: Rc::new(move |name| found.cluster(name)),
        origin: workload.origin,
        outbox: engine.sink.outbox.clone(),
    };
    exporter.start()
}

/// Logs to standard error; the level can be changed while running.
fn start_log() -> SetLevel {
    let filter = EnvFilter::try_from_env("HAUBERK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry()
        .with(filter)
        .with(log::layer().with_writer(std::io::stderr).with_ansi(false))
        .init();
    Box::new(move |level| {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

async fn serve(
    bootstrap: Bootstrap,
    engine: Arc<Engine>,
    snapshots: Snapshots,
    level: SetLevel,
) -> Result<(), ProcessError> {
    let failed = |what: &str, error: &dyn fmt::Display| ProcessError(format!("{what}: {error}"));
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| failed("signals", &error))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| failed("signals", &error))?;
    let mut rotate =
        signal(SignalKind::user_defined1()).map_err(|error| failed("signals", &error))?;
    let (state, unready) = watch::channel(Some("waiting for the control plane".to_owned()));
    let (quit, mut quitting) = mpsc::unbounded_channel();
    let admin = Rc::new(Admin {
        engine: Arc::clone(&engine),
        snapshots: snapshots.clone(),
        unready,
        quit,
        level,
    });
    let path = bootstrap.admin.clone();
    let serving = admin::serve(&path, admin)
        .map_err(|error| failed(&format!("admin socket {}", path.display()), &error))?;
    let serving = tokio::task::spawn_local(serving);
    let feeding =
        tokio::task::spawn_local(feed::follow(snapshots, Arc::clone(&engine), state.clone()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = quitting.recv() => break,
            _ = rotate.recv() => engine.sink.reopen(),
        }
    }
    tracing::info!(seconds = bootstrap.drain().as_secs(), "draining");
    state.send_replace(Some("draining".to_owned()));
    engine.drain();
    let left = tokio::time::timeout(bootstrap.drain(), emptied(&engine)).await;
    if left.is_err() {
        let connections = engine.connections().await;
        tracing::warn!(
            connections,
            "the time to drain is over; what is left is cut"
        );
    }
    feeding.abort();
    serving.abort();
    std::fs::remove_file(&path).ok();
    Ok(())
}

/// Waits until nobody is connected any more.
async fn emptied(engine: &Engine) {
    while engine.connections().await > 0 {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

fn end_writer(sink: &Sink, writer: JoinHandle<()>) {
    sink.stop();
    if writer.join().is_err() {
        tracing::error!("the record writer has panicked");
    }
}
