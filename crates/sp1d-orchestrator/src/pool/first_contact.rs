//! Waits for the first workers: when the orchestrator starts, and when a proof starts after a time without proofs.

use super::first_outcome::{FirstOutcome, Reached};
use crate::{
    state::shared_state::SharedState,
    workers::{
        contacts::Contacts,
        reach_error::failure_line,
        unreachable::{ConnectError, UnreachableList},
        worker_address::WorkerAddress,
    },
};
use futures::future::join_all;
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, timeout};

/// How long a proof waits at its start for the outcome of the connections to its workers. A worker that takes longer
/// takes part in the running proof later.
const FIRST_CONNECTIONS_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of workers that one log line names.
const MAX_LOGGED_WORKERS: usize = 3;

/// Waits for the outcome of the first connections. If no worker is reached, waits for the first one, for as long as the
/// patience in the settings.
///
/// # Errors
/// Fails if no worker is reached in time, or if waiting cannot help.
pub(crate) async fn first_contact(
    shared: &SharedState,
    connections: Vec<(WorkerAddress, FirstOutcome)>,
) -> Result<(), ConnectError> {
    let started = Instant::now();
    let outcomes = join_all(connections.into_iter().map(|(worker, outcome)| async move { (worker, outcome.await) }));
    let outcomes = tokio::select! {
        outcomes = outcomes => outcomes,
        never = announce_wait(shared) => match never {},
    };
    let (mut is_reached, mut failures) = (false, Vec::new());
    for (worker, outcome) in outcomes {
        match outcome {
            Ok(Ok(Reached::Connected(name))) => {
                tracing::info!(%name, %worker, "worker reached");
                is_reached = true;
            }
            Ok(Ok(Reached::Busy(holder))) => {
                tracing::info!(%worker, %holder, "worker reached, which serves another orchestrator");
                is_reached = true;
            }
            Ok(Err(reason)) => failures.push((worker, failure_line(&reason))),
            // The orchestrator is stopping.
            Err(_) => {}
        }
    }
    if is_reached {
        for (worker, reason) in failures {
            tracing::warn!(%worker, %reason, "cannot connect to worker: continuing without it");
        }
        return Ok(());
    }
    let left = shared.settings.patience.saturating_sub(started.elapsed());
    let mut contacts = shared.contacts.subscribe();
    let decided = contacts.wait_for(|contacts| contacts.is_any_reached() || !contacts.can_any_become_reachable());
    let is_decided = timeout(left, decided).await.is_ok();
    let contacts = shared.contacts.borrow();
    if is_decided && contacts.is_any_reached() { Ok(()) } else { Err(ConnectError(contacts.unreachable())) }
}

/// Logs once that no worker is reachable yet, if waiting can help. Never resolves.
async fn announce_wait(shared: &SharedState) -> Infallible {
    let mut contacts = shared.contacts.subscribe();
    let waits =
        contacts.wait_for(|contacts| contacts.are_all_unreachable() && contacts.can_any_become_reachable()).await;
    let unreachable = waits.map(|contacts| contacts.unreachable()).unwrap_or_default();
    let (count, seconds) = (unreachable.len(), shared.settings.patience.as_secs());
    let workers = UnreachableList(&unreachable[..count.min(MAX_LOGGED_WORKERS)]).to_string();
    tracing::warn!(%workers, count, "no worker is reachable yet: waiting up to {seconds} s for the first one");
    std::future::pending().await
}

/// Waits for the outcome of the connections to all workers, for at most two seconds. A proof starts with the workers
/// that are connected then.
pub(crate) async fn wait_for_first_connections(shared: &SharedState) {
    let mut contacts = shared.contacts.subscribe();
    // After a timeout, the proof starts with fewer workers.
    let _ = timeout(FIRST_CONNECTIONS_TIMEOUT, contacts.wait_for(Contacts::are_settled)).await;
}
