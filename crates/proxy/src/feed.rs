//! Snapshots from the control plane into the engine, and whether the proxy is ready.

use std::sync::Arc;

use hauberk_config::Snapshot;
use tokio::sync::watch;

use crate::engine::Engine;

/// Runs each snapshot that comes. `unready` becomes `None` once all listeners of one are live, be it none at all, as for a
/// gateway that no Gateway selects yet; what is wrong with a later one is logged, and its sound part runs.
pub async fn follow(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    engine: Arc<Engine>,
    unready: watch::Sender<Option<String>>,
) {
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        if snapshot.generation == 0 && !snapshot.refused.is_empty() {
            let reasons = snapshot.refused.iter();
            let reasons: Vec<_> = reasons
                .map(|(kind, refusal)| format!("refused {kind}: {}", refusal.reason))
                .collect();
            unready.send_replace(Some(reasons.join("\n")));
        }
        if snapshot.generation > 0 {
            let generation = snapshot.generation;
            let waiting = snapshot.waiting.join(", ");
            let problems = engine.publish(snapshot).await;
            for problem in &problems {
                tracing::warn!(
                    generation,
                    problem,
                    "a part of the configuration cannot run"
                );
            }
            if !problems.is_empty() {
                unready.send_if_modified(|unready| {
                    let waits = unready.is_some();
                    if waits {
                        *unready = Some(problems.join("\n"));
                    }
                    waits
                });
            } else if !waiting.is_empty() {
                unready.send_if_modified(|unready| {
                    let waits = unready.is_some();
                    if waits {
                        *unready = Some(format!(
                            "the routes or secrets of these listeners have not come: {waiting}"
                        ));
                    }
                    waits
                });
            } else {
                unready.send_replace(None);
            }
        }
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}
