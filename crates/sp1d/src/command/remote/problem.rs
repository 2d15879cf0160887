//! The problem of a worker, as text.

use sp1d_client::WorkerSummary;

/// Returns why a worker is disconnected or quarantined; empty if it is neither.
pub(in crate::command) fn worker_problem(worker: &WorkerSummary) -> String {
    let disconnection = worker.disconnection.as_ref().map(|why| match &why.last_try {
        Some(last) if *last != why.reason => format!("{}; last connection attempt: {last}", why.reason),
        _ => why.reason.clone(),
    });
    disconnection.or_else(|| worker.quarantine.clone()).unwrap_or_default()
}
